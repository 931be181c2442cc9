"""Signing: the client's half of Signature Version 4, for what this program itself asks of others.

The canonical request and the keys are those that `sigv4.py` verifies with, so both halves agree by construction. Every
header that is given is signed, and the payload always is: x-amz-content-sha256 is sent to every service, KMS too, which
could do without.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime

from strongroom.aws.canonical import canonical_request
from strongroom.aws.http import Headers
from strongroom.aws.sigv4 import ALGORITHM, CredentialScope, derive_key, sign


def signed(
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    access_key_id: str,
    secret: str,
    region: str,
    service: str,
    now: datetime,
) -> dict[str, str]:
    """`headers` (in lower case, `host` among them) and the three that sign them.

    `path`: as on the wire, without a query. `now`: in UTC. A session token is an ordinary header.
    """
    payload = hashlib.sha256(body).hexdigest()
    timestamp = now.strftime("%Y%m%dT%H%M%SZ")
    given = {**headers, "x-amz-content-sha256": payload, "x-amz-date": timestamp}
    scope = CredentialScope(timestamp[:8], region, service)
    names = sorted(given)
    canonical = canonical_request(
        method, path.encode(), b"", Headers.of(given.items()), signed_headers=names, payload=payload
    )
    to_sign = f"{ALGORITHM}\n{timestamp}\n{scope}\n{hashlib.sha256(canonical).hexdigest()}"
    signature = sign(derive_key(secret, scope), to_sign)
    given["authorization"] = (
        f"{ALGORITHM} Credential={access_key_id}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"
    )
    return given
