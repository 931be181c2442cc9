"""Where the client finds a bucket: what stands in front of a key in the URLs that answers name.

The host is the client's own word for us, behind a proxy too; whether it spoke TLS to that proxy is the word of the
proxy, which counts only if `secure_connection` believed it.
"""

from strongroom.aws.http import HttpRequest
from strongroom.aws.routing import Route


def bucket_url(request: HttpRequest, where: Route, *, secure: bool) -> str:
    """`https://host/bucket` or `https://bucket.host`, as the request was addressed; no slash at the end."""
    forwarded = "x-forwarded-proto" in request.headers or "forwarded" in request.headers
    scheme = "https" if secure and forwarded else request.scheme
    url = f"{scheme}://{request.headers.get('host') or ''}"
    return url if where.virtual_host else f"{url}/{where.bucket or ''}"
