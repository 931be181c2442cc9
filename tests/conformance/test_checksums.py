"""Checksums of all ten algorithms, as header and as trailer, of single objects and of uploads in parts."""

import base64
import hashlib
import secrets
import zlib
from typing import Any

import pytest
from awscrt import checksums as crt

from tests.conformance.answers import PART, complete, multipart_tag, read, refused, status, upload
from tests.harness import Server, customer_key
from tests.wire import SIGNED_TRAILER, UNSIGNED_TRAILER, streaming_put

# Published check values: hexadecimal digests of a text by each algorithm.
CHECKS = {
    "CRC32": (b"123456789", "cbf43926"),
    "CRC32C": (b"123456789", "e3069283"),
    "CRC64NVME": (b"123456789", "ae8b14860a799888"),
    "MD5": (b"abc", "900150983cd24fb0d6963f7d28e17f72"),
    "SHA1": (b"abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
    "SHA256": (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    "SHA512": (
        b"abc",
        (
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
            "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
        ),
    ),
    "XXHASH64": (b"abc", "44bc2cf5ad770999"),
    "XXHASH3": (b"abc", "78af5f94892f3950"),
    "XXHASH128": (b"abc", "06b05ab6733a618578af5f94892f3950"),
}
CRCS = ["CRC32", "CRC32C", "CRC64NVME"]
COMPOSITES = [name for name in CHECKS if name != "CRC64NVME"]
FIRST, SECOND = b"a" * PART, b"b" * 7


def check(name: str) -> tuple[bytes, str]:
    """A text, and its checksum as S3 writes it."""
    body, digest = CHECKS[name]
    return body, base64.b64encode(bytes.fromhex(digest)).decode()


def header(name: str) -> str:
    return f"x-amz-checksum-{name.lower()}"


def digest(name: str, data: bytes) -> bytes:
    """By other means than the server's where there are some."""
    match name:
        case "CRC32":
            return zlib.crc32(data).to_bytes(4, "big")
        case "CRC32C":
            return crt.crc32c(data).to_bytes(4, "big")  # type: ignore[no-any-return]
        case "CRC64NVME":
            return crt.crc64nvme(data).to_bytes(8, "big")  # type: ignore[no-any-return]
        case _:
            return hashlib.new(name.lower(), data).digest()


def encoded(name: str, data: bytes) -> str:
    return base64.b64encode(digest(name, data)).decode()


# --- one object


@pytest.mark.parametrize("name", CHECKS)
def test_header__right_value_is_echoed_and_kept(server: Server, bucket: str, name: str) -> None:
    body, value = check(name)
    put = server.send("PUT", f"/{bucket}/k", body=body, headers={header(name): value})
    assert (put.status, put.headers[header(name)], put.headers["x-amz-checksum-type"]) == (200, value, "FULL_OBJECT")
    head = server.send("HEAD", f"/{bucket}/k", headers={"x-amz-checksum-mode": "ENABLED"})
    assert (head.headers[header(name)], head.headers["x-amz-checksum-type"]) == (value, "FULL_OBJECT")
    listing = server.send("GET", f"/{bucket}?list-type=2")
    assert listing.element("ChecksumAlgorithm") == name
    attributes = server.send(
        "GET", f"/{bucket}/k?attributes", headers={"x-amz-object-attributes": "Checksum"}
    ).body.decode()
    assert f"<Checksum{name}>{value}</Checksum{name}>" in attributes


@pytest.mark.parametrize("form", [SIGNED_TRAILER, UNSIGNED_TRAILER])
@pytest.mark.parametrize("name", CHECKS)
def test_trailer__right_value_is_kept(server: Server, bucket: str, name: str, form: str) -> None:
    body, value = check(name)
    reply = streaming_put(server, f"/{bucket}/k", [body], form, trailers={header(name): value})
    assert (reply.status, reply.headers[header(name)]) == (200, value)
    assert server.send("GET", f"/{bucket}/k").body == body


@pytest.mark.parametrize("name", CHECKS)
def test_header__wrong_value_is_400_and_writes_nothing(server: Server, bucket: str, name: str) -> None:
    body, value = check(name)
    reply = server.send("PUT", f"/{bucket}/k", body=body + b"!", headers={header(name): value})
    assert (reply.status, reply.code) == (400, "BadDigest")
    assert reply.element("Message") == f"The {name} you specified did not match the calculated checksum."
    assert server.send("HEAD", f"/{bucket}/k").status == 404


@pytest.mark.parametrize("name", CHECKS)
def test_trailer__wrong_value_is_400_and_writes_nothing(server: Server, bucket: str, name: str) -> None:
    body, value = check(name)
    reply = streaming_put(server, f"/{bucket}/k", [body + b"!"], UNSIGNED_TRAILER, trailers={header(name): value})
    assert (reply.status, reply.code) == (400, "BadDigest")
    assert server.send("HEAD", f"/{bucket}/k").status == 404


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("value", ["", "bad", "AAAA", "not base64!", "A" * 200])
def test_header__that_is_no_value_is_400(server: Server, bucket: str, name: str, value: str) -> None:
    reply = server.send("PUT", f"/{bucket}/k", body=b"x", headers={header(name): value})
    assert (reply.status, reply.code) == (400, "InvalidRequest")
    assert reply.element("Message") == f"Value for {header(name)} header is invalid."


def test_header__unknown_algorithm_is_400_never_ignored(server: Server, bucket: str) -> None:
    reply = server.send("PUT", f"/{bucket}/k", body=b"x", headers={"x-amz-checksum-adler32": "AAAAAA=="})
    assert (reply.status, reply.code) == (400, "InvalidRequest")
    assert reply.element("Message").startswith("Checksum algorithm provided is unsupported.")
    assert server.send("HEAD", f"/{bucket}/k").status == 404


def test_header__two_are_400(server: Server, bucket: str) -> None:
    given = {header(name): encoded(name, b"x") for name in ("CRC32", "SHA256")}
    reply = server.send("PUT", f"/{bucket}/k", body=b"x", headers=given)
    assert (reply.status, reply.code) == (400, "InvalidRequest")
    assert reply.element("Message") == (
        "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
    )


def test_header__other_than_the_algorithm_named_is_400(server: Server, bucket: str) -> None:
    given = {header("CRC32"): encoded("CRC32", b"x"), "x-amz-sdk-checksum-algorithm": "SHA256"}
    assert server.send("PUT", f"/{bucket}/k", body=b"x", headers=given).status == 400
    alone = {"x-amz-sdk-checksum-algorithm": "SHA256"}
    reply = server.send("PUT", f"/{bucket}/k", body=b"x", headers=alone)
    assert (reply.status, reply.code) == (400, "InvalidRequest")
    assert "no corresponding x-amz-checksum-* or x-amz-trailer headers were found" in reply.element("Message")


def test_trailer__announced_and_absent_is_400(server: Server, bucket: str) -> None:
    reply = streaming_put(
        server, f"/{bucket}/k", [b"x"], UNSIGNED_TRAILER, headers={"x-amz-trailer": "x-amz-checksum-crc32"}
    )
    assert (reply.status, reply.code) == (400, "MalformedTrailerError")
    assert server.send("HEAD", f"/{bucket}/k").status == 404


def test_no_checksum__crc64nvme_is_worked_out(server: Server, bucket: str) -> None:
    body, value = check("CRC64NVME")
    put = server.send("PUT", f"/{bucket}/k", body=body)
    assert (put.headers["x-amz-checksum-crc64nvme"], put.headers["x-amz-checksum-type"]) == (value, "FULL_OBJECT")


def test_no_checksum__crc64nvme_is_worked_out_with_sse_c_too(server: Server, bucket: str) -> None:
    s3 = server.s3(tls=True, request_checksum_calculation="when_required")
    key = customer_key(secrets.token_bytes(32))
    body, value = check("CRC64NVME")
    assert s3.put_object(Bucket=bucket, Key="k", Body=body, **key)["ChecksumCRC64NVME"] == value
    assert s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED", **key)["ChecksumCRC64NVME"] == value


# --- SDK defaults: a CRC32 in a header or trailer since 2025, before that nothing but a signature


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("calculation", ["when_supported", "when_required"])
def test_sdk_defaults__of_today_and_of_2022(server: Server, bucket: str, calculation: str, tls: bool) -> None:
    s3 = server.s3(tls=tls, request_checksum_calculation=calculation, response_checksum_validation=calculation)
    body = secrets.token_bytes(200_000)
    put = s3.put_object(Bucket=bucket, Key="k", Body=body)
    name = "CRC32" if calculation == "when_supported" else "CRC64NVME"
    assert put[f"Checksum{name}"] == encoded(name, body)
    assert read(s3, bucket, "k") == body
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k"}]})
    upload_id, parts = upload(s3, bucket, "k", {1: FIRST, 2: SECOND})
    assert complete(s3, bucket, "k", upload_id, parts)["ChecksumCRC64NVME"] == encoded("CRC64NVME", FIRST + SECOND)
    assert read(s3, bucket, "k") == FIRST + SECOND


@pytest.mark.parametrize("name", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_sdk__works_out_the_algorithm_named_from_a_stream(s3_tls: Any, bucket: str, name: str) -> None:
    import io

    body = secrets.token_bytes(100_000)
    put = s3_tls.put_object(Bucket=bucket, Key="k", Body=io.BytesIO(body), ChecksumAlgorithm=name)
    assert put[f"Checksum{name}"] == encoded(name, body)
    assert read(s3_tls, bucket, "k") == body


def test_sdk__managed_upload_in_parts(s3: Any, bucket: str) -> None:
    import io

    from boto3.s3.transfer import TransferConfig

    body = FIRST + SECOND
    s3.upload_fileobj(
        io.BytesIO(body), bucket, "k", Config=TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
    )
    assert read(s3, bucket, "k") == body
    assert s3.head_object(Bucket=bucket, Key="k")["ETag"] == multipart_tag([FIRST, SECOND])


# --- uploads in parts: which type goes with which algorithm


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("checksum_type", [None, "COMPOSITE", "FULL_OBJECT"])
def test_create__types_of_each_algorithm(server: Server, bucket: str, name: str, checksum_type: str | None) -> None:
    headers = {"x-amz-checksum-algorithm": name}
    if checksum_type:
        headers["x-amz-checksum-type"] = checksum_type
    reply = server.send("POST", f"/{bucket}/k?uploads", headers=headers)
    allowed = {None, "COMPOSITE"} if name not in CRCS else {None, "COMPOSITE", "FULL_OBJECT"}
    if name == "CRC64NVME":
        allowed = {None, "FULL_OBJECT"}
    if checksum_type in allowed:
        default = "FULL_OBJECT" if name == "CRC64NVME" else "COMPOSITE"
        assert reply.status == 200
        assert reply.headers["x-amz-checksum-algorithm"] == name
        assert reply.headers["x-amz-checksum-type"] == (checksum_type or default)
    else:
        assert (reply.status, reply.code) == (400, "InvalidRequest")
        assert reply.element("Message") == (
            f"The {checksum_type} checksum type cannot be used with the {name.lower()} checksum algorithm."
        )


@pytest.mark.parametrize("checksum_type", ["COMPOSITE", "FULL_OBJECT"])
def test_create__type_without_algorithm_is_400(s3: Any, bucket: str, checksum_type: str) -> None:
    answer = refused(s3.create_multipart_upload, Bucket=bucket, Key="k", ChecksumType=checksum_type)
    assert answer.what == (400, "InvalidRequest")
    assert answer.message == (
        "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header."
    )


@pytest.mark.parametrize(("algorithm", "checksum_type"), [("ADLER32", None), ("CRC32", "HALF_OBJECT")])
def test_create__unknown_algorithm_or_type_is_400(
    s3: Any, bucket: str, algorithm: str, checksum_type: str | None
) -> None:
    more = {"ChecksumType": checksum_type} if checksum_type else {}
    answer = refused(s3.create_multipart_upload, Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm, **more)
    assert answer.what == (400, "InvalidRequest")


# --- uploads in parts: an object of two parts


def summed_upload(s3: Any, bucket: str, name: str, **create: Any) -> tuple[str, list[dict[str, Any]]]:
    """An upload with an algorithm and both parts; the list that completes it, checksums included."""
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm=name, **create)["UploadId"]
    listed = []
    for number, body in ((1, FIRST), (2, SECOND)):
        value = encoded(name, body)
        put = s3.upload_part(
            Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=number, Body=body, **{f"Checksum{name}": value}
        )
        assert put[f"Checksum{name}"] == value
        listed.append({"PartNumber": number, "ETag": put["ETag"], f"Checksum{name}": value})
    return upload_id, listed


def bare(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in parts]


def composite(name: str) -> str:
    return encoded(name, digest(name, FIRST) + digest(name, SECOND))


@pytest.mark.parametrize("name", ["CRC32", "CRC32C", "SHA1", "SHA256", "SHA512", "MD5"])
def test_composite__is_the_checksum_of_checksums_with_the_number_of_parts(s3: Any, bucket: str, name: str) -> None:
    upload_id, parts = summed_upload(s3, bucket, name)
    answer = complete(s3, bucket, "k", upload_id, parts)
    assert (answer[f"Checksum{name}"], answer["ChecksumType"]) == (f"{composite(name)}-2", "COMPOSITE")
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (head[f"Checksum{name}"], head["ChecksumType"]) == (f"{composite(name)}-2", "COMPOSITE")
    part = s3.head_object(Bucket=bucket, Key="k", PartNumber=2, ChecksumMode="ENABLED")
    assert part[f"Checksum{name}"] == encoded(name, SECOND)


@pytest.mark.parametrize("name", CRCS)
def test_full_object__is_the_checksum_of_the_whole(s3: Any, bucket: str, name: str) -> None:
    upload_id, parts = summed_upload(s3, bucket, name, ChecksumType="FULL_OBJECT")
    value = encoded(name, FIRST + SECOND)
    answer = complete(s3, bucket, "k", upload_id, bare(parts), ChecksumType="FULL_OBJECT", **{f"Checksum{name}": value})
    assert (answer[f"Checksum{name}"], answer["ChecksumType"]) == (value, "FULL_OBJECT")
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (head[f"Checksum{name}"], head["ChecksumType"]) == (value, "FULL_OBJECT")


def test_full_object__a_part_shows_its_own_only_if_complete_listed_it(s3: Any, bucket: str) -> None:
    for listed in (True, False):
        upload_id, parts = summed_upload(s3, bucket, "CRC32", ChecksumType="FULL_OBJECT")
        complete(s3, bucket, "k", upload_id, parts if listed else bare(parts))
        part = s3.head_object(Bucket=bucket, Key="k", PartNumber=2, ChecksumMode="ENABLED")
        assert part.get("ChecksumCRC32") == (encoded("CRC32", SECOND) if listed else None)


@pytest.mark.parametrize("form", ["{}", "{}-2"])
def test_complete__composite_value_in_the_header_is_held_against_the_parts(s3: Any, bucket: str, form: str) -> None:
    upload_id, parts = summed_upload(s3, bucket, "SHA256")
    for wrong in (form.format(encoded("SHA256", b"other")), f"{composite('SHA256')}-3"):
        answer = refused(
            complete, s3=s3, bucket=bucket, key="k", upload_id=upload_id, parts=parts, ChecksumSHA256=wrong
        )
        assert answer.what == (400, "BadDigest")
        assert answer.message == "The sha256 you specified did not match the calculated checksum."
    value = form.format(composite("SHA256"))
    assert status(complete(s3, bucket, "k", upload_id, parts, ChecksumSHA256=value)) == 200


def test_complete__full_object_value_that_is_wrong_is_400(s3: Any, bucket: str) -> None:
    upload_id, parts = summed_upload(s3, bucket, "CRC32C", ChecksumType="FULL_OBJECT")
    for more in (
        {"ChecksumCRC32C": encoded("CRC32C", b"other")},
        {"ChecksumCRC32": encoded("CRC32", FIRST + SECOND)},
        {"ChecksumCRC32C": f"{composite('CRC32C')}-2"},
    ):
        answer = refused(
            complete,
            s3=s3,
            bucket=bucket,
            key="k",
            upload_id=upload_id,
            parts=parts,
            ChecksumType="FULL_OBJECT",
            **more,
        )
        assert answer.what == (400, "BadDigest")
    assert refused(s3.head_object, Bucket=bucket, Key="k").status == 404


def test_complete__composite_needs_every_part_s_checksum(s3: Any, bucket: str) -> None:
    upload_id, parts = summed_upload(s3, bucket, "CRC32")
    answer = refused(complete, s3=s3, bucket=bucket, key="k", upload_id=upload_id, parts=[parts[0], *bare(parts[1:])])
    assert answer.what == (400, "InvalidRequest")
    assert answer.message == (
        "The upload was created using a crc32 checksum. The complete request must include the checksum for each part."
        " It was missing for part 2 in the request."
    )


@pytest.mark.parametrize("checksum_type", ["COMPOSITE", "FULL_OBJECT"])
def test_complete__wrong_checksum_of_a_part_is_400(s3: Any, bucket: str, checksum_type: str) -> None:
    upload_id, parts = summed_upload(s3, bucket, "CRC32", ChecksumType=checksum_type)
    wrong = [parts[0], {**parts[1], "ChecksumCRC32": encoded("CRC32", b"other")}]
    answer = refused(complete, s3=s3, bucket=bucket, key="k", upload_id=upload_id, parts=wrong)
    assert (answer.what, answer.detail["PartNumber"]) == ((400, "InvalidPart"), "2")


def test_complete__checksum_of_another_algorithm_is_400(s3: Any, bucket: str) -> None:
    upload_id, parts = summed_upload(s3, bucket, "CRC32")
    other = [{**bare([parts[0]])[0], "ChecksumSHA256": encoded("SHA256", FIRST)}, parts[1]]
    answer = refused(complete, s3=s3, bucket=bucket, key="k", upload_id=upload_id, parts=other)
    assert answer.what == (400, "BadDigest")
    assert answer.message == "The sha256 you specified for part 1 did not match what we received."


@pytest.mark.parametrize(("declared", "asked"), [("COMPOSITE", "FULL_OBJECT"), ("FULL_OBJECT", "COMPOSITE")])
def test_complete__another_type_is_400(s3: Any, bucket: str, declared: str, asked: str) -> None:
    upload_id, parts = summed_upload(s3, bucket, "CRC32", ChecksumType=declared)
    answer = refused(complete, s3=s3, bucket=bucket, key="k", upload_id=upload_id, parts=parts, ChecksumType=asked)
    assert answer.what == (400, "InvalidRequest")
    assert answer.message == (
        f"The upload was created using the {declared} checksum mode. The complete request must use the same checksum mode."
    )


def test_upload_part__another_algorithm_than_declared_is_400(server: Server, bucket: str) -> None:
    s3 = server.s3(request_checksum_calculation="when_required")
    for algorithm, sent in (("SHA256", "crc32"), ("SHA256", "null")):
        upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm)["UploadId"]
        more = {} if sent == "null" else {"ChecksumCRC32": encoded("CRC32", b"x")}
        part = {"Bucket": bucket, "Key": "k", "UploadId": upload_id, "PartNumber": 1, "Body": b"x"}
        answer = refused(s3.upload_part, **part, **more)
        assert answer.what == (400, "InvalidRequest")
        assert answer.message == (
            f"Checksum Type mismatch occurred, expected checksum Type: sha256, actual checksum Type: {sent}"
        )


def test_upload_part__full_object_needs_no_checksum_with_a_part(server: Server, bucket: str) -> None:
    s3 = server.s3(request_checksum_calculation="when_required")
    upload_id, parts = upload(s3, bucket, "k", {1: FIRST}, ChecksumAlgorithm="CRC64NVME")
    answer = complete(s3, bucket, "k", upload_id, parts)
    assert answer["ChecksumCRC64NVME"] == encoded("CRC64NVME", FIRST)


# --- uploads in parts without an algorithm


def test_undeclared__sse_s3_has_crc64nvme_of_the_whole_and_none_of_its_parts(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, "k", {1: FIRST, 2: SECOND})
    answer = complete(s3, bucket, "k", upload_id, parts)
    value = encoded("CRC64NVME", FIRST + SECOND)
    assert (answer["ChecksumCRC64NVME"], answer["ChecksumType"]) == (value, "FULL_OBJECT")
    assert s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")["ChecksumCRC64NVME"] == value
    part = s3.get_object(Bucket=bucket, Key="k", PartNumber=2, ChecksumMode="ENABLED")
    assert not [name for name in part if name.startswith("Checksum")]


def test_undeclared__what_a_part_sends_is_echoed_and_verified(server: Server, s3: Any, bucket: str) -> None:
    upload_id, _ = upload(s3, bucket, "k", {})
    body, value = check("SHA256")
    target = f"/{bucket}/k?partNumber=1&uploadId={upload_id}"
    reply = server.send("PUT", target, body=body, headers={header("SHA256"): value})
    assert (reply.status, reply.headers[header("SHA256")]) == (200, value)
    wrong = server.send("PUT", target, body=b"other", headers={header("SHA256"): value})
    assert (wrong.status, wrong.code) == (400, "BadDigest")


def test_undeclared__a_checksum_in_the_list_of_parts_is_400(s3: Any, bucket: str) -> None:
    upload_id, (part,) = upload(s3, bucket, "k", {1: SECOND})
    listed = [{**part, "ChecksumCRC32": encoded("CRC32", SECOND)}]
    answer = refused(complete, s3=s3, bucket=bucket, key="k", upload_id=upload_id, parts=listed)
    assert (answer.what, answer.detail["PartNumber"]) == ((400, "InvalidPart"), "1")


@pytest.mark.parametrize("checksum_type", ["COMPOSITE", "FULL_OBJECT"])
def test_undeclared__a_type_at_complete_is_400(s3: Any, bucket: str, checksum_type: str) -> None:
    upload_id, parts = upload(s3, bucket, "k", {1: SECOND})
    answer = refused(
        complete, s3=s3, bucket=bucket, key="k", upload_id=upload_id, parts=parts, ChecksumType=checksum_type
    )
    assert answer.what == (400, "InvalidRequest")
    assert "using the null checksum mode" in answer.message


def test_undeclared__crc64nvme_at_complete_is_verified(s3: Any, bucket: str) -> None:
    upload_id, parts = upload(s3, bucket, "k", {1: SECOND})
    where = {"s3": s3, "bucket": bucket, "key": "k", "upload_id": upload_id, "parts": parts}
    assert refused(complete, **where, ChecksumCRC64NVME=encoded("CRC64NVME", b"x")).what == (400, "BadDigest")
    assert status(complete(**where, ChecksumCRC64NVME=encoded("CRC64NVME", SECOND))) == 200


def test_undeclared__sse_c_has_no_checksum_at_all(s3_tls: Any, bucket: str) -> None:
    key = customer_key(secrets.token_bytes(32))
    upload_id, _ = upload(s3_tls, bucket, "k", {}, **key)
    put = s3_tls.upload_part(Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=1, Body=SECOND, **key)
    assert put["ChecksumCRC32"] == encoded("CRC32", SECOND)  # the client sent it
    answer = complete(s3_tls, bucket, "k", upload_id, [{"PartNumber": 1, "ETag": put["ETag"]}])
    head = s3_tls.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED", **key)
    assert not [name for name in (*answer, *head) if name.startswith("Checksum")]


def test_declared__sse_c_complete_needs_the_key(s3_tls: Any, bucket: str) -> None:
    key = customer_key(secrets.token_bytes(32))
    upload_id = s3_tls.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="SHA256", **key)["UploadId"]
    value = encoded("SHA256", SECOND)
    put = s3_tls.upload_part(
        Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=1, Body=SECOND, ChecksumSHA256=value, **key
    )
    parts = [{"PartNumber": 1, "ETag": put["ETag"], "ChecksumSHA256": value}]
    without = refused(complete, s3=s3_tls, bucket=bucket, key="k", upload_id=upload_id, parts=parts)
    assert without.what == (400, "InvalidRequest")
    answer = complete(s3_tls, bucket, "k", upload_id, parts, **key)
    assert answer["ChecksumSHA256"] == encoded("SHA256", digest("SHA256", SECOND)) + "-1"


# --- ListParts


def test_list_parts__shows_the_declared_checksum(s3: Any, bucket: str) -> None:
    upload_id, parts = summed_upload(s3, bucket, "SHA256")
    answer = s3.list_parts(Bucket=bucket, Key="k", UploadId=upload_id)
    assert (answer["ChecksumAlgorithm"], answer["ChecksumType"]) == ("SHA256", "COMPOSITE")
    assert [part["ChecksumSHA256"] for part in answer["Parts"]] == [part["ChecksumSHA256"] for part in parts]
