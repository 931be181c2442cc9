"""SSE-KMS, bucket keys, DSSE-KMS and UpdateObjectEncryption over HTTP: what clients see, header by header."""

import base64
import hashlib
import json
from typing import Any

import pytest

from tests.conformance.answers import refused
from tests.harness import Reply, Server, new_key, unique_bucket

SSE = "x-amz-server-side-encryption"
MIB = 1 << 20


@pytest.fixture(scope="module")
def kms(server: Server) -> Any:
    return server.kms()


@pytest.fixture(scope="module")
def key(kms: Any) -> str:
    return new_key(kms)


@pytest.fixture
def alias(kms: Any, key: str) -> str:
    name = f"alias/{unique_bucket()}"
    kms.create_alias(AliasName=name, TargetKeyId=key)
    return name


def told(answer: dict[str, Any]) -> dict[str, Any]:
    names = (
        "ServerSideEncryption",
        "SSEKMSKeyId",
        "BucketKeyEnabled",
        "SSEKMSEncryptionContext",
        "SSECustomerAlgorithm",
    )
    return {name: answer[name] for name in names if name in answer}


def header(reply: Reply, name: str) -> str | None:
    return reply.headers.get(f"{SSE}{name}")


def test_put_object__kms_key_is_told_as_arn_and_nothing_of_the_context(
    s3: Any, bucket: str, key: str, alias: str
) -> None:
    context = base64.b64encode(json.dumps({"team": "storage"}).encode()).decode()
    kms = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": alias, "SSEKMSEncryptionContext": context}
    expected = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}
    assert told(s3.put_object(Bucket=bucket, Key="k", Body=b"hello", **kms)) == expected
    got = s3.get_object(Bucket=bucket, Key="k")
    assert (told(got), got["Body"].read()) == (expected, b"hello")
    assert told(s3.head_object(Bucket=bucket, Key="k")) == expected
    assert told(s3.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/k", **kms)) == expected
    assert told(s3.create_multipart_upload(Bucket=bucket, Key="u", **kms)) == expected


def test_put_object__bucket_key_header_only_where_it_is_true(server: Server, bucket: str, key: str) -> None:
    for asked, answered in (("true", "true"), ("false", None), (None, None)):
        given = {SSE: "aws:kms", f"{SSE}-aws-kms-key-id": key}
        given |= {f"{SSE}-bucket-key-enabled": asked} if asked else {}
        for reply in (
            server.send("PUT", f"/{bucket}/k", headers=given, body=b"hello"),
            server.send("GET", f"/{bucket}/k"),
            server.send("HEAD", f"/{bucket}/k"),
        ):
            assert reply.status == 200
            assert header(reply, "-bucket-key-enabled") == answered
            assert header(reply, "-context") is None


@pytest.mark.parametrize("method", ["aws:kms", "aws:kms:dsse"])
def test_put_object__etag_is_opaque_and_new_each_time(s3: Any, bucket: str, key: str, method: str) -> None:
    kms = {"ServerSideEncryption": method, "SSEKMSKeyId": key}
    etags = {s3.put_object(Bucket=bucket, Key="k", Body=b"hello", **kms)["ETag"] for _ in range(3)}
    assert len(etags) == 3
    assert f'"{hashlib.md5(b"hello").hexdigest()}"' not in etags
    assert s3.list_objects_v2(Bucket=bucket)["Contents"][0]["ETag"] in etags


def test_put_object__content_md5_is_held_against_the_plaintext(server: Server, bucket: str, key: str) -> None:
    for content, status in ((b"hello", 200), (b"other", 400)):
        digest = base64.b64encode(hashlib.md5(content).digest()).decode()
        given = {SSE: "aws:kms", f"{SSE}-aws-kms-key-id": key, "content-md5": digest}
        assert server.send("PUT", f"/{bucket}/k", headers=given, body=b"hello").status == status


@pytest.mark.parametrize("method", ["aws:kms", "aws:kms:dsse"])
def test_multipart__etag_is_of_the_parts_and_the_checksum_comes_later(
    s3: Any, bucket: str, key: str, method: str
) -> None:
    kms = {"ServerSideEncryption": method, "SSEKMSKeyId": key}
    upload = {"Bucket": bucket, "Key": "k"}
    upload["UploadId"] = s3.create_multipart_upload(**upload, **kms)["UploadId"]
    parts = []
    for number, body in ((1, b"a" * 5 * MIB), (2, b"b")):
        answer = s3.upload_part(**upload, PartNumber=number, Body=body)
        assert told(answer) == kms
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    done = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    assert told(done) == kms
    assert not [name for name in done if name.startswith("Checksum")]
    raw = b"".join(bytes.fromhex(part["ETag"].strip('"')) for part in parts)
    assert done["ETag"] == f'"{hashlib.md5(raw).hexdigest()}-2"'
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (head["ChecksumType"], bool(head["ChecksumCRC64NVME"])) == ("FULL_OBJECT", True)


@pytest.mark.parametrize(
    ("headers", "code", "argument"),
    [
        ({f"{SSE}-aws-kms-key-id": "k"}, "InvalidArgument", SSE),
        ({f"{SSE}-context": "e30="}, "InvalidArgument", SSE),
        ({SSE: "AES256", f"{SSE}-aws-kms-key-id": "k"}, "InvalidArgument", SSE),
        ({SSE: "aws:kms", f"{SSE}-context": "no map"}, "InvalidArgument", f"{SSE}-context"),
        (
            {SSE: "aws:kms", f"{SSE}-context": base64.b64encode(b'{"aws:s3:arn": "x"}').decode()},
            "InvalidArgument",
            f"{SSE}-context",
        ),
        ({SSE: "aws:kms", f"{SSE}-bucket-key-enabled": "yes"}, "InvalidArgument", f"{SSE}-bucket-key-enabled"),
        ({SSE: "aws:kms:dsse", f"{SSE}-bucket-key-enabled": "true"}, "InvalidArgument", f"{SSE}-bucket-key-enabled"),
    ],
)
@pytest.mark.parametrize("default", [None, "aws:kms"])
def test_put_object__bad_values_are_400_and_write_nothing(
    server: Server, s3: Any, bucket: str, headers: dict[str, str], code: str, argument: str, default: str | None
) -> None:
    if default:
        rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": default}}
        s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    reply = server.send("PUT", f"/{bucket}/k", headers=headers, body=b"hello")
    assert (reply.status, reply.code, reply.element("ArgumentName")) == (400, code, argument)
    assert server.send("HEAD", f"/{bucket}/k").status == 404


@pytest.mark.parametrize("name", ["", "-aws-kms-key-id", "-context", "-bucket-key-enabled"])
def test_operations_without_these_headers_refuse_them(server: Server, bucket: str, name: str) -> None:
    assert server.send("PUT", f"/{bucket}/k", body=b"hello").status == 200
    upload_id = server.send("POST", f"/{bucket}/u?uploads").element("UploadId")
    for method, target in (
        ("GET", f"/{bucket}/k"),
        ("PUT", f"/{bucket}/u?partNumber=1&uploadId={upload_id}"),
        ("POST", f"/{bucket}/u?uploadId={upload_id}"),
        ("GET", f"/{bucket}?list-type=2"),
    ):
        value = "true" if name == "-bucket-key-enabled" else "aws:kms"
        reply = server.send(method, target, headers={f"{SSE}{name}": value})
        assert (reply.status, reply.code) == (400, "InvalidArgument")
        assert reply.element("Message") == f"{SSE}{name} header is not supported for this operation."
    assert server.send("HEAD", f"/{bucket}/k", headers={f"{SSE}{name}": "aws:kms"}).status == 400


def test_get_object__disabled_key_is_400_with_kms_code_and_head_still_answers(s3: Any, bucket: str, kms: Any) -> None:
    arn = new_key(kms)
    s3.put_object(Bucket=bucket, Key="k", Body=b"hello", ServerSideEncryption="aws:kms", SSEKMSKeyId=arn)
    kms.disable_key(KeyId=arn)
    answer = refused(s3.get_object, Bucket=bucket, Key="k")
    assert (*answer.what, answer.message) == (400, "KMS.DisabledException", f"{arn} is disabled.")
    assert s3.head_object(Bucket=bucket, Key="k")["ContentLength"] == 5
    assert refused(s3.head_object, Bucket=bucket, Key="k", ChecksumMode="ENABLED").status == 400
    kms.enable_key(KeyId=arn)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"hello"


# --- UpdateObjectEncryption


def update(server: Server, target: str, document: str, **headers: str) -> Reply:
    body = document.encode()
    digest = {"content-md5": base64.b64encode(hashlib.md5(body).digest()).decode()}
    return server.send("PUT", f"{target}?encryption", headers=digest | headers, body=body)


def test_update_object_encryption__keeps_everything_but_the_key(s3: Any, bucket: str, key: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"hello", Metadata={"a": "b"})
    before = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    target = {"SSEKMS": {"KMSKeyArn": key, "BucketKeyEnabled": True}}
    answer = s3.update_object_encryption(Bucket=bucket, Key="k", ObjectEncryption=target)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    after = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert told(after) == {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key, "BucketKeyEnabled": True}
    for member in ("ETag", "LastModified", "ChecksumCRC32", "ContentLength", "Metadata"):
        assert after.get(member) == before.get(member)
    assert after["ETag"] == f'"{hashlib.md5(b"hello").hexdigest()}"'
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"hello"


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        ("", "Requests that modify an object encryption configuration require a valid new encryption type."),
        ("<SSE-S3/>", "Requests that modify an object encryption configuration require a valid new encryption type."),
        ("<Other/>", "Requests that modify an object encryption configuration require a valid new encryption type."),
        (
            "<SSE-C/>",
            "The UpdateObjectEncryption operation doesn't support updating the encryption type to DSSE-KMS or",
        ),
        (
            "<SSE-KMS/>",
            "Requests that modify an object's encryption type to SSE-KMS require an Amazon Web Services KMS",
        ),
        (
            "<SSE-KMS><KMSKeyArn>alias/app</KMSKeyArn></SSE-KMS>",
            "Requests that modify an object's encryption type to SSE-KMS require a valid Amazon Web Services KMS key",
        ),
        (
            "<SSE-KMS><KMSKeyArn>{key}</KMSKeyArn><BucketKeyEnabled>maybe</BucketKeyEnabled></SSE-KMS>",
            "The BucketKeyEnabled value isn't valid.",
        ),
    ],
)
def test_update_object_encryption__bad_documents_are_invalid_requests(
    server: Server, bucket: str, key: str, inner: str, message: str
) -> None:
    server.send("PUT", f"/{bucket}/k", body=b"hello")
    document = f"<ObjectEncryption>{inner.format(key=key)}</ObjectEncryption>"
    reply = update(server, f"/{bucket}/k", document)
    assert (reply.status, reply.code) == (400, "InvalidRequest"), reply
    assert reply.element("Message").replace("&apos;", "'").startswith(message)


def test_update_object_encryption__needs_a_digest_an_object_and_a_bucket(server: Server, bucket: str, key: str) -> None:
    document = f"<ObjectEncryption><SSE-KMS><KMSKeyArn>{key}</KMSKeyArn></SSE-KMS></ObjectEncryption>"
    assert update(server, f"/{bucket}/none", document).code == "NoSuchKey"
    assert update(server, f"/{unique_bucket()}/k", document).code == "NoSuchBucket"
    server.send("PUT", f"/{bucket}/k", body=b"hello")
    bare = server.send("PUT", f"/{bucket}/k?encryption", body=document.encode())
    assert (bare.status, bare.code) == (400, "InvalidRequest")
    wrong = update(server, f"/{bucket}/k", document, **{"content-md5": base64.b64encode(bytes(16)).decode()})
    assert (wrong.status, wrong.code) == (400, "BadDigest")
    assert update(server, f"/{bucket}/k", document).status == 200
    assert server.send("HEAD", f"/{bucket}/k").headers[SSE] == "aws:kms"
