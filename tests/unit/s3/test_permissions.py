"""What each operation has to be allowed: the table against AWS's Service Authorization Reference, and complete."""

from typing import Any

import pytest

from strongroom.aws.errors import S3Error
from strongroom.aws.http import Headers
from strongroom.aws.model import load_s3_model
from strongroom.identity.call import Sought
from strongroom.s3.permissions import DECIDED_BY_DOCUMENT, OF_AN_UPLOAD, PER_KEY, RULES, deletions, permissions
from strongroom.s3.service import OPERATIONS

BUCKET, KEY = "arn:aws:s3:::bucket", "arn:aws:s3:::bucket/a/key"
SOURCE = "arn:aws:s3:::source/its/key"


def sought(operation: str, *, unread: bool = False, headers: dict[str, str] | None = None, **input: Any) -> Sought:
    return Sought(
        operation=operation,
        input=input,
        headers=Headers.of((headers or {}).items()),
        account_id="000000000000",
        auth_type="REST-HEADER",
        document_unread=unread,
    )


def needed(operation: str, **input: Any) -> list[tuple[str, str]]:
    on: dict[str, Any] = {"Bucket": "bucket"} if operation != "ListBuckets" else {}
    return [(each.action, each.resource) for each in permissions(sought(operation, **on, **input))]


OF_BUCKETS = {
    "CreateBucket": "s3:CreateBucket",
    "DeleteBucket": "s3:DeleteBucket",
    "DeleteBucketEncryption": "s3:PutEncryptionConfiguration",
    "DeleteBucketTagging": "s3:PutBucketTagging",
    "GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "GetBucketLocation": "s3:GetBucketLocation",
    "GetBucketTagging": "s3:GetBucketTagging",
    "GetBucketVersioning": "s3:GetBucketVersioning",
    "HeadBucket": "s3:ListBucket",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "ListObjectVersions": "s3:ListBucketVersions",
    "ListObjects": "s3:ListBucket",
    "ListObjectsV2": "s3:ListBucket",
    "PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "PutBucketTagging": "s3:PutBucketTagging",
    "PutBucketVersioning": "s3:PutBucketVersioning",
}
OF_OBJECTS = {
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "CompleteMultipartUpload": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "DeleteObject": "s3:DeleteObject",
    "DeleteObjectTagging": "s3:DeleteObjectTagging",
    "GetObject": "s3:GetObject",
    "GetObjectTagging": "s3:GetObjectTagging",
    "HeadObject": "s3:GetObject",
    "ListParts": "s3:ListMultipartUploadParts",
    "PutObject": "s3:PutObject",
    "PutObjectTagging": "s3:PutObjectTagging",
    "UpdateObjectEncryption": "s3:UpdateObjectEncryption",
    "UploadPart": "s3:PutObject",
}
OF_VERSIONS = {
    "DeleteObject": "s3:DeleteObjectVersion",
    "DeleteObjectTagging": "s3:DeleteObjectVersionTagging",
    "GetObject": "s3:GetObjectVersion",
    "GetObjectTagging": "s3:GetObjectVersionTagging",
    "HeadObject": "s3:GetObjectVersion",
    "PutObjectTagging": "s3:PutObjectVersionTagging",
    "UpdateObjectEncryption": "s3:UpdateObjectEncryption",  # AWS has no action for versions here
}
TAGS: dict[str, Any] = {"PutObjectTagging": {"Tagging": {"TagSet": []}}}


def test_every_operation_that_is_built_has_a_rule() -> None:
    assert OPERATIONS.keys() <= RULES.keys() | {PER_KEY}


def test_every_rule_is_of_an_operation_of_the_model_and_tested_here() -> None:
    assert RULES.keys() <= load_s3_model().operations.keys()
    apart = {"CopyObject", "GetObjectAttributes", "ListBuckets", "UploadPartCopy"}
    assert RULES.keys() == OF_BUCKETS.keys() | OF_OBJECTS.keys() | apart


@pytest.mark.parametrize("operation", ["", "PutBucketPolicy", "GetObjectAcl", "PostObject", "CreateKey"])
def test_an_operation_without_a_rule_is_denied(operation) -> None:
    with pytest.raises(S3Error, match="AccessDenied"):
        list(permissions(sought(operation, Bucket="bucket", Key="a/key")))


@pytest.mark.parametrize(("operation", "action"), OF_BUCKETS.items())
def test_actions_on_buckets(operation, action) -> None:
    assert needed(operation) == [(action, BUCKET)]


@pytest.mark.parametrize(("operation", "action"), OF_OBJECTS.items())
def test_actions_on_objects(operation, action) -> None:
    assert needed(operation, Key="a/key", **TAGS.get(operation, {})) == [(action, KEY)]


@pytest.mark.parametrize(("operation", "action"), OF_VERSIONS.items())
def test_actions_on_versions(operation, action) -> None:
    """rustfs GHSA-3ppv-fx5m-m749: a version read under s3:GetObject."""
    (only,) = permissions(sought(operation, Bucket="bucket", Key="a/key", VersionId="v1", **TAGS.get(operation, {})))
    assert (only.action, only.resource, only.conditions["s3:versionid"]) == (action, KEY, ("v1",))


def test_list_buckets_is_about_all_of_them() -> None:
    assert needed("ListBuckets") == [("s3:ListAllMyBuckets", "arn:aws:s3:::*")]


def test_attributes_need_the_object_too() -> None:
    assert needed("GetObjectAttributes", Key="a/key") == [("s3:GetObject", KEY), ("s3:GetObjectAttributes", KEY)]
    assert needed("GetObjectAttributes", Key="a/key", VersionId="v") == [
        ("s3:GetObjectVersion", KEY),
        ("s3:GetObjectVersionAttributes", KEY),
    ]


@pytest.mark.parametrize("operation", ["CopyObject", "UploadPartCopy"])
@pytest.mark.parametrize(
    ("header", "read"),
    [
        ("source/its/key", ("s3:GetObject", SOURCE)),
        ("/source/its/key", ("s3:GetObject", SOURCE)),
        ("source%2Fits%2Fkey", ("s3:GetObject", SOURCE)),
        ("source/its/key?versionId=v2", ("s3:GetObjectVersion", SOURCE)),
        ("source/its/key?versionId=null", ("s3:GetObjectVersion", SOURCE)),
        ("source/a+b%2Bc", ("s3:GetObject", "arn:aws:s3:::source/a b+c")),
    ],
)
def test_a_copy_needs_its_source_and_its_target(operation, header, read) -> None:
    assert needed(operation, Key="a/key", CopySource=header) == [("s3:PutObject", KEY), read]


def test_the_version_of_a_source_is_not_the_version_of_the_target() -> None:
    write, read = permissions(
        sought("CopyObject", Bucket="bucket", Key="a/key", CopySource="source/its/key?versionId=v")
    )
    assert "s3:versionid" not in write.conditions
    assert read.conditions["s3:versionid"] == ("v",)


@pytest.mark.parametrize(
    "header", ["", "source", "../x/y", "source/../../x", "UPPER/key", "source/k?versionId=", "%zz/k"]
)
def test_a_bad_source_is_told_only_after_the_target_was_asked_for(header) -> None:
    asked = permissions(sought("CopyObject", Bucket="bucket", Key="a/key", CopySource=header))
    assert next(asked).action == "s3:PutObject"
    with pytest.raises(S3Error):
        next(asked)


@pytest.mark.parametrize(
    ("given", "further"),
    [
        ({"Tagging": "a=b"}, ["s3:PutObjectTagging"]),
        ({"Tagging": ""}, ["s3:PutObjectTagging"]),
        ({"ACL": "private"}, ["s3:PutObjectAcl"]),
        ({"IfMatch": '"etag"'}, ["s3:GetObject"]),
        ({"IfMatch": "*"}, []),
        ({"IfNoneMatch": "*"}, []),
        ({"ObjectLockMode": "GOVERNANCE"}, ["s3:PutObjectRetention"]),
        ({"ObjectLockLegalHoldStatus": "ON"}, ["s3:PutObjectLegalHold"]),
    ],
)
def test_headers_that_ask_for_more(given, further) -> None:
    assert needed("PutObject", Key="a/key", **given) == [("s3:PutObject", KEY), *((each, KEY) for each in further)]


def test_a_conditional_read_asks_for_nothing_more() -> None:
    assert needed("GetObject", Key="a/key", IfMatch='"etag"', VersionId="v") == [("s3:GetObjectVersion", KEY)]


@pytest.mark.parametrize(
    ("given", "further"),
    [
        ({"ACL": "private"}, []),
        ({"ACL": "public-read"}, ["s3:PutBucketAcl"]),
        ({"ObjectOwnership": "BucketOwnerEnforced"}, ["s3:PutBucketOwnershipControls"]),
        ({"ObjectLockEnabledForBucket": True}, ["s3:PutBucketObjectLockConfiguration", "s3:PutBucketVersioning"]),
        ({"CreateBucketConfiguration": {"Tags": [{"Key": "k", "Value": "v"}]}}, ["s3:TagResource"]),
    ],
)
def test_a_new_bucket_that_asks_for_more(given, further) -> None:
    assert needed("CreateBucket", **given) == [("s3:CreateBucket", BUCKET), *((each, BUCKET) for each in further)]


@pytest.mark.parametrize(
    "key", ["a", "a//b", "../a"[3:], "a/./b", "a b", "*", "a?b", "${aws:username}", "ä/日本", "a\nb", "/a"]
)
def test_the_resource_is_the_key_that_storage_sees(key) -> None:
    """versitygw cd0b4e6d: the policy saw another key."""
    assert needed("GetObject", Key=key) == [("s3:GetObject", f"arn:aws:s3:::bucket/{key}")]


# --- what is decided later


@pytest.mark.parametrize("operation", sorted(DECIDED_BY_DOCUMENT))
def test_what_a_document_decides_is_asked_for_once_it_is_read(operation) -> None:
    given = {"Bucket": "bucket", "Key": "a/key", **TAGS.get(operation, {})}
    assert list(permissions(sought(operation, unread=True, **given))) == []
    assert list(permissions(sought(operation, **given))) != []


@pytest.mark.parametrize("operation", sorted(OPERATIONS.keys() - DECIDED_BY_DOCUMENT - {PER_KEY}))
def test_everything_else_is_decided_before_the_document(operation) -> None:
    given: dict[str, Any] = {"Bucket": "bucket", "Key": "a/key", "CopySource": "source/its/key"}
    assert list(permissions(sought(operation, unread=True, **given))) != []


def test_tags_of_the_document_are_condition_keys() -> None:
    (only,) = permissions(
        sought(
            "PutObjectTagging",
            Bucket="bucket",
            Key="a/key",
            Tagging={"TagSet": [{"Key": "Team", "Value": "Red"}, {"Key": "x", "Value": ""}]},
        )
    )
    assert only.conditions == {
        "s3:requestobjecttag/team": ("Red",),
        "s3:requestobjecttag/x": ("",),
        "s3:requestobjecttagkeys": ("Team", "x"),
    }


def test_location_and_tags_of_a_new_bucket_are_condition_keys() -> None:
    configuration = {"LocationConstraint": "eu-west-1", "Tags": [{"Key": "Team", "Value": "Red"}]}
    for each in permissions(sought("CreateBucket", Bucket="bucket", CreateBucketConfiguration=configuration)):
        assert each.conditions == {
            "s3:locationconstraint": ("eu-west-1",),
            "aws:requesttag/team": ("Red",),
            "aws:tagkeys": ("Team",),
        }


def test_the_encryption_of_an_update_is_a_condition_key() -> None:
    arn = "arn:aws:kms:us-east-1:000000000000:key/k"
    (only,) = permissions(
        sought("UpdateObjectEncryption", Bucket="b", Key="k", ObjectEncryption={"SSEKMS": {"KMSKeyArn": arn}})
    )
    assert only.conditions == {
        "s3:x-amz-server-side-encryption": ("aws:kms",),
        "s3:x-amz-server-side-encryption-aws-kms-key-id": (arn,),
    }


@pytest.mark.parametrize("operation", ["ListObjects", "ListObjectsV2", "ListObjectVersions"])
def test_listings_fill_their_condition_keys(operation) -> None:
    (only,) = permissions(sought(operation, Bucket="b", Prefix="", Delimiter="/", MaxKeys=7))
    assert only.conditions == {"s3:prefix": ("",), "s3:delimiter": ("/",), "s3:max-keys": ("7",)}
    (only,) = permissions(sought(operation, Bucket="b"))
    assert only.conditions == {}


# --- DeleteObjects


@pytest.mark.parametrize(
    ("wanted", "actions", "conditions"),
    [
        ({"Key": "k"}, ["s3:DeleteObject"], {}),
        ({"Key": "k", "VersionId": "v"}, ["s3:DeleteObjectVersion"], {"s3:versionid": ("v",)}),
        ({"Key": "k", "VersionId": "null"}, ["s3:DeleteObjectVersion"], {"s3:versionid": ("null",)}),
        ({"Key": "k", "ETag": "*"}, ["s3:DeleteObject"], {"s3:if-match": ("*",)}),
        ({"Key": "k", "ETag": "e"}, ["s3:DeleteObject", "s3:GetObject"], {"s3:if-match": ("e",)}),
    ],
)
def test_each_key_of_delete_objects_has_its_own_needs(wanted, actions, conditions) -> None:
    found = list(deletions("bucket", wanted))
    assert [each.action for each in found] == actions
    assert all(each.resource == "arn:aws:s3:::bucket/k" and each.conditions == conditions for each in found)


def test_delete_objects_is_left_to_its_handler() -> None:
    assert list(permissions(sought(PER_KEY, Bucket="bucket"))) == []


# --- the parts of an upload


@pytest.mark.parametrize("operation", sorted(OF_AN_UPLOAD))
def test_a_part_is_encrypted_as_its_upload_says(operation) -> None:
    stored = {"s3:x-amz-server-side-encryption": ("AES256",)}
    given: dict[str, Any] = {"Bucket": "bucket", "Key": "k", "CopySource": "source/k"}
    assert next(permissions(sought(operation, **given), stored)).conditions == stored
    said = sought(operation, headers={"x-amz-server-side-encryption": "aws:kms"}, **given)
    assert next(permissions(said, stored)).conditions == {}  # the request's own word is among those of the request
