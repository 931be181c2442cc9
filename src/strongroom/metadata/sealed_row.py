"""What the opening of every sealed row shares: whatever stands where it cannot have been written is damage, never absence.

Which columns a row has, and how they are bound, is known where its records are.
"""

from collections.abc import Callable
from typing import Any

from strongroom.crypto import sealing
from strongroom.crypto.errors import IntegrityError
from strongroom.crypto.rows import RowSealer
from strongroom.metadata.records import OpenBucket


def open_sealed(sealer: RowSealer, version: int, ad: bytes, sealed: object) -> bytes:
    """The plaintext of a `sealed` column. Raises IntegrityError."""
    if not isinstance(sealed, bytes):
        raise IntegrityError("a sealed column holds what cannot have been written")
    return sealing.open_row(sealer, version, ad, sealed)


def row_key_of(bucket: OpenBucket, version: int) -> RowSealer:
    """The row key of the secret that a row names. Raises IntegrityError."""
    try:
        return bucket.keys[version].rows
    except KeyError:
        raise IntegrityError(f"a row names version {version} of its bucket's secret, which does not exist") from None


def associated_data(bind: Callable[..., bytes], *fields: Any) -> bytes:
    """Associated data of columns as found: a column of a wrong type or range is damage like any other. Raises
    IntegrityError.
    """
    try:
        return bind(*fields)
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise IntegrityError("a clear column holds what cannot have been written") from error
