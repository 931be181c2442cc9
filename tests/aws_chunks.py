"""A client's side of Signature Version 4 for the tests, written apart from the server's from AWS's pages."""

import hashlib
import hmac
from collections.abc import Iterable

ACCESS_KEY_ID = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
TIMESTAMP = "20130524T000000Z"
SCOPE = "20130524/us-east-1/s3/aws4_request"
EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def hmac_sha256(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def sign(text: str, *, secret: str = SECRET, scope: str = SCOPE) -> str:
    key = ("AWS4" + secret).encode()
    for part in scope.split("/"):
        key = hmac_sha256(key, part)
    return hmac_sha256(key, text).hex()


def signed_chunks(
    chunks: Iterable[bytes],
    *,
    seed: str,
    trailers: dict[str, str] | None = None,
    secret: str = SECRET,
    scope: str = SCOPE,
    timestamp: str = TIMESTAMP,
) -> bytes:
    """An aws-chunked body of the signed payload forms; with `trailers` the one with trailer."""
    signature = seed
    body = bytearray()
    for chunk in [*chunks, b""]:
        digest = hashlib.sha256(chunk).hexdigest()
        text = f"AWS4-HMAC-SHA256-PAYLOAD\n{timestamp}\n{scope}\n{signature}\n{EMPTY_SHA256}\n{digest}"
        signature = sign(text, secret=secret, scope=scope)
        body += f"{len(chunk):x};chunk-signature={signature}\r\n".encode() + chunk + (b"\r\n" if chunk else b"")
    if trailers is not None:
        canonical = "".join(f"{name}:{value}\n" for name, value in trailers.items())
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256-TRAILER\n{timestamp}\n{scope}\n{signature}\n{digest}"
        signature = sign(text, secret=secret, scope=scope)
        body += canonical.replace("\n", "\r\n").encode() + f"x-amz-trailer-signature:{signature}\r\n".encode()
    return bytes(body) + b"\r\n"


def unsigned_chunks(chunks: Iterable[bytes], *, trailers: dict[str, str] | None = None) -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    lines = "".join(f"{name}:{value}\r\n" for name, value in (trailers or {}).items())
    return body + b"0\r\n" + lines.encode() + b"\r\n"
