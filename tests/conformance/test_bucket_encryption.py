"""PutBucketEncryption, GetBucketEncryption, DeleteBucketEncryption, and the bucket's say in what is written."""

import secrets
from typing import Any

import pytest

from tests.conformance.answers import refused, status
from tests.harness import Server, customer_key, unique_bucket

AES256 = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
NEVER_CONFIGURED = {**AES256, "BucketKeyEnabled": False}


def put(s3: Any, bucket: str, *rules: dict[str, Any]) -> Any:
    return s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": list(rules)})


def refused_rules(s3: Any, bucket: str, *rules: dict[str, Any]) -> Any:
    return refused(s3.put_bucket_encryption, Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": list(rules)})


def rule(s3: Any, bucket: str) -> Any:
    (found,) = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    return found


@pytest.fixture
def lenient(server: Server) -> Any:
    """A client that sends whatever it is given."""
    return server.s3(parameter_validation=False)


def test_get_bucket_encryption__never_configured_is_aes256(s3: Any, bucket: str) -> None:
    assert rule(s3, bucket) == NEVER_CONFIGURED


def test_put_bucket_encryption__is_200_and_read_back(s3: Any, bucket: str) -> None:
    assert status(put(s3, bucket, AES256)) == 200
    assert rule(s3, bucket) == NEVER_CONFIGURED


def test_put_bucket_encryption__bucket_key_with_aes256_is_accepted_and_never_shown_on_objects(
    s3: Any, bucket: str
) -> None:
    put(s3, bucket, {**AES256, "BucketKeyEnabled": True})
    assert rule(s3, bucket) == {**AES256, "BucketKeyEnabled": True}
    written = s3.put_object(Bucket=bucket, Key="k")
    assert written["ServerSideEncryption"] == "AES256"
    assert "BucketKeyEnabled" not in written


def test_delete_bucket_encryption__is_204_idempotent_and_back_to_aes256(s3: Any, bucket: str) -> None:
    put(s3, bucket, {**AES256, "BucketKeyEnabled": True})
    for _ in range(2):
        assert status(s3.delete_bucket_encryption(Bucket=bucket)) == 204
    assert rule(s3, bucket) == NEVER_CONFIGURED


# --- errors


@pytest.mark.parametrize("rules", [[], [AES256, AES256]])
def test_put_bucket_encryption__not_exactly_one_rule_is_400(s3: Any, bucket: str, rules: list[Any]) -> None:
    assert refused_rules(s3, bucket, *rules).what == (400, "MalformedXML")


KMS = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}
MISSPELT = (
    "<ApplyServerSideEncryptionByDefaults><SSEAlgorithm>aws:kms</SSEAlgorithm></ApplyServerSideEncryptionByDefaults>"
)


@pytest.mark.parametrize("inner", ["", "<BucketKeyEnabled>true</BucketKeyEnabled>", MISSPELT])
def test_put_bucket_encryption__a_rule_that_rules_nothing_is_400_and_changes_nothing(
    server: Server, s3: Any, bucket: str, inner: str
) -> None:
    """Read as AES256 it would take a bucket out of its KMS key unseen."""
    put(s3, bucket, KMS)
    document = f"<ServerSideEncryptionConfiguration><Rule>{inner}</Rule></ServerSideEncryptionConfiguration>"
    reply = server.send("PUT", f"/{bucket}?encryption", body=document.encode())
    assert (reply.status, reply.code) == (400, "MalformedXML")
    assert rule(s3, bucket) == {**KMS, "BucketKeyEnabled": False}


@pytest.mark.parametrize("algorithm", ["SSE-KMS", "aes256", "", "AWS:KMS"])
def test_put_bucket_encryption__unknown_algorithm_is_400(lenient: Any, bucket: str, algorithm: str) -> None:
    answer = refused_rules(lenient, bucket, {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": algorithm}})
    assert answer.what == (400, "MalformedXML")


def test_put_bucket_encryption__key_id_with_aes256_is_400(s3: Any, bucket: str) -> None:
    default = {"SSEAlgorithm": "AES256", "KMSMasterKeyID": "1234abcd-12ab-34cd-56ef-1234567890ab"}
    answer = refused_rules(s3, bucket, {"ApplyServerSideEncryptionByDefault": default})
    assert answer.what == (400, "InvalidArgument")
    assert answer.message == (
        "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse"
    )
    assert answer.detail["ArgumentName"] == "ApplyServerSideEncryptionByDefault"


@pytest.mark.parametrize("key", [None, "alias/none", "1234abcd-12ab-34cd-56ef-1234567890ab"])
@pytest.mark.parametrize("bucket_key", [True, False])
@pytest.mark.parametrize("algorithm", ["aws:kms", "aws:kms:dsse"])
def test_put_bucket_encryption__kms_is_told_as_put_and_its_key_is_not_looked_for(
    s3: Any, bucket: str, algorithm: str, bucket_key: bool, key: str | None
) -> None:
    default = {"SSEAlgorithm": algorithm} | ({"KMSMasterKeyID": key} if key else {})
    given = {"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": bucket_key}
    put(s3, bucket, given)
    assert rule(s3, bucket) == given


def test_put_bucket_encryption__missing_bucket_comes_before_a_bad_rule(s3: Any) -> None:
    assert refused_rules(s3, unique_bucket(), AES256, AES256).what == (404, "NoSuchBucket")


@pytest.mark.parametrize("document", [b"", b"<a", b"<ServerSideEncryptionConfiguration/>", b"<Other/>"])
def test_put_bucket_encryption__malformed_document_is_400(
    server: Server, s3: Any, bucket: str, document: bytes
) -> None:
    reply = server.send("PUT", f"/{bucket}?encryption", body=document)
    assert (reply.status, reply.code in ("MalformedXML", "MissingRequestBodyError")) == (400, True)
    assert rule(s3, bucket) == NEVER_CONFIGURED


# --- BlockedEncryptionTypes


def blocking(*types: str) -> dict[str, Any]:
    return {"BlockedEncryptionTypes": {"EncryptionType": list(types)}}


def test_blocked_encryption_types__alone_is_a_rule_and_keeps_the_default(s3: Any, bucket: str) -> None:
    put(s3, bucket, blocking("SSE-C"))
    assert rule(s3, bucket) == {**NEVER_CONFIGURED, **blocking("SSE-C")}


def test_blocked_encryption_types__is_kept_by_a_rule_that_does_not_name_it(s3: Any, bucket: str) -> None:
    put(s3, bucket, blocking("SSE-C"))
    put(s3, bucket, AES256)
    assert rule(s3, bucket) == {**NEVER_CONFIGURED, **blocking("SSE-C")}


def test_blocked_encryption_types__none_takes_the_block_away(s3: Any, s3_tls: Any, bucket: str) -> None:
    put(s3, bucket, blocking("SSE-C"))
    put(s3, bucket, {**AES256, **blocking("NONE")})
    assert rule(s3, bucket) == {**NEVER_CONFIGURED, **blocking("NONE")}
    s3_tls.put_object(Bucket=bucket, Key="k", **customer_key(secrets.token_bytes(32)))


def test_blocked_encryption_types__delete_encryption_takes_it_back_to_a_new_bucket_s(s3: Any, bucket: str) -> None:
    put(s3, bucket, blocking("SSE-C"))
    s3.delete_bucket_encryption(Bucket=bucket)
    assert rule(s3, bucket) == NEVER_CONFIGURED


@pytest.mark.parametrize("types", [["SSE-C", "NONE"], ["SSE-S3"], [""]])
def test_blocked_encryption_types__bad_list_is_400(lenient: Any, bucket: str, types: list[str]) -> None:
    assert refused_rules(lenient, bucket, {**AES256, **blocking(*types)}).what == (400, "MalformedXML")


WRITES = [
    ("put_object", {}),
    ("create_multipart_upload", {}),
    ("copy_object", {"CopySource": "BUCKET/source"}),
]


@pytest.mark.parametrize(("operation", "more"), WRITES, ids=[name for name, _ in WRITES])
def test_blocked_encryption_types__sse_c_write_is_403_and_others_go_on(
    s3_tls: Any, bucket: str, operation: str, more: dict[str, str]
) -> None:
    more = {name: value.replace("BUCKET", bucket) for name, value in more.items()}
    s3_tls.put_object(Bucket=bucket, Key="source", Body=b"x")
    put(s3_tls, bucket, blocking("SSE-C"))
    call = getattr(s3_tls, operation)
    answer = refused(call, Bucket=bucket, Key="k", **more, **customer_key(b"k" * 32))
    assert answer.what == (403, "AccessDenied")
    assert "has blocked upload requests that specify Server Side Encryption with Customer provided keys" in (
        answer.message
    )
    assert status(call(Bucket=bucket, Key="k", **more)) == 200


def test_blocked_encryption_types__what_was_stored_before_stays_readable(s3_tls: Any, bucket: str) -> None:
    key = customer_key(secrets.token_bytes(32))
    s3_tls.put_object(Bucket=bucket, Key="k", Body=b"before", **key)
    put(s3_tls, bucket, blocking("SSE-C"))
    assert s3_tls.get_object(Bucket=bucket, Key="k", **key)["Body"].read() == b"before"


# --- which encryption a write gets


def test_put_object__no_header_is_sse_s3(s3: Any, bucket: str) -> None:
    assert s3.put_object(Bucket=bucket, Key="k")["ServerSideEncryption"] == "AES256"
    assert s3.head_object(Bucket=bucket, Key="k")["ServerSideEncryption"] == "AES256"


def test_put_object__sse_c_wins_over_the_bucket_default(s3_tls: Any, bucket: str) -> None:
    put(s3_tls, bucket, AES256)
    answer = s3_tls.put_object(Bucket=bucket, Key="k", **customer_key(b"k" * 32))
    assert answer["SSECustomerAlgorithm"] == "AES256"
    assert "ServerSideEncryption" not in answer
