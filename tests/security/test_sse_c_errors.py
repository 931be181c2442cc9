"""SSE-C on the wire: every mistake with a customer's key, answered with Amazon's exact status, code, text and elements.

Over plain loopback and over TLS alike; bytes on a socket, since SDKs would repair or refuse most of these requests.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest

from tests.harness import Reply, Server, customer_key_headers, unique_bucket
from tests.wire import Form, form, policy_fields

SSE = "x-amz-server-side-encryption"
ALGORITHM, KEY, KEY_MD5 = (f"{SSE}-customer-{name}" for name in ("algorithm", "key", "key-md5"))
SOURCE = "x-amz-copy-source-server-side-encryption-customer-"

CLASH = "Server Side Encryption with Customer provided key is incompatible with the encryption method specified"
BAD_ALGORITHM = "The Encryption request you specified is not valid. Supported value: AES256."
NO_ALGORITHM = (
    "Requests specifying Server Side Encryption with Customer provided keys must provide a valid encryption algorithm."
)
NO_KEY = (
    "Requests specifying Server Side Encryption with Customer provided keys must provide an appropriate secret key."
)
NO_MD5 = "Requests specifying Server Side Encryption with Customer provided keys must provide the client calculated MD5 of the secret key."
BAD_KEY = "The secret key was invalid for the specified algorithm."
BAD_MD5 = "The calculated MD5 hash of the key did not match the hash that was provided."
KEY_NEEDED = "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object."
WRONG_KEY = (
    "Requests specifying Server Side Encryption with Customer provided keys must provide the correct secret key."
)
NOT_APPLICABLE = "The encryption parameters are not applicable to this object."
PART_KEY_EXPECTED = "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters."
OTHER_PART_KEY = "The provided encryption parameters did not match the ones used originally."
BLOCKED = "because this bucket has blocked upload requests that specify Server Side Encryption with Customer provided keys (SSE-C). Please specify a different server-side encryption type"
KMS_HEADER_MISSING = (
    "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms"
)

FIRST, SECOND = bytes(range(32)), bytes(range(32, 64))
C3 = customer_key_headers(FIRST)
OTHER = customer_key_headers(SECOND)
WRONG_MD5 = base64.b64encode(bytes(16)).decode()


def without(headers: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in names}


def source(headers: Mapping[str, str]) -> dict[str, str]:
    """The same headers for the source of a copy."""
    return {name.replace("x-amz-", "x-amz-copy-source-", 1): value for name, value in headers.items()}


def key_of(length: int) -> dict[str, str]:
    """Headers that are right in everything but the key's length."""
    return customer_key_headers(b"k" * length)


@dataclass(frozen=True)
class Refusal:
    """`value`: ArgumentValue, None where the element must be absent."""

    status: int
    code: str
    message: str
    argument: str | None = None
    value: str | None = None

    def check(self, reply: Reply) -> None:
        assert (reply.status, reply.code, reply.element("Message")) == (self.status, self.code, self.message)
        assert ("<ArgumentName>" in reply.body.decode()) is (self.argument is not None)
        assert reply.element("ArgumentName") == (self.argument or "")
        assert ("<ArgumentValue>" in reply.body.decode()) is (self.value is not None)
        assert reply.element("ArgumentValue") == (self.value or "")


def invalid(message: str, value: str | None = None) -> Refusal:
    return Refusal(400, "InvalidArgument", message, SSE, value)


def bad_algorithm(value: str) -> Refusal:
    return Refusal(400, "InvalidEncryptionAlgorithmError", BAD_ALGORITHM, SSE, value)


# --- writes (the order of the checks is part of it: where two things are wrong, the first one is told)

ON_KEYS: dict[str, tuple[dict[str, str], Refusal]] = {
    "algorithm-KMS": ({**C3, ALGORITHM: "KMS"}, bad_algorithm("KMS")),
    "algorithm-lower-case": ({**C3, ALGORITHM: "aes256"}, bad_algorithm("aes256")),
    "algorithm-aws-kms": ({**C3, ALGORITHM: "aws:kms"}, bad_algorithm("aws:kms")),
    "no-algorithm": (without(C3, ALGORITHM), invalid(NO_ALGORITHM)),
    "md5-alone": (without(C3, ALGORITHM, KEY), invalid(NO_ALGORITHM)),
    "key-alone": (without(C3, ALGORITHM, KEY_MD5), invalid(NO_ALGORITHM)),
    "no-key": (without(C3, KEY), invalid(NO_KEY)),
    "algorithm-alone": (without(C3, KEY, KEY_MD5), invalid(NO_KEY)),
    "no-md5": (without(C3, KEY_MD5), invalid(NO_MD5)),
    "other-md5": ({**C3, KEY_MD5: OTHER[KEY_MD5]}, invalid(BAD_MD5)),
    "md5-not-base64": ({**C3, KEY_MD5: "?"}, invalid(BAD_MD5)),
    "md5-in-hex": ({**C3, KEY_MD5: hashlib.md5(FIRST).hexdigest()}, invalid(BAD_MD5)),
    "md5-latin-1": ({**C3, KEY_MD5: "\xe9\xff"}, invalid(BAD_MD5)),
    "key-not-base64": ({**C3, KEY: "!" * 44}, invalid(BAD_KEY)),
    "key-latin-1": ({**C3, KEY: "\xe9" * 44}, invalid(BAD_KEY)),
    # before the others:
    "bad-algorithm-before-no-key": ({**without(C3, KEY), ALGORITHM: "x"}, bad_algorithm("x")),
    "no-algorithm-before-bad-key": ({KEY: "!", KEY_MD5: "!"}, invalid(NO_ALGORITHM)),
    "no-key-before-bad-md5": ({ALGORITHM: "AES256", KEY_MD5: "!"}, invalid(NO_KEY)),
    "md5-before-length": ({**key_of(16), KEY_MD5: WRONG_MD5}, invalid(BAD_MD5)),
}
ON_LENGTH = {f"{length}-bytes": (key_of(length), invalid(BAD_KEY)) for length in (1, 16, 31, 33, 44, 64)}
ON_WRITE: dict[str, tuple[dict[str, str], Refusal]] = {
    **ON_KEYS,
    **ON_LENGTH,
    "clash-AES256": ({**C3, SSE: "AES256"}, invalid(CLASH, "AES256")),
    "clash-aws-kms": ({**C3, SSE: "aws:kms"}, invalid(CLASH, "aws:kms")),
    "clash-before-algorithm": ({**C3, ALGORITHM: "x", SSE: "AES256"}, invalid(CLASH, "AES256")),
    "clash-before-all": ({KEY_MD5: "!", SSE: "nonsense"}, invalid(CLASH, "nonsense")),
}

Operation = Callable[[Server, str, Mapping[str, str], bool], Reply]


def put(server: Server, bucket: str, headers: Mapping[str, str], tls: bool = False) -> Reply:
    return server.send("PUT", f"/{bucket}/object", headers=headers, body=b"content", tls=tls)


def create(server: Server, bucket: str, headers: Mapping[str, str], tls: bool = False) -> Reply:
    return server.send("POST", f"/{bucket}/object?uploads", headers=headers, tls=tls)


def copy(server: Server, bucket: str, headers: Mapping[str, str], tls: bool = False) -> Reply:
    server.send("PUT", f"/{bucket}/plain", body=b"content")
    given = {"x-amz-copy-source": f"/{bucket}/plain", **headers}
    return server.send("PUT", f"/{bucket}/object", headers=given, tls=tls)


def post(server: Server, bucket: str, headers: Mapping[str, str], tls: bool = False) -> Reply:
    fields = {"key": "object", **headers}
    conditions = [{"bucket": bucket}, *({name: value} for name, value in fields.items())]
    return form({**fields, **policy_fields(server, conditions)}, b"content").post(server, f"/{bucket}", tls=tls)


def exists(server: Server, bucket: str) -> bool:
    return server.send("HEAD", f"/{bucket}/object", headers=C3).status != 404


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("operation", [put, create, copy, post])
def test_a_write_with_a_bad_customer_key_gets_the_exact_error_and_stores_nothing(
    server: Server, bucket: str, operation: Operation, tls: bool
) -> None:
    for name, (headers, refusal) in ON_WRITE.items():
        if operation is post and "latin-1" in name:
            continue  # a form is UTF-8
        try:
            refusal.check(operation(server, bucket, headers, tls))
        except AssertionError as error:
            raise AssertionError(name) from error
    assert not exists(server, bucket)
    uploads = server.send("GET", f"/{bucket}?uploads")
    assert uploads.status == 200
    assert b"<Upload>" not in uploads.body


@pytest.mark.parametrize("operation", [put, create, copy, post])
def test_a_write_echoes_algorithm_and_md5_and_never_the_managed_method(
    server: Server, bucket: str, operation: Operation
) -> None:
    reply = operation(server, bucket, C3, False)
    assert reply.status in (200, 204)
    assert reply.headers[ALGORITHM] == "AES256"
    assert reply.headers[KEY_MD5] == C3[KEY_MD5]
    assert SSE not in reply.headers
    assert KEY not in reply.headers


# --- the managed methods' header

SSE_VALUES: dict[str, tuple[dict[str, str], Refusal]] = {
    **{
        f"value-{value or 'empty'}": (
            {SSE: value},
            invalid("The encryption method specified is not supported", value),
        )
        for value in ("aes256", "AES-256", "AES192", "true", "aes:kms", "AES256,AES256", "")
    },
    "key-id-alone": ({f"{SSE}-aws-kms-key-id": "k"}, invalid(KMS_HEADER_MISSING)),
    "context-alone": ({f"{SSE}-context": "e30="}, invalid(KMS_HEADER_MISSING)),
    "AES256-with-key-id": ({SSE: "AES256", f"{SSE}-aws-kms-key-id": "k"}, invalid(KMS_HEADER_MISSING)),
}


@pytest.mark.parametrize(("headers", "refusal"), SSE_VALUES.values(), ids=SSE_VALUES.keys())
@pytest.mark.parametrize("operation", [put, create, copy])
def test_a_write_with_a_bad_method(
    server: Server, bucket: str, operation: Operation, headers: dict[str, str], refusal: Refusal
) -> None:
    refusal.check(operation(server, bucket, headers, False))
    assert not exists(server, bucket)


def test_the_methods_header_is_refused_by_operations_that_have_none(server: Server, bucket: str) -> None:
    server.send("PUT", f"/{bucket}/object", body=b"content")
    upload = create(server, bucket, {}).element("UploadId")
    requests = [
        ("GET", f"/{bucket}/object"),
        ("HEAD", f"/{bucket}/object"),
        ("GET", f"/{bucket}/object?attributes"),
        ("DELETE", f"/{bucket}/object"),
        ("GET", f"/{bucket}"),
        ("GET", f"/{bucket}?list-type=2"),
        ("GET", f"/{bucket}?versions"),
        ("GET", f"/{bucket}?uploads"),
        ("HEAD", f"/{bucket}"),
        ("GET", "/"),
        ("PUT", f"/{unique_bucket()}"),
        ("PUT", f"/{bucket}/object?partNumber=1&uploadId={upload}"),
        ("POST", f"/{bucket}/object?uploadId={upload}"),
        ("GET", f"/{bucket}/object?uploadId={upload}"),
        ("DELETE", f"/{bucket}/object?uploadId={upload}"),
    ]
    refusal = invalid(f"{SSE} header is not supported for this operation.", "AES256")
    for method, target in requests:
        headers = {SSE: "AES256", "x-amz-object-attributes": "ETag"}
        reply = server.send(method, target, headers=headers)
        if method == "HEAD":
            assert (reply.status, reply.body) == (400, b"")
        else:
            refusal.check(reply)
    copied = {SSE: "AES256", "x-amz-copy-source": f"/{bucket}/object"}
    refusal.check(server.send("PUT", f"/{bucket}/object?partNumber=1&uploadId={upload}", headers=copied))
    assert server.send("GET", f"/{bucket}/object?uploadId={upload}").status == 200


# --- reads


@dataclass(frozen=True)
class Objects:
    """`sealed` is under FIRST, `managed` under the server's key."""

    bucket: str


@pytest.fixture(scope="module")
def objects(server: Server) -> Objects:
    bucket = unique_bucket()
    assert server.send("PUT", f"/{bucket}").status == 200
    assert server.send("PUT", f"/{bucket}/sealed", headers=C3, body=b"content").status == 200
    assert server.send("PUT", f"/{bucket}/managed", body=b"content").status == 200
    return Objects(bucket)


def get(server: Server, target: str, headers: Mapping[str, str], tls: bool = False) -> Reply:
    return server.send("GET", target, headers=headers, tls=tls)


def get_range(server: Server, target: str, headers: Mapping[str, str], tls: bool = False) -> Reply:
    return server.send("GET", target, headers={"range": "bytes=1-2", **headers}, tls=tls)


def attributes(server: Server, target: str, headers: Mapping[str, str], tls: bool = False) -> Reply:
    given = {"x-amz-object-attributes": "ETag,ObjectSize,Checksum", **headers}
    return server.send("GET", f"{target}?attributes", headers=given, tls=tls)


def copy_of(server: Server, target: str, headers: Mapping[str, str], tls: bool = False) -> Reply:
    bucket = target.split("/")[1]
    given = {"x-amz-copy-source": target, **source(headers)}
    return server.send("PUT", f"/{bucket}/copy", headers=given, tls=tls)


def part_of(server: Server, target: str, headers: Mapping[str, str], tls: bool = False) -> Reply:
    bucket = target.split("/")[1]
    upload = server.send("POST", f"/{bucket}/copy?uploads").element("UploadId")
    given = {"x-amz-copy-source": target, **source(headers)}
    return server.send("PUT", f"/{bucket}/copy?partNumber=1&uploadId={upload}", headers=given, tls=tls)


READS = [get, get_range, attributes, copy_of, part_of]
ON_READ: dict[str, tuple[dict[str, str], Refusal]] = {
    **ON_KEYS,
    "no-headers": ({}, Refusal(400, "InvalidRequest", KEY_NEEDED)),
    "wrong-key": (OTHER, Refusal(403, "AccessDenied", WRONG_KEY)),
    **{f"{length}-bytes": (key_of(length), Refusal(403, "AccessDenied", WRONG_KEY)) for length in (1, 31, 33, 44)},
    "all-zero-key": (customer_key_headers(bytes(32)), Refusal(403, "AccessDenied", WRONG_KEY)),
}


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("read", READS)
def test_a_read_with_a_bad_customer_key_gets_the_exact_error(
    server: Server, objects: Objects, read: Callable[..., Reply], tls: bool
) -> None:
    for name, (headers, refusal) in ON_READ.items():
        try:
            refusal.check(read(server, f"/{objects.bucket}/sealed", headers, tls))
        except AssertionError as error:
            raise AssertionError(name) from error
    assert server.send("HEAD", f"/{objects.bucket}/copy").status == 404


@pytest.mark.parametrize(("headers", "refusal"), ON_READ.values(), ids=ON_READ.keys())
def test_a_head_tells_the_same_status_and_has_no_body(
    server: Server, objects: Objects, headers: dict[str, str], refusal: Refusal
) -> None:
    reply = server.send("HEAD", f"/{objects.bucket}/sealed", headers=headers)
    assert (reply.status, reply.body) == (refusal.status, b"")


@pytest.mark.parametrize("read", READS)
def test_a_customer_key_for_an_object_of_the_servers_key(
    server: Server, objects: Objects, read: Callable[..., Reply]
) -> None:
    Refusal(400, "InvalidRequest", NOT_APPLICABLE).check(read(server, f"/{objects.bucket}/managed", C3))
    assert server.send("HEAD", f"/{objects.bucket}/managed", headers=C3).status == 400


@pytest.mark.parametrize("read", READS)
def test_a_missing_object_is_told_after_the_form_of_the_key_and_before_its_fit(
    server: Server, objects: Objects, read: Callable[..., Reply]
) -> None:
    missing = f"/{objects.bucket}/missing"
    for headers in ({}, C3, OTHER, key_of(33)):
        reply = read(server, missing, headers)
        assert (reply.status, reply.code) == (404, "NoSuchKey")
    invalid(BAD_MD5).check(read(server, missing, {**C3, KEY_MD5: WRONG_MD5}))


def test_the_key_of_another_version_is_a_wrong_key(server: Server, bucket: str) -> None:
    versioning = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    assert server.send("PUT", f"/{bucket}?versioning", body=versioning).status == 200
    older = server.send("PUT", f"/{bucket}/object", headers=C3, body=b"older").headers["x-amz-version-id"]
    newer = server.send("PUT", f"/{bucket}/object", headers=OTHER, body=b"newer").headers["x-amz-version-id"]
    wrong = Refusal(403, "AccessDenied", WRONG_KEY)
    wrong.check(server.send("GET", f"/{bucket}/object", headers=C3))
    wrong.check(server.send("GET", f"/{bucket}/object?versionId={newer}", headers=C3))
    wrong.check(server.send("GET", f"/{bucket}/object?versionId={older}", headers=OTHER))
    assert server.send("GET", f"/{bucket}/object?versionId={older}", headers=C3).body == b"older"
    assert server.send("GET", f"/{bucket}/object", headers=OTHER).body == b"newer"


def test_a_conditional_read_tells_nothing_to_who_has_no_key(server: Server, objects: Objects) -> None:
    """B5: 304 and 412 never come before the refusal."""
    etag = server.send("HEAD", f"/{objects.bucket}/sealed", headers=C3).headers["etag"]
    for condition in ({"if-none-match": etag}, {"if-match": etag}, {"if-match": '"other"'}, {"if-none-match": "*"}):
        assert server.send("GET", f"/{objects.bucket}/sealed", headers=condition).status == 400
        assert server.send("GET", f"/{objects.bucket}/sealed", headers={**condition, **OTHER}).status == 403
        assert server.send("HEAD", f"/{objects.bucket}/sealed", headers={**condition, **OTHER}).status == 403


def test_reads_echo_algorithm_and_md5(server: Server, objects: Objects) -> None:
    for method in ("GET", "HEAD"):
        reply = server.send(method, f"/{objects.bucket}/sealed", headers=C3)
        assert (reply.status, reply.headers[ALGORITHM], reply.headers[KEY_MD5]) == (200, "AES256", C3[KEY_MD5])
        assert SSE not in reply.headers
    assert attributes(server, f"/{objects.bucket}/sealed", C3).status == 200


def test_what_never_needs_a_key(server: Server, bucket: str) -> None:
    put(server, bucket, C3)
    assert b"<Key>object</Key>" in server.send("GET", f"/{bucket}?list-type=2").body
    assert b"<Key>object</Key>" in server.send("GET", f"/{bucket}?versions").body
    assert server.send("GET", f"/{bucket}/object?tagging").status == 200
    assert server.send("DELETE", f"/{bucket}/object").status == 204


# --- copies


def test_a_copy_judges_both_sides_apart(server: Server, bucket: str) -> None:
    server.send("PUT", f"/{bucket}/source", headers=C3, body=b"content")
    from_source = {"x-amz-copy-source": f"/{bucket}/source"}
    cases: list[tuple[dict[str, str], Refusal]] = [
        ({**OTHER}, Refusal(400, "InvalidRequest", KEY_NEEDED)),  # the target's key opens no source
        ({**C3}, Refusal(400, "InvalidRequest", KEY_NEEDED)),
        ({**source(OTHER), **OTHER}, Refusal(403, "AccessDenied", WRONG_KEY)),
        ({**source(C3), **without(OTHER, KEY)}, invalid(NO_KEY)),
        ({**source(C3), **OTHER, SSE: "AES256"}, invalid(CLASH, "AES256")),
        ({**source(C3), **key_of(33)}, invalid(BAD_KEY)),
        ({**source(key_of(33)), **OTHER}, Refusal(403, "AccessDenied", WRONG_KEY)),
    ]
    for headers, refusal in cases:
        refusal.check(server.send("PUT", f"/{bucket}/target", headers={**from_source, **headers}))
    assert server.send("HEAD", f"/{bucket}/target", headers=OTHER).status == 404
    copied = server.send("PUT", f"/{bucket}/target", headers={**from_source, **source(C3), **OTHER})
    assert (copied.status, copied.headers[KEY_MD5]) == (200, OTHER[KEY_MD5])
    assert server.send("GET", f"/{bucket}/target", headers=OTHER).body == b"content"
    assert server.send("GET", f"/{bucket}/target", headers=C3).status == 403


def test_a_change_of_keys_with_the_new_key_on_both_sides(server: Server, bucket: str) -> None:
    """minio#5625 shows Amazon's answer to whoever changes a key twice."""
    server.send("PUT", f"/{bucket}/object", headers=C3, body=b"content")
    itself = {"x-amz-copy-source": f"/{bucket}/object"}
    reply = server.send("PUT", f"/{bucket}/object", headers={**itself, **source(OTHER), **OTHER})
    Refusal(400, "InvalidRequest", OTHER_PART_KEY).check(reply)
    reply = server.send("PUT", f"/{bucket}/object", headers={**itself, **source(OTHER), **key_of(32)})
    Refusal(403, "AccessDenied", WRONG_KEY).check(reply)
    assert server.send("PUT", f"/{bucket}/object", headers={**itself, **source(C3), **OTHER}).status == 200
    assert server.send("GET", f"/{bucket}/object", headers=C3).status == 403
    assert server.send("GET", f"/{bucket}/object", headers=OTHER).body == b"content"


# --- multipart uploads


def test_parts_bring_the_key_of_their_upload(server: Server, bucket: str) -> None:
    expected, other = Refusal(400, "InvalidRequest", PART_KEY_EXPECTED), Refusal(400, "InvalidRequest", OTHER_PART_KEY)
    server.send("PUT", f"/{bucket}/managed", body=b"content")
    with_key = f"/{bucket}/object?partNumber=1&uploadId={create(server, bucket, C3).element('UploadId')}"
    without_key = f"/{bucket}/object?partNumber=1&uploadId={create(server, bucket, {}).element('UploadId')}"
    for extra in ({}, {"x-amz-copy-source": f"/{bucket}/managed"}):
        body = b"" if extra else b"content"
        expected.check(server.send("PUT", with_key, headers=extra, body=body))
        expected.check(server.send("PUT", without_key, headers={**extra, **C3}, body=body))
        other.check(server.send("PUT", with_key, headers={**extra, **OTHER}, body=body))
        for headers, refusal in [*ON_KEYS.values(), *ON_LENGTH.values()]:
            refusal.check(server.send("PUT", with_key, headers={**extra, **headers}, body=body))
    for target in (with_key, without_key):
        listed = server.send("GET", target.replace("partNumber=1&", ""))
        assert (listed.status, b"<Part>" in listed.body) == (200, False)


def test_list_parts_needs_the_key_only_where_it_shows_checksums(server: Server, bucket: str) -> None:
    plain = f"/{bucket}/object?uploadId={create(server, bucket, C3).element('UploadId')}"
    declared = create(server, bucket, {**C3, "x-amz-checksum-algorithm": "SHA256"})
    summed = f"/{bucket}/object?uploadId={declared.element('UploadId')}"
    digest = base64.b64encode(hashlib.sha256(b"content").digest()).decode()
    sent = {**C3, "x-amz-checksum-sha256": digest}
    for target in (plain, summed):
        assert server.send("PUT", f"{target}&partNumber=1", headers=sent, body=b"content").status == 200
    listed = server.send("GET", plain)
    assert (listed.status, listed.element("Size"), b"<ChecksumSHA256>" in listed.body) == (200, "7", False)
    Refusal(400, "InvalidRequest", PART_KEY_EXPECTED).check(server.send("GET", summed))
    Refusal(400, "InvalidRequest", OTHER_PART_KEY).check(server.send("GET", summed, headers=OTHER))
    assert server.send("GET", summed, headers=C3).element("ChecksumSHA256") == digest


def complete(server: Server, target: str, etag: str, headers: Mapping[str, str], checksum: str = "") -> Reply:
    document = (
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
        f"<ETag>{etag}</ETag>{checksum}</Part></CompleteMultipartUpload>"
    )
    return server.send("POST", target, headers=headers, body=document.encode())


def test_complete_without_the_key(server: Server, bucket: str) -> None:
    upload = create(server, bucket, C3).element("UploadId")
    target = f"/{bucket}/object?uploadId={upload}"
    etag = server.send("PUT", f"{target}&partNumber=1", headers=C3, body=b"content").headers["etag"]
    Refusal(400, "InvalidRequest", OTHER_PART_KEY).check(complete(server, target, etag, OTHER))
    for headers, refusal in ON_KEYS.values():
        refusal.check(complete(server, target, etag, headers))
    assert complete(server, target, etag, {}).status == 200
    assert server.send("GET", f"/{bucket}/object", headers=C3).body == b"content"
    Refusal(400, "InvalidRequest", KEY_NEEDED).check(server.send("GET", f"/{bucket}/object"))


def test_complete_of_an_upload_with_checksums_needs_the_key(server: Server, bucket: str) -> None:
    upload = create(server, bucket, {**C3, "x-amz-checksum-algorithm": "SHA256"}).element("UploadId")
    target = f"/{bucket}/object?uploadId={upload}"
    digest = base64.b64encode(hashlib.sha256(b"content").digest()).decode()
    sent = {**C3, "x-amz-checksum-sha256": digest}
    etag = server.send("PUT", f"{target}&partNumber=1", headers=sent, body=b"content").headers["etag"]
    checksum = f"<ChecksumSHA256>{digest}</ChecksumSHA256>"
    reply = complete(server, target, etag, {}, checksum)
    assert (reply.status, reply.code) == (400, "InvalidRequest")
    assert complete(server, target, etag, C3, checksum).status == 200


def test_a_key_where_the_upload_has_none(server: Server, bucket: str) -> None:
    upload = create(server, bucket, {}).element("UploadId")
    target = f"/{bucket}/object?uploadId={upload}"
    etag = server.send("PUT", f"{target}&partNumber=1", body=b"content").headers["etag"]
    Refusal(400, "InvalidRequest", PART_KEY_EXPECTED).check(complete(server, target, etag, C3))
    assert complete(server, target, etag, {}).status == 200


# --- buckets that block SSE-C


def block(server: Server, bucket: str, kind: str) -> None:
    document = (
        "<ServerSideEncryptionConfiguration><Rule><BlockedEncryptionTypes>"
        f"<EncryptionType>{kind}</EncryptionType></BlockedEncryptionTypes></Rule></ServerSideEncryptionConfiguration>"
    )
    assert server.send("PUT", f"/{bucket}?encryption", body=document.encode()).status == 200


def check_blocked(reply: Reply, bucket: str, key: str = "object") -> None:
    user = "arn:aws:iam::000000000000:root"
    resource = f"arn:aws:s3:::{bucket}/{key}"
    message = f'User: {user} is not authorized to perform: s3:PutObject on resource: "{resource}" {BLOCKED}'
    assert (reply.status, reply.code) == (403, "AccessDenied")
    assert reply.element("Message").replace("&quot;", '"') == message


@pytest.mark.parametrize("operation", [put, create, copy, post])
def test_a_blocking_bucket_refuses_before_any_look_at_the_key(
    server: Server, bucket: str, operation: Operation
) -> None:
    block(server, bucket, "SSE-C")
    for headers in (C3, without(C3, KEY), {**C3, SSE: "AES256"}, {KEY_MD5: "!"}, {**C3, ALGORITHM: "x"}):
        check_blocked(operation(server, bucket, headers, False), bucket)
    assert not exists(server, bucket)
    assert operation(server, bucket, {}, False).status in (200, 204)
    block(server, bucket, "NONE")
    assert operation(server, bucket, C3, False).status in (200, 204)


def test_an_upload_begun_before_the_block_takes_no_more_parts_and_can_be_aborted(server: Server, bucket: str) -> None:
    server.send("PUT", f"/{bucket}/plain", body=b"content")
    upload = create(server, bucket, C3).element("UploadId")
    target = f"/{bucket}/object?uploadId={upload}"
    assert server.send("PUT", f"{target}&partNumber=1", headers=C3, body=b"content").status == 200
    block(server, bucket, "SSE-C")
    check_blocked(server.send("PUT", f"{target}&partNumber=2", headers=C3, body=b"content"), bucket)
    copied = {**C3, "x-amz-copy-source": f"/{bucket}/plain"}
    check_blocked(server.send("PUT", f"{target}&partNumber=2", headers=copied), bucket)
    assert server.send("GET", target).status == 200
    assert server.send("DELETE", target).status == 204


def test_reads_and_copy_sources_of_a_blocking_bucket_go_on(server: Server, bucket: str) -> None:
    put(server, bucket, C3)
    block(server, bucket, "SSE-C")
    assert server.send("GET", f"/{bucket}/object", headers=C3).body == b"content"
    away = {"x-amz-copy-source": f"/{bucket}/object", **source(C3)}
    assert server.send("PUT", f"/{bucket}/copy", headers=away).status == 200
    assert server.send("GET", f"/{bucket}/copy").body == b"content"
    assert server.send("DELETE", f"/{bucket}/object").status == 204


def test_one_setting_makes_new_buckets_block(careful: Server) -> None:
    bucket = unique_bucket()
    careful.send("PUT", f"/{bucket}")
    assert careful.send("GET", f"/{bucket}?encryption").element("EncryptionType") == "SSE-C"
    check_blocked(put(careful, bucket, C3), bucket)
    block(careful, bucket, "NONE")
    assert put(careful, bucket, C3).status == 200


# --- secure connections

INSECURE = (
    "Requests specifying Server Side Encryption with Customer provided keys must be made over a secure connection."
)


@pytest.mark.parametrize(
    "told",
    [
        {"x-forwarded-for": "192.0.2.1"},
        {"x-forwarded-proto": "https"},
        {"forwarded": "for=192.0.2.1;proto=https"},
        {"via": "1.1 proxy"},
    ],
    ids=lambda told: next(iter(told)),
)
def test_a_loopback_proxy_that_nobody_named_is_not_believed(server: Server, bucket: str, told: dict[str, str]) -> None:
    put(server, bucket, C3)
    for operation in (put, create, copy):
        invalid(INSECURE).check(operation(server, bucket, {**C3, **told}, False))
    for read in READS:
        invalid(INSECURE).check(read(server, f"/{bucket}/object", {**C3, **_as_source(told, read)}))
    fields = {"key": "object", **C3}
    conditions = [{"bucket": bucket}, *({name: value} for name, value in fields.items())]
    upload: Form = form({**fields, **policy_fields(server, conditions)}, b"content")
    invalid(INSECURE).check(upload.post(server, f"/{bucket}", headers=told))
    # What needs no secrecy of a key goes on, and our own TLS needs nobody's word.
    assert server.send("PUT", f"/{bucket}/plain", headers=told, body=b"content").status == 200
    assert server.send("GET", f"/{bucket}/object", headers={**C3, **told}, tls=True).body == b"content"


def _as_source(told: dict[str, str], read: Callable[..., Reply]) -> dict[str, str]:
    del read  # the copying reads rename x-amz-* headers only
    return told


@pytest.mark.parametrize(
    "told",
    [
        {"x-forwarded-proto": "https"},
        {"x-forwarded-proto": "http, https", "x-forwarded-for": "192.0.2.1, 192.0.2.2"},
        {"forwarded": "for=192.0.2.1;proto=http, for=192.0.2.2;proto=https"},
    ],
    ids=["x-forwarded-proto", "last-proto", "last-element"],
)
def test_a_trusted_proxy_may_report_https(careful: Server, told: dict[str, str]) -> None:
    bucket = unique_bucket()
    careful.send("PUT", f"/{bucket}")
    block(careful, bucket, "NONE")
    assert put(careful, bucket, {**C3, **told}).status == 200
    assert careful.send("GET", f"/{bucket}/object", headers={**C3, **told}).body == b"content"


@pytest.mark.parametrize(
    "told",
    [
        {"x-forwarded-for": "192.0.2.1"},
        {"x-forwarded-proto": "http"},
        {"x-forwarded-proto": "https, http"},
        {"x-forwarded-proto": "https", "forwarded": "for=192.0.2.1;proto=http"},
        {"forwarded": 'for="x;proto=https'},
        {"forwarded": "for=192.0.2.1;proto=https, for=192.0.2.2"},
        {"forwarded": "proto=https;proto=http"},
        {"forwarded": 'for="a, for=b;proto=https", for=192.0.2.2;proto=http'},
    ],
)
def test_what_a_client_wrote_before_its_proxy_does_not_count(careful: Server, told: dict[str, str]) -> None:
    bucket = unique_bucket()
    careful.send("PUT", f"/{bucket}")
    block(careful, bucket, "NONE")
    invalid(INSECURE).check(put(careful, bucket, {**C3, **told}))


def test_the_log_names_the_setting_when_a_connection_is_not_secure(server: Server, bucket: str) -> None:
    reply = put(server, bucket, {**C3, "x-forwarded-for": "192.0.2.1"})
    invalid(INSECURE).check(reply)
    line = logged(server, reply)
    assert "setting=trusted_proxies" in line


def logged(server: Server, reply: Reply) -> str:
    """The line of the log about a request; it is written a moment after the answer."""
    wanted = reply.headers["x-amz-request-id"]
    for _ in range(500):
        for line in server.log.read_text().splitlines():
            if wanted in line:
                return line
        server.send("GET", "/-/live", sign=False)
    raise AssertionError(f"request {wanted} is not in the log")
