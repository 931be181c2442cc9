"""The checksum values that an object keeps, sealed under its own key: nobody without that key confirms a guess of the
plaintext.
"""

from collections.abc import Mapping

import msgspec

from strongroom.aws.checksums import encode_value
from strongroom.crypto.errors import IntegrityError, KeyMismatch
from strongroom.crypto.sealing import WHOLE_OBJECT, open_checksums, seal_checksums
from strongroom.s3.object_keys import ObjectKey

DEFAULT = "CRC64NVME"  # what S3 computes where the client sends nothing

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, bytes]).decode


def seal_values(key: ObjectKey, values: Mapping[str, bytes], part_number: int = WHOLE_OBJECT) -> bytes:
    """Algorithm name -> raw digest, sealed for one part or for the whole object; b"" for none."""
    return seal_checksums(key.material, key.object_id, part_number, _encode(values)) if values else b""


def open_values(key: ObjectKey, sealed: bytes, part_number: int = WHOLE_OBJECT) -> dict[str, bytes]:
    """Raises IntegrityError."""
    if not sealed:
        return {}
    try:
        return _decode(open_checksums(key.material, key.object_id, part_number, sealed))
    except KeyMismatch as error:
        raise IntegrityError("checksums were not sealed under their object's key") from error


def checksum_members(
    values: Mapping[str, bytes], algorithm: str, checksum_type: str = "", part_count: int = 0
) -> dict[str, str]:
    """The output members for one algorithm (`ChecksumCRC32`, `ChecksumType`); a COMPOSITE value of an object ends in
    -N.
    """
    if algorithm not in values:
        return {}
    text = encode_value(values[algorithm])
    if checksum_type == "COMPOSITE" and part_count:
        text += f"-{part_count}"
    members = {f"Checksum{algorithm}": text}
    return members | {"ChecksumType": checksum_type} if checksum_type else members
