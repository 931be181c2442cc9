"""The checksums of a multipart upload: what Create declares, what Complete lists and promises, and what the whole
object's is.

The values of the parts are sealed under the object's key; with SSE-C, Complete may come without it, and then the object
has none. Rules: S3 User Guide, "Checking object integrity", and what AWS answers where that page is silent. Nothing
here reads or writes a row.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import msgspec

from strongroom.aws.checksums import (
    ALGORITHMS,
    Expected,
    combine,
    composite,
    encode_value,
    expected,
    parse_algorithm,
    parse_type,
)
from strongroom.aws.errors import S3Error
from strongroom.aws.http import Headers
from strongroom.identity.call import AuthorizedCall
from strongroom.metadata.records import ChecksumType, Part, SseC, Upload
from strongroom.s3.checksum_values import DEFAULT, open_values
from strongroom.s3.object_keys import ObjectKey

_WITH_PART_COUNT = re.compile(r"([A-Za-z0-9+/]+={0,2})-([0-9]{1,5})")
_ALGORITHM_ALONE = "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header."


def declared_checksum(call: AuthorizedCall) -> tuple[str, ChecksumType]:
    """The checksum algorithm and type that an upload declares, both "" for none. Raises S3Error."""
    named, checksum_type = call.input.get("ChecksumAlgorithm"), call.input.get("ChecksumType")
    if named is None:
        if checksum_type is not None:
            raise S3Error("InvalidRequest", _ALGORITHM_ALONE)
        return "", ""
    algorithm = parse_algorithm(named)
    return algorithm.name, parse_type(algorithm, checksum_type)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a Complete asks for, as far as it can be read without the parts."""

    listed: list[dict[str, Any]]
    promise: Expected
    promised_parts: int | None
    object_size: int | None

    @property
    def named(self) -> list[tuple[int, str]]:
        return [(part.get("PartNumber", 0), part.get("ETag", "")) for part in self.listed]


def wanted_of(call: AuthorizedCall) -> Wanted:
    """Raises S3Error."""
    promise, promised_parts = _promise(call.headers)
    return Wanted(
        listed=call.input.get("MultipartUpload", {}).get("Parts", []),
        promise=promise,
        promised_parts=promised_parts,
        object_size=call.input.get("MpuObjectSize"),
    )


def _promise(headers: Headers) -> tuple[Expected, int | None]:
    """What x-amz-checksum-* says of the whole object; a COMPOSITE value may come with the number of parts, `-N`, as S3
    writes it. Raises S3Error.
    """
    pairs, count = [], None
    for name, value in headers:
        match = _WITH_PART_COUNT.fullmatch(value) if name.startswith("x-amz-checksum-") else None
        if match:
            count = int(match[2])
        pairs.append((name, match[1] if match else value))
    return expected(Headers(tuple(pairs))), count


def check_type(upload: Upload, checksum_type: str | None) -> None:
    """x-amz-checksum-type of Complete against what Create declared. Raises InvalidRequest."""
    if checksum_type not in (None, upload.checksum_type or None):
        raise S3Error(
            "InvalidRequest",
            f"The upload was created using the {upload.checksum_type or 'null'} checksum mode. The complete request must use"
            " the same checksum mode.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeChecksum:
    """The checksum of a completed object; `value` b"" where it has none."""

    algorithm: str = ""
    checksum_type: ChecksumType = ""
    value: bytes = field(default=b"", repr=False)


def whole_checksum(upload: Upload, key: ObjectKey | None, parts: tuple[Part, ...], wanted: Wanted) -> WholeChecksum:
    """From the parts' sealed values, held against what the client lists and promises. Raises S3Error, IntegrityError."""
    declared = upload.checksum_algorithm
    if not declared:
        _check_none_listed(upload, wanted)
    if key is None or (not declared and isinstance(upload.encryption, SseC)):
        return WholeChecksum()
    algorithm = declared or DEFAULT
    checksum_type: ChecksumType = upload.checksum_type or "FULL_OBJECT"
    values = [open_values(key, part.checksums, part.part_number)[algorithm] for part in parts]
    if declared:
        _check_listed(upload, algorithm, checksum_type, values, wanted)
    if checksum_type == "COMPOSITE":
        whole = composite(algorithm, values)
    else:
        whole = combine(algorithm, zip(values, (part.size for part in parts), strict=True))
    promised = wanted.promise
    # Of an upload that declared nothing S3 ignores a checksum that it cannot work out from the parts.
    checkable = declared or (promised.algorithm and promised.algorithm.name == algorithm)
    if promised.algorithm and promised.value is not None and checkable:
        if promised.algorithm.name != algorithm:
            raise S3Error(
                "BadDigest",
                f"The {promised.algorithm.name.lower()} you specified did not match the calculated checksum.",
            )
        shown = len(parts) if checksum_type == "COMPOSITE" else None
        if promised.value != whole or wanted.promised_parts not in (None, shown):
            raise S3Error("BadDigest", f"The {algorithm.lower()} you specified did not match the calculated checksum.")
    return WholeChecksum(algorithm=algorithm, checksum_type=checksum_type, value=whole)


def _check_listed(upload: Upload, algorithm: str, checksum_type: str, values: list[bytes], wanted: Wanted) -> None:
    """The checksums in the list of parts: each one given must be right, and COMPOSITE needs them all. Raises S3Error."""
    members = {f"Checksum{name}": name for name in ALGORITHMS}
    for number, (listed, value) in enumerate(zip(wanted.listed, values, strict=True), start=1):
        given = {members[member]: listed[member] for member in members if listed.get(member) is not None}
        if other := next((name for name in given if name != algorithm), None):
            raise S3Error(
                "BadDigest", f"The {other.lower()} you specified for part {number} did not match what we received."
            )
        if checksum_type == "COMPOSITE":
            if listed.get("PartNumber") != number:
                raise S3Error("InvalidPartOrder", UploadId=upload.upload_id)
            if algorithm not in given:
                raise S3Error(
                    "InvalidRequest",
                    f"The upload was created using a {algorithm.lower()} checksum. The complete request must include the checksum"
                    f" for each part. It was missing for part {number} in the request.",
                )
        if given.get(algorithm) not in (None, encode_value(value)):
            raise _wrong_part(upload, listed)


def _check_none_listed(upload: Upload, wanted: Wanted) -> None:
    """Where the upload declared no algorithm, S3 takes no checksum in the list of parts. Raises InvalidPart."""
    for listed in wanted.listed:
        if any(listed.get(f"Checksum{name}") is not None for name in ALGORITHMS):
            raise _wrong_part(upload, listed)


def with_listed_checksums(parts: tuple[Part, ...], algorithm: str, wanted: Wanted) -> tuple[Part, ...]:
    """A part keeps its own checksum for later reads only if the list named it."""
    return tuple(
        part if listed.get(f"Checksum{algorithm}") is not None else msgspec.structs.replace(part, checksums=b"")
        for part, listed in zip(parts, wanted.listed, strict=True)
    )


def _wrong_part(upload: Upload, listed: dict[str, Any]) -> S3Error:
    return S3Error(
        "InvalidPart",
        UploadId=upload.upload_id,
        PartNumber=str(listed.get("PartNumber")),
        ETag=str(listed.get("ETag", "")).strip('"'),
    )
