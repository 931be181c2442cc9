"""The canonical request of Signature Version 4, in S3's form: the text that both sides must build byte for byte alike.

Strategy: decode what stood on the wire once, encode it once in the one spelling of the rules, normalise nothing else.
Rules: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, "Task 1". This module knows
neither keys nor signatures, and raises nothing.
"""

import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote_from_bytes, unquote_to_bytes

from strongroom.aws.http import Headers

_PLAIN_PATH = re.compile(rb"[A-Za-z0-9\-._~/]+")
_SPACES = re.compile(r"[ \t]+")


def canonical_request(
    method: str, raw_path: bytes, raw_query: bytes, headers: Headers, *, signed_headers: Sequence[str], payload: str
) -> bytes:
    """`raw_path`, `raw_query`: as on the wire; `signed_headers`: sorted; `payload`: the x-amz-content-sha256 value."""
    values: dict[str, list[str]] = {name: [] for name in signed_headers}
    for name, value in headers:
        if name in values:
            values[name].append(_trim(value))
    # No line for a header that did not arrive: "absent" and "empty" must not have one signature.
    lines = "".join([f"{name}:{','.join(each)}\n" for name, each in values.items() if each])
    query = canonical_query(query_pairs(raw_query))
    return f"{method}\n{canonical_path(raw_path)}\n{query}\n{lines}\n{';'.join(values)}\n{payload}".encode("latin-1")


def canonical_path(raw_path: bytes) -> str:
    """Decoded and encoded once, "/" kept, nothing normalised: "//", "." and ".." are parts of keys."""
    if _PLAIN_PATH.fullmatch(raw_path):
        return raw_path.decode("ascii")
    return quote_from_bytes(unquote_to_bytes(raw_path), safe="/") or "/"


def canonical_query(pairs: Iterable[tuple[bytes, bytes]]) -> str:
    """`pairs`: decoded. The signature itself is left out: it can't cover itself."""
    encoded = [
        (quote_from_bytes(name, safe=""), quote_from_bytes(value, safe=""))
        for name, value in pairs
        if name.lower() != b"x-amz-signature"
    ]
    # By name, then value; not by the joined text, where "-" and "." would come before "=".
    return "&".join([f"{name}={value}" for name, value in sorted(encoded)])


def query_pairs(raw_query: bytes) -> list[tuple[bytes, bytes]]:
    """Decoded names and values in order of arrival; "+" is a space in a query, as S3 reads it."""
    if not raw_query:
        return []
    pairs = [part.partition(b"=") for part in raw_query.replace(b"+", b" ").split(b"&") if part]
    return [(unquote_to_bytes(name), unquote_to_bytes(value)) for name, _, value in pairs]


def _trim(value: str) -> str:
    # Only space and tab: str.split() would also cut at U+0085 and U+00A0, which are bytes of UTF-8 text here.
    value = value.strip(" \t")
    return _SPACES.sub(" ", value) if "  " in value or "\t" in value else value
