"""The one encoding of everything that a ciphertext is bound to: a purpose label, then length-prefixed fields.

Injective: two different (label, fields) never give the same bytes, so a value sealed for one place opens in no other.
Exact bytes in, no normalisation. This module knows no key and no label's meaning; labels and field order are in
docs/object-format.md.
"""

_PREFIX = b"strongroom/1/"  # the format number is part of every context: a value of one format never opens as another


def u8(value: int) -> bytes:
    """One byte. Raises OverflowError outside 0..2^8-1."""
    return value.to_bytes(1, "big")


def u32(value: int) -> bytes:
    """Four bytes, big-endian. Raises OverflowError outside 0..2^32-1."""
    return value.to_bytes(4, "big")


def u64(value: int) -> bytes:
    """Eight bytes, big-endian. Raises OverflowError outside 0..2^64-1."""
    return value.to_bytes(8, "big")


def text(value: str | None) -> bytes:
    """The exact UTF-8 bytes; None (SQL's NULL) is the empty field. Raises UnicodeEncodeError for a lone surrogate."""
    return b"" if value is None else value.encode()


def ctx(label: str, *fields: bytes) -> bytes:
    """u8 length || "strongroom/1/" + label || u8 count || (u32 length || bytes) of each field.

    Raises OverflowError for a label of more than 242 bytes or more than 255 fields, UnicodeEncodeError for a label that
    is not ASCII.
    """
    name = _PREFIX + label.encode("ascii")
    parts = [u8(len(name)), name, u8(len(fields))]
    for field in fields:
        parts += (len(field).to_bytes(4, "big"), field)
    return b"".join(parts)
