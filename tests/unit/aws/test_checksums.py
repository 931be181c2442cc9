"""Checksum values, how parts combine, and what the headers of a request promise."""

import base64
import hashlib
from typing import Any

import botocore.session
import pytest

from strongroom.aws import checksums
from strongroom.aws.checksums import ALGORITHMS, Digests, Expected
from strongroom.aws.errors import S3Error
from strongroom.aws.http import Headers

CHECK = b"123456789"  # the customary input of check values
VALUES = {
    "CRC32": "cbf43926",
    "CRC32C": "e3069283",
    "CRC64NVME": "ae8b14860a799888",
    "MD5": "25f9e794323b453885f5181f1b624d0b",
    "SHA1": "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
    "SHA256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
    "SHA512": hashlib.sha512(CHECK).hexdigest(),
}
# Of the xxHash specification: each algorithm with seed 0 on no input, big-endian ("canonical representation").
XXHASH_OF_NOTHING = {
    "XXHASH64": "ef46db3751d8e999",
    "XXHASH3": "2d06800538d394c2",
    "XXHASH128": "99aa06d3014798d86001c324468d497f",
}
NAMES = list(ALGORITHMS)


def digest(name, data):
    each = checksums.hasher(name)
    each.update(data)
    return each.digest()


def refusal(function, *arguments, **options):
    with pytest.raises(S3Error) as caught:
        function(*arguments, **options)
    return caught.value


def b64(name, data=CHECK):
    return checksums.encode_value(digest(name, data))


def test_the_table_is_the_official_models():
    model: Any = botocore.session.get_session().get_service_model("s3")
    assert set(model.shape_for("ChecksumAlgorithm").enum) == set(ALGORITHMS)
    members = model.operation_model("PutObject").input_shape.members
    assert {algorithm.header for algorithm in ALGORITHMS.values()} == {
        member.serialization["name"].lower()
        for name, member in members.items()
        if name.startswith("Checksum") and name != "ChecksumAlgorithm"
    }


@pytest.mark.parametrize("name", VALUES)
def test_check_values(name):
    assert digest(name, CHECK).hex() == VALUES[name]


@pytest.mark.parametrize("name", XXHASH_OF_NOTHING)
def test_xxhash_values(name):
    assert checksums.hasher(name).digest().hex() == XXHASH_OF_NOTHING[name]


@pytest.mark.parametrize("name", NAMES)
def test_sizes_and_blocks(name):
    each = checksums.hasher(name)
    for block in (b"", CHECK[:4], b"", CHECK[4:]):
        each.update(block)
        each.digest()  # looking does not change
    assert each.digest() == digest(name, CHECK)
    assert len(each.digest()) == ALGORITHMS[name].digest_size


@pytest.mark.parametrize("name", [name for name in NAMES if ALGORITHMS[name].full_object])
def test_full_object_values_combine(name):
    pieces = [b"", CHECK, b"x" * 100_000, b"", b"y"]
    parts = [(digest(name, piece), len(piece)) for piece in pieces]
    assert checksums.combine(name, parts) == digest(name, b"".join(pieces))
    assert checksums.combine(name, []) == digest(name, b"")


@pytest.mark.parametrize("name", [name for name in NAMES if ALGORITHMS[name].composite])
def test_composite_values(name):
    parts = [digest(name, b"a"), digest(name, b"b")]
    assert checksums.composite(name, parts) == digest(name, b"".join(parts))


@pytest.mark.parametrize(
    ("name", "default", "other"),
    [
        ("CRC32", "COMPOSITE", "FULL_OBJECT"),
        ("CRC32C", "COMPOSITE", "FULL_OBJECT"),
        ("CRC64NVME", "FULL_OBJECT", None),
        *[
            (name, "COMPOSITE", None)
            for name in ("MD5", "SHA1", "SHA256", "SHA512", "XXHASH64", "XXHASH3", "XXHASH128")
        ],
    ],
)
def test_types(name, default, other):
    algorithm = ALGORITHMS[name]
    assert checksums.parse_type(algorithm, None) == checksums.parse_type(algorithm, default) == default
    if other is not None:
        assert checksums.parse_type(algorithm, other) == other
    else:
        refused = "COMPOSITE" if default == "FULL_OBJECT" else "FULL_OBJECT"
        error = refusal(checksums.parse_type, algorithm, refused)
        assert error.message == (
            f"The {refused} checksum type cannot be used with the {name.lower()} checksum algorithm."
        )
    assert refusal(checksums.parse_type, algorithm, "full_object").message == (
        "Value for x-amz-checksum-type header is invalid."
    )


@pytest.mark.parametrize("name", NAMES)
def test_values_are_the_base64_of_the_digest(name):
    algorithm = ALGORITHMS[name]
    value = b64(name)
    assert checksums.parse_value(algorithm, value) == digest(name, CHECK)
    short = base64.b64encode(digest(name, CHECK)[:-1]).decode()
    for wrong in ("", value[:-1], value + "=", value + "-3", short, digest(name, CHECK).hex(), "é", value[:-2] + "\n="):
        error = refusal(checksums.parse_value, algorithm, wrong)
        assert (error.code, error.message) == (
            "InvalidRequest",
            f"Value for x-amz-checksum-{name.lower()} header is invalid.",
        )


def test_values_have_one_spelling():
    assert refusal(checksums.parse_value, ALGORITHMS["CRC32"], "y/Q5Jh==").code == "InvalidRequest"


# --- The promise


def expected(*headers):
    return checksums.expected(Headers.of(headers))


def test_nothing_is_promised():
    silent = ("x-amz-checksum-mode", "ENABLED"), ("x-amz-checksum-type", "FULL_OBJECT"), ("x-amz-trailer", "")
    assert expected(*silent, ("x-amz-checksum-algorithm", "CRC32")) == Expected()


@pytest.mark.parametrize("name", NAMES)
def test_a_value_in_a_header(name):
    headers = (ALGORITHMS[name].header, b64(name)), ("x-amz-sdk-checksum-algorithm", name)
    assert expected(*headers) == Expected(algorithm=ALGORITHMS[name], value=digest(name, CHECK))


@pytest.mark.parametrize("name", NAMES)
def test_a_value_in_a_trailer(name):
    promise = expected(
        ("x-amz-trailer", ALGORITHMS[name].header.title()), ("x-amz-sdk-checksum-algorithm", name.lower())
    )
    assert promise == Expected(algorithm=ALGORITHMS[name], in_trailer=True)


@pytest.mark.parametrize(
    "headers",
    [
        [("x-amz-checksum-crc32", "y/Q5Jg=="), ("x-amz-checksum-crc32c", "4waSgw==")],
        [("x-amz-checksum-crc32", "y/Q5Jg=="), ("x-amz-checksum-crc32", "y/Q5Jg==")],
        [("x-amz-checksum-crc32", "y/Q5Jg=="), ("x-amz-trailer", "x-amz-checksum-crc32")],
        [("x-amz-trailer", "x-amz-checksum-crc32,x-amz-checksum-sha1")],
        [("x-amz-trailer", "x-amz-checksum-crc32"), ("x-amz-trailer", "x-amz-checksum-crc32")],
    ],
)
def test_one_checksum_at_most(headers):
    error = refusal(expected, *headers)
    assert (error.code, error.message) == (
        "InvalidRequest",
        "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
    )


@pytest.mark.parametrize(
    "header",
    [
        ("x-amz-checksum-blake3", "AAAA"),
        ("x-amz-trailer", "x-amz-checksum-blake3"),
        ("x-amz-sdk-checksum-algorithm", "MD4"),
        ("x-amz-sdk-checksum-algorithm", ""),
    ],
)
def test_an_algorithm_that_s3_has_not_is_refused(header):
    error = refusal(expected, header)
    assert (error.code, error.status) == ("InvalidRequest", 400)
    assert error.message == (
        "Checksum algorithm provided is unsupported. Please try again with any of the valid types: "
        "[CRC32, CRC32C, CRC64NVME, MD5, SHA1, SHA256, SHA512, XXHASH128, XXHASH3, XXHASH64]"
    )


def test_trailers_that_nobody_reads_are_refused():
    error = refusal(expected, ("x-amz-trailer", "x-amz-checksum-crc32, x-amz-meta-a"))
    assert (error.code, error.message) == (
        "InvalidRequest",
        "The value specified in the x-amz-trailer header is not supported",
    )


def test_an_algorithm_without_value():
    error = refusal(expected, ("x-amz-sdk-checksum-algorithm", "CRC32"))
    assert error.message == (
        "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found."
    )


def test_an_algorithm_and_the_value_of_another():
    error = refusal(expected, ("x-amz-sdk-checksum-algorithm", "SHA256"), ("x-amz-checksum-crc32", "y/Q5Jg=="))
    assert (error.code, error.message) == (
        "BadDigest",
        "The SHA256 you specified did not match the calculated checksum.",
    )


@pytest.mark.parametrize("value", ["", "not base64!", "YWJyYWNhZGFicmE=", VALUES["MD5"], "JfnnlDI7RTiF9RgfG2JNCw"])
def test_bad_content_md5(value):
    error = refusal(expected, ("content-md5", value))
    assert (error.code, error.status) == ("InvalidDigest", 400)


# --- Keeping it


def digests_of(promise, data, *more):
    digests = Digests({*promise.names, *more})
    digests.update(data)
    return digests


@pytest.mark.parametrize("name", NAMES)
def test_a_kept_and_a_broken_promise(name):
    promise = Expected(algorithm=ALGORITHMS[name], value=digest(name, CHECK))
    digests_of(promise, CHECK).check(promise, show_digests=True)
    error = refusal(digests_of(promise, CHECK + b"x").check, promise, show_digests=True)
    assert (error.code, error.message) == (
        "BadDigest",
        f"The {name} you specified did not match the calculated checksum.",
    )


def test_trailers():
    promise = Expected(algorithm=ALGORITHMS["CRC32"], in_trailer=True)
    digests = digests_of(promise, CHECK)
    digests.check(promise, {"x-amz-checksum-crc32": "y/Q5Jg=="}, show_digests=True)
    for trailers, code in (
        ({"x-amz-checksum-crc32": "y/Q5Jw=="}, "BadDigest"),
        ({"x-amz-checksum-crc32": "y/Q5J"}, "InvalidRequest"),
        ({}, "MalformedTrailerError"),
    ):
        assert refusal(digests.check, promise, trailers, show_digests=True).code == code


def test_content_md5_and_the_digests_of_the_refusal():
    promise = expected(("content-md5", b64("MD5")))
    digests_of(promise, CHECK).check(promise, show_digests=True)
    error = refusal(digests_of(promise, b"").check, promise, show_digests=True)
    assert (error.code, error.message) == (
        "BadDigest",
        "The Content-MD5 you specified did not match what we received.",
    )
    assert error.detail == {"ExpectedDigest": b64("MD5"), "CalculatedDigest": "1B2M2Y8AsgTpgAmY7PhCfg=="}
    assert refusal(digests_of(promise, b"").check, promise, show_digests=False).detail == {}


def test_digests_by_name():
    digests = Digests({"CRC64NVME", "SHA256"}, md5=True)
    for block in (CHECK[:3], CHECK[3:]):
        digests.update(block)
    assert digests.md5 == digest("MD5", CHECK)
    assert digests.value("CRC64NVME").hex() == VALUES["CRC64NVME"]
    assert digests.value("SHA256").hex() == VALUES["SHA256"]
