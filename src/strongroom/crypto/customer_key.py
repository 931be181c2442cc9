"""The key that a client brings with a request (SSE-C): a secret key, wiped when the request has used it.

docs/threat-model.md names the copies that CPython may have made of it on its way here.
"""

from strongroom.crypto.secret_key import SecretKey

CustomerKey = SecretKey
