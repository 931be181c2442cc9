"""Values that clients encode like an HTML form inside a header: x-amz-copy-source and x-amz-tagging."""

import re
from urllib.parse import unquote_to_bytes

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def decode(text: str) -> str:
    """Decode latin-1 text off the wire, once: `+` is a space, `%XX` a byte, the bytes are UTF-8. Raises ValueError."""
    encoded = text.replace("+", " ").encode("latin-1")
    if _BAD_ESCAPE.search(encoded):
        raise ValueError("a percent sign without two hexadecimal digits")
    return unquote_to_bytes(encoded).decode()
