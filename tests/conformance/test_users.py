"""Users of S3: each may do what policies allow, and hears in AWS's words why not."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conformance.answers import PART, refused
from tests.harness import Server, customer_key, unique_bucket
from tests.people import ACCOUNT, allow, arn, deny, new_user
from tests.wire import form, policy_fields, presign

NO_ALLOW = 'User: arn:aws:iam::{account}:user/{name} is not authorized to perform: {action} on resource: "{resource}" because no identity-based policy allows the {action} action'
DENIED = 'User: arn:aws:iam::{account}:user/{name} is not authorized to perform: {action} on resource: "{resource}" with an explicit deny in an identity-based policy'


def message(form_of: str, name: str, action: str, resource: str) -> str:
    return form_of.format(account=ACCOUNT, name=name, action=action, resource=resource)


CALLS: dict[str, dict[str, Any]] = {
    "abort_multipart_upload": {"Key": "k", "UploadId": "u"},
    "complete_multipart_upload": {"Key": "k", "UploadId": "u", "MultipartUpload": {"Parts": []}},
    "copy_object": {"Key": "k", "CopySource": "{bucket}/object"},
    "create_bucket": {},
    "create_multipart_upload": {"Key": "k"},
    "delete_bucket": {},
    "delete_bucket_encryption": {},
    "delete_bucket_tagging": {},
    "delete_object": {"Key": "object"},
    "delete_object_tagging": {"Key": "object"},
    "get_bucket_encryption": {},
    "get_bucket_location": {},
    "get_bucket_tagging": {},
    "get_bucket_versioning": {},
    "get_object": {"Key": "object"},
    "get_object_attributes": {"Key": "object", "ObjectAttributes": ["ETag"]},
    "get_object_tagging": {"Key": "object"},
    "head_bucket": {},
    "head_object": {"Key": "object"},
    "list_multipart_uploads": {},
    "list_object_versions": {},
    "list_objects": {},
    "list_objects_v2": {},
    "list_parts": {"Key": "k", "UploadId": "u"},
    "put_bucket_encryption": {
        "ServerSideEncryptionConfiguration": {
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        }
    },
    "put_bucket_tagging": {"Tagging": {"TagSet": []}},
    "put_bucket_versioning": {"VersioningConfiguration": {"Status": "Enabled"}},
    "put_object": {"Key": "k", "Body": b"x"},
    "put_object_tagging": {"Key": "object", "Tagging": {"TagSet": []}},
    "upload_part": {"Key": "k", "UploadId": "u", "PartNumber": 1, "Body": b"x"},
    "upload_part_copy": {"Key": "k", "UploadId": "u", "PartNumber": 1, "CopySource": "{bucket}/object"},
}


def arguments(call: str, bucket: str) -> dict[str, Any]:
    given = dict(CALLS[call])
    if "CopySource" in given:
        given["CopySource"] = given["CopySource"].format(bucket=bucket)
    return {"Bucket": bucket, **given}


@pytest.fixture(scope="module")
def nobody(server: Server) -> Any:
    """A user without any policy."""
    return new_user(server, name="nobody").s3()


@pytest.fixture
def stocked(s3: Any, bucket: str) -> str:
    s3.put_object(Bucket=bucket, Key="object", Body=b"content")
    return bucket


@pytest.mark.parametrize("call", CALLS)
def test_a_new_user_may_do_nothing(nobody: Any, s3: Any, stocked: str, call: str) -> None:
    refusal = refused(getattr(nobody, call), **arguments(call, stocked))
    assert refusal.status == 403
    if not call.startswith("head_"):
        assert refusal.code == "AccessDenied"
        assert refusal.message.startswith(f"User: arn:aws:iam::{ACCOUNT}:user/nobody is not authorized to perform: s3:")
        assert f'on resource: "{arn(stocked)}' in refusal.message
    assert s3.get_object(Bucket=stocked, Key="object")["Body"].read() == b"content"


@pytest.mark.parametrize("call", CALLS)
def test_an_unknown_bucket_is_a_denial_to_whoever_has_no_right_there(nobody: Any, call: str) -> None:
    assert refused(getattr(nobody, call), **arguments(call, unique_bucket())).status == 403


def test_list_buckets_needs_a_right_of_its_own(server: Server, nobody: Any, bucket: str) -> None:
    assert refused(nobody.list_buckets).message == message(NO_ALLOW, "nobody", "s3:ListAllMyBuckets", "arn:aws:s3:::*")
    lister = new_user(server, allow("s3:ListAllMyBuckets")).s3()
    assert bucket in [each["Name"] for each in lister.list_buckets()["Buckets"]]


def test_a_user_may_do_exactly_what_a_policy_says(server: Server, s3: Any, bucket: str) -> None:
    person = new_user(
        server,
        allow(["s3:GetObject", "s3:PutObject"], arn(bucket, "home/${aws:username}/*")),
        allow("s3:ListBucket", arn(bucket), StringLike={"s3:prefix": "home/${aws:username}/*"}),
        name="exact",
    ).s3()
    s3.put_object(Bucket=bucket, Key="home/other/x", Body=b"other's")
    person.put_object(Bucket=bucket, Key="home/exact/x", Body=b"mine")
    assert person.get_object(Bucket=bucket, Key="home/exact/x")["Body"].read() == b"mine"
    assert person.list_objects_v2(Bucket=bucket, Prefix="home/exact/")["KeyCount"] == 1
    for key in ("home/other/x", "home/exact", "x"):
        assert refused(person.get_object, Bucket=bucket, Key=key).message == message(
            NO_ALLOW, "exact", "s3:GetObject", arn(bucket, key)
        )
    for given in ({}, {"Prefix": ""}, {"Prefix": "home/"}, {"Prefix": "home/other/"}):
        assert refused(person.list_objects_v2, Bucket=bucket, **given).what == (403, "AccessDenied")
    assert refused(person.delete_object, Bucket=bucket, Key="home/exact/x").what == (403, "AccessDenied")


@pytest.mark.parametrize("order", [1, -1])
def test_a_deny_wins_over_every_allow(server: Server, s3: Any, stocked: str, order: int) -> None:
    both = [allow("*"), deny("s3:GetObject", arn(stocked, "obj*"))]
    person = new_user(server, *both[::order], name=f"denied{order}").s3()
    assert refused(person.get_object, Bucket=stocked, Key="object").message == message(
        DENIED, f"denied{order}", "s3:GetObject", arn(stocked, "object")
    )
    person.put_object(Bucket=stocked, Key="other", Body=b"x")
    assert person.get_object(Bucket=stocked, Key="other")["Body"].read() == b"x"


def test_the_root_user_may_do_everything_in_its_account(s3: Any, stocked: str) -> None:
    assert s3.get_object(Bucket=stocked, Key="object")["Body"].read() == b"content"
    assert stocked in [each["Name"] for each in s3.list_buckets()["Buckets"]]


# --- what is there, and what is not


def test_a_missing_key_is_a_denial_without_the_right_to_list(server: Server, s3: Any, stocked: str) -> None:
    """S3 API Reference, GetObject: "If you don't have the s3:ListBucket permission, Amazon S3 returns 403"."""
    reader = new_user(server, allow(["s3:GetObject", "s3:GetObjectAttributes"]), name="reader").s3()
    lister = new_user(server, allow(["s3:GetObject", "s3:ListBucket"])).s3()
    assert refused(reader.get_object, Bucket=stocked, Key="none").message == message(
        NO_ALLOW, "reader", "s3:ListBucket", arn(stocked)
    )
    assert refused(reader.head_object, Bucket=stocked, Key="none").status == 403
    s3.put_bucket_versioning(Bucket=stocked, VersioningConfiguration={"Status": "Enabled"})
    s3.delete_object(Bucket=stocked, Key="object")
    told = refused(reader.get_object, Bucket=stocked, Key="object")
    assert told.what == (403, "AccessDenied")
    assert "x-amz-delete-marker" not in told.headers
    assert refused(lister.get_object, Bucket=stocked, Key="none").what == (404, "NoSuchKey")
    assert refused(lister.head_object, Bucket=stocked, Key="none").status == 404


@pytest.mark.parametrize(
    ("given", "status"), [({"IfNoneMatch": "*"}, 304), ({"IfMatch": '"another"'}, 412), ({"Range": "bytes=99-"}, 416)]
)
def test_no_condition_is_judged_before_the_right(
    nobody: Any, s3: Any, stocked: str, given: dict[str, str], status: int
) -> None:
    """minio e0fe7cc39 (CVE-2024-36107): 304 and 412 told of objects that nobody might read."""
    for call in ("get_object", "head_object"):
        assert refused(getattr(nobody, call), Bucket=stocked, Key="object", **given).status == 403
        assert refused(getattr(s3, call), Bucket=stocked, Key="object", **given).status == status


def test_a_conditional_write_or_deletion_needs_the_right_to_read(server: Server, stocked: str) -> None:
    """User Guide, "Conditional requests": an ETag that matches or not tells of the object."""
    writer = new_user(server, allow(["s3:PutObject", "s3:DeleteObject"])).s3()
    guess = {"Bucket": stocked, "Key": "object", "IfMatch": '"9a0364b9e99bb480dd25e1f0284c8555"'}
    assert refused(writer.put_object, Body=b"x", **guess).what == (403, "AccessDenied")
    assert refused(writer.delete_object, **guess).what == (403, "AccessDenied")
    assert refused(writer.put_object, Bucket=stocked, Key="object", IfNoneMatch="*").status == 412
    writer.delete_object(Bucket=stocked, Key="object", IfMatch="*")


def test_a_denied_upload_is_answered_before_its_body(server: Server, stocked: str) -> None:
    from tests.harness import read_reply

    person = new_user(server)
    head = person.head("PUT", f"/{stocked}/k", headers={"content-length": "1000000000"}, payload="UNSIGNED-PAYLOAD")
    with server.connect() as connection:
        connection.sendall(head)
        reply = read_reply(connection)
    assert (reply.status, reply.code) == (403, "AccessDenied")


# --- many keys, two objects, versions


def test_delete_objects_decides_key_by_key(server: Server, s3: Any, bucket: str) -> None:
    """seaweedfs 8e4022d5c: it was decided once."""
    for key in ("a/1", "a/2", "b/1"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    person = new_user(
        server, allow("s3:DeleteObject", arn(bucket, "a/*")), deny("s3:*", arn(bucket, "a/2")), name="deleter"
    )
    answer = person.s3().delete_objects(
        Bucket=bucket,
        Delete={"Objects": [{"Key": "a/1"}, {"Key": "a/2"}, {"Key": "b/1"}, {"Key": "a/1", "VersionId": "null"}]},
    )
    assert [each["Key"] for each in answer["Deleted"]] == ["a/1"]
    assert [(each["Key"], each["Code"], each["Message"]) for each in answer["Errors"]] == [
        ("a/2", "AccessDenied", message(DENIED, "deleter", "s3:DeleteObject", arn(bucket, "a/2"))),
        ("b/1", "AccessDenied", message(NO_ALLOW, "deleter", "s3:DeleteObject", arn(bucket, "b/1"))),
        ("a/1", "AccessDenied", message(NO_ALLOW, "deleter", "s3:DeleteObjectVersion", arn(bucket, "a/1"))),
    ]
    assert [each["Key"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["a/2", "b/1"]


def test_a_quiet_delete_objects_still_tells_what_is_denied(server: Server, s3: Any, stocked: str) -> None:
    answer = (
        new_user(server).s3().delete_objects(Bucket=stocked, Delete={"Objects": [{"Key": "object"}], "Quiet": True})
    )
    assert [each["Code"] for each in answer["Errors"]] == ["AccessDenied"]
    assert s3.head_object(Bucket=stocked, Key="object")


@pytest.mark.parametrize("part", [False, True])
def test_a_copy_needs_its_source_and_its_target(server: Server, s3: Any, stocked: str, part: bool) -> None:
    """rustfs GHSA-mx42-j6wv-px98, GHSA-wfxj-ph3v-7mjf; seaweedfs c61d22761."""
    read, write = allow("s3:GetObject", arn(stocked, "object")), allow("s3:PutObject", arn(stocked, "copy"))
    given: dict[str, Any] = {"Bucket": stocked, "Key": "copy", "CopySource": f"{stocked}/object"}
    call = "copy_object"
    if part:
        call = "upload_part_copy"
        upload = s3.create_multipart_upload(Bucket=stocked, Key="copy")["UploadId"]
        given |= {"UploadId": upload, "PartNumber": 1}
    for statements, denied_action in (([read], "s3:PutObject"), ([write], "s3:GetObject")):
        told = refused(getattr(new_user(server, *statements).s3(), call), **given)
        assert (told.code, denied_action in told.message) == ("AccessDenied", True)
    getattr(new_user(server, read, write).s3(), call)(**given)
    # written in another way, the source is the same (B3: the condition key of the copy's source)
    guarded = new_user(
        server, allow("*"), deny("s3:PutObject", StringLike={"s3:x-amz-copy-source": f"{stocked}/obj*"})
    ).s3()
    for header in (f"{stocked}/object", f"/{stocked}/object", f"{stocked}/object?versionId=null"):
        assert refused(getattr(guarded, call), **{**given, "CopySource": header}).what == (403, "AccessDenied")


def test_a_version_needs_the_right_to_versions(server: Server, s3: Any, bucket: str) -> None:
    """rustfs GHSA-3ppv-fx5m-m749."""
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    old = s3.put_object(Bucket=bucket, Key="k", Body=b"old")["VersionId"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"new")
    newest = new_user(server, allow(["s3:GetObject", "s3:PutObject", "s3:DeleteObject"])).s3()
    versions = new_user(server, allow(["s3:GetObjectVersion", "s3:PutObject"])).s3()
    assert newest.get_object(Bucket=bucket, Key="k")["Body"].read() == b"new"
    assert versions.get_object(Bucket=bucket, Key="k", VersionId=old)["Body"].read() == b"old"
    for call, given in (
        (newest.get_object, {"VersionId": old}),
        (newest.head_object, {"VersionId": old}),
        (newest.delete_object, {"VersionId": old}),
        (newest.copy_object, {"CopySource": f"{bucket}/k?versionId={old}"}),
        (versions.get_object, {}),
        (versions.copy_object, {"CopySource": f"{bucket}/k"}),
    ):
        assert refused(call, Bucket=bucket, Key="k", **given).status == 403
    versions.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/k?versionId={old}")
    only = new_user(server, allow("s3:GetObjectVersion", StringEquals={"s3:VersionId": old})).s3()
    assert only.get_object(Bucket=bucket, Key="k", VersionId=old)["Body"].read() == b"old"
    assert refused(only.get_object, Bucket=bucket, Key="k", VersionId="null").status == 403


# --- tags


def test_tags_go_only_where_they_may(server: Server, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="tagged", Body=b"x", Tagging="secret=value")
    plain = new_user(server, allow(["s3:GetObject", "s3:PutObject"])).s3()
    assert "TagCount" not in plain.get_object(Bucket=bucket, Key="tagged")
    copied = {"Bucket": bucket, "Key": "copy", "CopySource": f"{bucket}/tagged"}
    assert "s3:GetObjectTagging" in refused(plain.copy_object, **copied).message
    assert "s3:PutObjectTagging" in refused(plain.put_object, Bucket=bucket, Key="k", Tagging="a=b").message
    assert (
        "s3:PutObjectTagging" in refused(plain.copy_object, **copied, TaggingDirective="REPLACE", Tagging="a=b").message
    )
    plain.copy_object(**copied, TaggingDirective="REPLACE")
    assert s3.get_object_tagging(Bucket=bucket, Key="copy")["TagSet"] == []
    tagger = new_user(
        server, allow(["s3:GetObject", "s3:PutObject", "s3:GetObjectTagging", "s3:PutObjectTagging"])
    ).s3()
    assert tagger.head_object(Bucket=bucket, Key="tagged")["TagCount"] == 1
    tagger.copy_object(**copied)
    assert s3.get_object_tagging(Bucket=bucket, Key="copy")["TagSet"] == [{"Key": "secret", "Value": "value"}]


def test_the_tags_of_a_document_count_as_those_of_a_header(server: Server, stocked: str) -> None:
    person = new_user(
        server,
        allow(["s3:PutObject", "s3:PutObjectTagging"], StringEquals={"s3:RequestObjectTag/team": "red"}),
    ).s3()
    person.put_object(Bucket=stocked, Key="k", Body=b"x", Tagging="team=red")
    person.put_object_tagging(Bucket=stocked, Key="k", Tagging={"TagSet": [{"Key": "team", "Value": "red"}]})
    blue = {"TagSet": [{"Key": "team", "Value": "blue"}]}
    assert refused(person.put_object_tagging, Bucket=stocked, Key="k", Tagging=blue).what == (403, "AccessDenied")
    assert refused(person.put_object, Bucket=stocked, Key="k", Tagging="team=blue").what == (403, "AccessDenied")
    assert refused(person.put_object, Bucket=stocked, Key="k").what == (403, "AccessDenied")


# --- encryption by policy

SSE, KMS_KEY, SSE_C = (
    f"s3:x-amz-server-side-encryption{suffix}" for suffix in ("", "-aws-kms-key-id", "-customer-algorithm")
)
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
HEADERS: dict[str, dict[str, Any]] = {
    "no header": {},
    "AES256": {"ServerSideEncryption": "AES256"},
    "aws:kms": {"ServerSideEncryption": "aws:kms"},
    "aws:kms with KEY": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": KEY},
    "SSE-C": customer_key(bytes(range(32))),
}
# Policy: which of HEADERS it lets through.
TABLE: dict[str, tuple[list[dict[str, Any]], set[str]]] = {
    "StringNotEquals AES256": ([{"StringNotEquals": {SSE: "AES256"}}], {"AES256"}),
    "StringNotEquals aws:kms": ([{"StringNotEquals": {SSE: "aws:kms"}}], {"aws:kms", "aws:kms with KEY"}),
    "Null": ([{"Null": {SSE: "true"}}], {"AES256", "aws:kms", "aws:kms with KEY"}),
    "the old pair": ([{"StringNotEquals": {SSE: "AES256"}}, {"Null": {SSE: "true"}}], {"AES256"}),
    "the pair in one statement": (
        [{"StringNotEquals": {SSE: "AES256"}, "Null": {SSE: "true"}}],
        {"AES256", "aws:kms", "aws:kms with KEY"},
    ),
    "StringNotEqualsIfExists": ([{"StringNotEqualsIfExists": {SSE: "AES256"}}], {"AES256"}),
    "StringNotEquals and Null false": (
        [{"StringNotEquals": {SSE: "AES256"}, "Null": {SSE: "false"}}],
        {"no header", "AES256", "SSE-C"},
    ),
    "block SSE-C": ([{"Null": {SSE_C: "false"}}], {"no header", "AES256", "aws:kms", "aws:kms with KEY"}),
    "demand SSE-C": ([{"Null": {SSE_C: "true"}}], {"SSE-C"}),
    "ArnNotEqualsIfExists KEY": ([{"ArnNotEqualsIfExists": {KMS_KEY: KEY}}], {"aws:kms with KEY"}),
    "ArnNotEquals KEY": ([{"ArnNotEquals": {KMS_KEY: KEY}}], {"aws:kms with KEY"}),
    "StringNotEquals KEY": ([{"StringNotEquals": {KMS_KEY: KEY}}], {"aws:kms with KEY"}),
}


def is_denied_put(client: Any, bucket: str, **headers: Any) -> bool:
    try:
        client.put_object(Bucket=bucket, Key="k", Body=b"x", **headers)
    except ClientError as error:
        return (
            "s3:PutObject" in error.response["Error"]["Message"]
            and "explicit deny" in error.response["Error"]["Message"]
        )
    return False


@pytest.mark.parametrize("name", TABLE)
def test_policies_on_encryption_headers(server: Server, bucket: str, name: str) -> None:
    """The known policies, of AWS's pages and of people's mistakes, against each header; bucket defaults don't count."""
    conditions, let_through = TABLE[name]
    person = new_user(server, allow("s3:*"), *(deny("s3:PutObject", **each) for each in conditions)).s3(tls=True)
    assert {header for header, given in HEADERS.items() if not is_denied_put(person, bucket, **given)} == let_through


def test_values_are_compared_as_sent_and_judged_afterwards(server: Server, s3: Any, bucket: str) -> None:
    guarded = new_user(server, allow("s3:*"), deny("s3:PutObject", StringNotEquals={SSE: "AES256"}))
    for value in ("AES192", "aes256", "AES256 x", "aws:kms"):
        headers = {"x-amz-server-side-encryption": value}
        reply = guarded.send("PUT", f"/{bucket}/k", headers=headers, body=b"x")
        assert (reply.status, reply.code) == (403, "AccessDenied")
        if value != "aws:kms":
            assert server.send("PUT", f"/{bucket}/k", headers=headers, body=b"x").status == 400
    assert refused(s3.get_object, Bucket=bucket, Key="k").code == "NoSuchKey"


def test_a_presigned_parameter_counts_as_the_header(server: Server, bucket: str) -> None:
    person = new_user(server, allow("s3:*"), deny("s3:PutObject", StringNotEquals={SSE: "AES256"}))
    bare = presign(person, "PUT", f"/{bucket}/k")
    assert person.send("PUT", bare, sign=False, body=b"x").status == 403
    named = presign(person, "PUT", f"/{bucket}/k", query="x-amz-server-side-encryption=AES256")
    assert person.send("PUT", named, sign=False, body=b"x").status == 200


def test_form_fields_count_as_headers(server: Server, bucket: str) -> None:
    person = new_user(
        server,
        allow("s3:PutObject", arn(bucket, "in/*"), StringEquals={SSE: "AES256", "s3:authType": "POST"}),
    )

    def post(**fields: str) -> int:
        signed = policy_fields(person, [{"bucket": bucket}, *({name: value} for name, value in fields.items())])
        return form({**fields, **signed}, b"x").post(person, f"/{bucket}").status

    encryption = {"x-amz-server-side-encryption": "AES256"}
    assert post(key="in/k", **encryption) == 204
    assert post(key="in/k") == 403
    assert post(key="out/k", **encryption) == 403
    assert person.send("PUT", f"/{bucket}/in/k", headers=encryption, body=b"x").status == 403  # not by a form


def test_parts_of_an_upload_that_says_its_encryption_are_allowed(server: Server, bucket: str) -> None:
    """A part can't say it: a literal reading of a Deny would break every upload in parts."""
    person = new_user(server, allow("s3:*"), deny("s3:PutObject", StringNotEquals={SSE: "AES256"})).s3()
    assert refused(person.create_multipart_upload, Bucket=bucket, Key="k").what == (403, "AccessDenied")
    upload = {
        "Bucket": bucket,
        "Key": "k",
        "UploadId": person.create_multipart_upload(Bucket=bucket, Key="k", ServerSideEncryption="AES256")["UploadId"],
    }
    etag = person.upload_part(**upload, PartNumber=1, Body=bytes(PART))["ETag"]
    person.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"ETag": etag, "PartNumber": 1}]})
    assert person.head_object(Bucket=bucket, Key="k")["ContentLength"] == PART


# --- who, whence, how


def test_conditions_on_the_connection_and_the_signature(server: Server, stocked: str) -> None:
    def may(**condition: Any) -> bool:
        person = new_user(server, allow("s3:GetObject", **condition))
        return person.send("GET", f"/{stocked}/object").status == 200

    assert may(IpAddress={"aws:SourceIp": "127.0.0.0/8"})
    assert not may(IpAddress={"aws:SourceIp": "10.0.0.0/8"})
    assert may(StringEquals={"s3:authType": "REST-HEADER", "s3:signatureversion": "AWS4-HMAC-SHA256"})
    assert not may(StringEquals={"s3:authType": "REST-QUERY-STRING"})
    assert may(DateGreaterThan={"aws:CurrentTime": "2020-01-01T00:00:00Z"})
    assert not may(DateLessThan={"aws:CurrentTime": "2020-01-01T00:00:00Z"})
    assert may(StringLike={"aws:userid": "AIDA*", "aws:PrincipalArn": "arn:aws:iam::*:user/user-*"})
    assert may(StringEquals={"s3:ResourceAccount": ACCOUNT, "aws:PrincipalAccount": ACCOUNT})
    assert not may(StringEquals={"s3:x-amz-content-sha256": "UNSIGNED-PAYLOAD"})


def test_headers_never_speak_for_what_the_server_knows(server: Server, stocked: str) -> None:
    """rustfs GHSA-6r96-hmgc-726c, GHSA-fc6g-2gcp-2qrq."""
    person = new_user(
        server,
        allow("s3:GetObject", IpAddress={"aws:SourceIp": "192.0.2.0/24"}),
        allow("s3:GetObject", StringEquals={"aws:username": "somebody-else"}),
    )
    for headers in (
        {"x-forwarded-for": "192.0.2.1"},
        {"x-real-ip": "192.0.2.1"},
        {"forwarded": "for=192.0.2.1"},
        {"aws-sourceip": "192.0.2.1"},
        {"x-amz-source-ip": "192.0.2.1"},
        {"username": "somebody-else"},
        {"aws-username": "somebody-else"},
    ):
        assert person.send("GET", f"/{stocked}/object", headers=headers).status == 403


def test_a_presigned_url_is_its_signers_and_has_an_age(server: Server, stocked: str) -> None:
    young = new_user(server, allow("s3:GetObject", NumericLessThan={"s3:signatureAge": 60_000}))
    assert young.send("GET", presign(young, "GET", f"/{stocked}/object"), sign=False).status == 200
    assert young.send("GET", f"/{stocked}/object").status == 403  # no age: not presigned
    nobody = new_user(server)
    assert nobody.send("GET", presign(nobody, "GET", f"/{stocked}/object"), sign=False).status == 403


def test_the_service_credential_is_nobodys_on_s3(server: Server, stocked: str) -> None:
    import copy

    from strongroom.identity.keys import load_identity_key, service_credentials
    from strongroom.server.paths import Paths

    key = load_identity_key(Paths(server.data_dir).identity.directory)
    assert key is not None
    made = service_credentials(key)
    service = copy.copy(server)
    service.access_key_id, service.secret = made.access_key_id, made.secret_access_key
    reply = service.send("GET", f"/{stocked}/object")
    assert (reply.status, reply.code) == (403, "InvalidAccessKeyId")
