"""CreateBucket, HeadBucket, ListBuckets, DeleteBucket, GetBucketLocation."""

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.answers import members, refused, status
from tests.harness import REGION, Server, running, unique_bucket

ACCOUNT = "000000000000"


def bare(server: Server) -> Any:
    """A client that lets any name pass."""
    client = server.s3(parameter_validation=False)
    client.meta.events.unregister("before-parameter-build.s3", unique_id="validate_bucket_name")
    return client


# --- CreateBucket


def test_create_bucket__answers_location_and_arn(s3: Any) -> None:
    name = unique_bucket()
    answer = s3.create_bucket(Bucket=name)
    assert status(answer) == 200
    assert members(answer) == {"Location": f"/{name}", "BucketArn": f"arn:aws:s3:::{name}"}


def test_create_bucket__already_owned_is_200_in_us_east_1_and_keeps_everything(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="kept", Body=b"kept")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    assert status(s3.create_bucket(Bucket=bucket)) == 200
    assert s3.get_object(Bucket=bucket, Key="kept")["Body"].read() == b"kept"
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"


@pytest.mark.parametrize(
    "name",
    [
        "ab",
        "a" * 64,
        "Upper",
        "under_score",
        "-begins",
        "ends-",
        "two..dots",
        "dot.-dash",
        "192.168.5.4",
        "xn--name",
        "sthree-name",
        "amzn-s3-demo-name",
        "name-s3alias",
        "name--ol-s3",
        "name.mrap",
        "name--x-s3",
        "name--table-s3",
        "sp ace",
        "ümlaut",
    ],
)
def test_create_bucket__name_against_the_rules_is_400(server: Server, name: str) -> None:
    from urllib.parse import quote

    reply = server.send("PUT", f"/{quote(name)}")
    assert (reply.status, reply.code, reply.element("BucketName")) == (400, "InvalidBucketName", name)


@pytest.mark.parametrize("form", ["{}", "a.{}", "0{}", "{}" + "x" * 40])
def test_create_bucket__every_allowed_form_of_a_name(s3: Any, form: str) -> None:
    name = form.format(secrets.token_hex(8))
    assert status(s3.create_bucket(Bucket=name)) == 200
    assert status(s3.delete_bucket(Bucket=name)) == 204


@pytest.mark.parametrize(
    ("constraint", "code"),
    [
        ("eu-west-1", "IllegalLocationConstraintException"),
        ("EU", "IllegalLocationConstraintException"),
        ("nowhere", "InvalidLocationConstraint"),
        ("aws-global", "InvalidLocationConstraint"),
    ],
)
def test_create_bucket__another_location_is_400_and_makes_nothing(server: Server, constraint: str, code: str) -> None:
    name = unique_bucket()
    client = bare(server)
    answer = refused(client.create_bucket, Bucket=name, CreateBucketConfiguration={"LocationConstraint": constraint})
    assert answer.what == (400, code)
    assert refused(client.head_bucket, Bucket=name).status == 404


def test_create_bucket__tags_come_with_it(s3: Any) -> None:
    name = unique_bucket()
    tags = [{"Key": "team", "Value": "blue"}]
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"Tags": tags})
    assert s3.get_bucket_tagging(Bucket=name)["TagSet"] == tags


@pytest.mark.parametrize("acl", ["private", "bucket-owner-full-control"])
def test_create_bucket__acl_that_is_already_true_is_accepted(server: Server, acl: str) -> None:
    assert server.send("PUT", f"/{unique_bucket()}", headers={"x-amz-acl": acl}).status == 200


@pytest.mark.parametrize("acl", ["public-read", "public-read-write", "authenticated-read"])
def test_create_bucket__public_acl_is_400_and_makes_nothing(s3: Any, acl: str) -> None:
    name = unique_bucket()
    assert refused(s3.create_bucket, Bucket=name, ACL=acl).what == (400, "AccessControlListNotSupported")
    assert refused(s3.head_bucket, Bucket=name).status == 404


@pytest.mark.parametrize(
    "arguments",
    [
        {"ObjectLockEnabledForBucket": True},
        {"ObjectOwnership": "ObjectWriter"},
        {"GrantRead": "id=1"},
        {"CreateBucketConfiguration": {"Bucket": {"Type": "Directory", "DataRedundancy": "SingleAvailabilityZone"}}},
        {"CreateBucketConfiguration": {"Location": {"Type": "AvailabilityZone", "Name": "use1-az1"}}},
    ],
)
def test_create_bucket__what_is_not_honoured_is_501_and_makes_nothing(s3: Any, arguments: dict[str, Any]) -> None:
    name = unique_bucket()
    assert refused(s3.create_bucket, Bucket=name, **arguments).what == (501, "NotImplemented")
    assert refused(s3.head_bucket, Bucket=name).status == 404


@pytest.mark.parametrize(
    "arguments", [{"ObjectLockEnabledForBucket": False}, {"ObjectOwnership": "BucketOwnerEnforced"}]
)
def test_create_bucket__what_is_true_anyway_is_accepted(s3: Any, arguments: dict[str, Any]) -> None:
    assert status(s3.create_bucket(Bucket=unique_bucket(), **arguments)) == 200


def test_create_bucket__in_another_region(tmp_path: Path) -> None:
    with running(tmp_path, "--workers", "1", environment={"STRONGROOM_REGION": "eu-central-1"}) as server:
        import boto3

        s3 = boto3.client(
            "s3",
            endpoint_url=server.url,
            region_name="eu-central-1",
            aws_access_key_id=server.access_key_id,
            aws_secret_access_key=server.secret,
        )
        name = unique_bucket()
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        again = refused(s3.create_bucket, Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        located = s3.get_bucket_location(Bucket=name)["LocationConstraint"]
        head = s3.head_bucket(Bucket=name)
    assert again.what == (409, "BucketAlreadyOwnedByYou")
    assert again.detail["BucketName"] == name
    assert located == head["BucketRegion"] == "eu-central-1"


# --- HeadBucket, GetBucketLocation


def test_head_bucket__tells_region_and_arn(s3: Any, bucket: str) -> None:
    assert members(s3.head_bucket(Bucket=bucket)) == {
        "BucketRegion": REGION,
        "BucketArn": f"arn:aws:s3:::{bucket}",
        "AccessPointAlias": False,
    }


def test_head_bucket__missing_is_404_without_body(server: Server) -> None:
    reply = server.send("HEAD", f"/{unique_bucket()}")
    assert (reply.status, reply.body) == (404, b"")


def test_get_bucket_location__us_east_1_is_empty(s3: Any, bucket: str) -> None:
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None


OF_A_BUCKET = [
    ("get_bucket_location", {}),
    ("get_bucket_versioning", {}),
    ("put_bucket_versioning", {"VersioningConfiguration": {"Status": "Enabled"}}),
    ("get_bucket_tagging", {}),
    ("put_bucket_tagging", {"Tagging": {"TagSet": []}}),
    ("delete_bucket_tagging", {}),
    ("get_bucket_encryption", {}),
    ("delete_bucket_encryption", {}),
    ("delete_bucket", {}),
    ("list_objects", {}),
    ("list_objects_v2", {}),
    ("list_object_versions", {}),
    ("list_multipart_uploads", {}),
    ("delete_objects", {"Delete": {"Objects": [{"Key": "k"}]}}),
    ("put_object", {"Key": "k", "Body": b""}),
    ("get_object", {"Key": "k"}),
    ("delete_object", {"Key": "k"}),
    ("get_object_tagging", {"Key": "k"}),
    ("get_object_attributes", {"Key": "k", "ObjectAttributes": ["ETag"]}),
    ("create_multipart_upload", {"Key": "k"}),
    ("upload_part", {"Key": "k", "UploadId": "u", "PartNumber": 1, "Body": b""}),
    ("complete_multipart_upload", {"Key": "k", "UploadId": "u"}),
    ("abort_multipart_upload", {"Key": "k", "UploadId": "u"}),
    ("list_parts", {"Key": "k", "UploadId": "u"}),
    ("copy_object", {"Key": "k", "CopySource": "some-bucket/k"}),
]


@pytest.mark.parametrize(("operation", "arguments"), OF_A_BUCKET, ids=[name for name, _ in OF_A_BUCKET])
def test_every_operation__missing_bucket_is_404(s3: Any, operation: str, arguments: dict[str, Any]) -> None:
    name = unique_bucket()
    answer = refused(getattr(s3, operation), Bucket=name, **arguments)
    assert answer.what == (404, "NoSuchBucket")
    assert answer.detail["BucketName"] == name


@pytest.mark.parametrize(("operation", "arguments"), OF_A_BUCKET, ids=[name for name, _ in OF_A_BUCKET])
def test_every_operation__expected_bucket_owner_is_enforced(
    s3: Any, bucket: str, operation: str, arguments: dict[str, Any]
) -> None:
    call = getattr(s3, operation)
    another = refused(call, Bucket=bucket, ExpectedBucketOwner="111122223333", **arguments)
    assert another.what == (403, "AccessDenied")
    malformed = refused(call, Bucket=bucket, ExpectedBucketOwner="me", **arguments)
    assert malformed.what == (400, "InvalidBucketOwnerAWSAccountID")
    assert status(s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=ACCOUNT)) == 200


def test_every_operation__right_owner_is_let_through(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ExpectedBucketOwner=ACCOUNT)
    assert s3.get_object(Bucket=bucket, Key="k", ExpectedBucketOwner=ACCOUNT)["Body"].read() == b"x"


# --- ListBuckets


@pytest.fixture(scope="module")
def three(s3: Any) -> list[str]:
    stem = unique_bucket()
    names = [f"{stem}-{letter}" for letter in "cab"]
    for name in names:
        s3.create_bucket(Bucket=name)
    return sorted(names)


def test_list_buckets__shape(s3: Any, three: list[str]) -> None:
    answer = s3.list_buckets(Prefix=three[0])
    (listed,) = answer["Buckets"]
    assert abs((datetime.now(UTC) - listed.pop("CreationDate")).total_seconds()) < 3600
    assert listed == {"Name": three[0], "BucketRegion": REGION, "BucketArn": f"arn:aws:s3:::{three[0]}"}
    assert answer["Prefix"] == three[0]
    assert len(answer["Owner"]["ID"]) == 64
    assert "ContinuationToken" not in answer


def test_list_buckets__prefix_is_in_order_of_names(s3: Any, three: list[str]) -> None:
    assert [each["Name"] for each in s3.list_buckets(Prefix=three[0][:-1])["Buckets"]] == three


def test_list_buckets__pages_join_without_gap_or_double(s3: Any, three: list[str]) -> None:
    prefix, seen, token = three[0][:-1], [], None
    for expected_last in (False, False, True):
        page = s3.list_buckets(Prefix=prefix, MaxBuckets=1, **({"ContinuationToken": token} if token else {}))
        seen += [each["Name"] for each in page["Buckets"]]
        token = page.get("ContinuationToken")
        assert (token is None) is expected_last
    assert seen == three


@pytest.mark.parametrize("wanted", ["0", "10001", "-1"])
def test_list_buckets__max_buckets_out_of_range_is_400(server: Server, wanted: str) -> None:
    reply = server.send("GET", f"/?max-buckets={wanted}")
    assert (reply.status, reply.code, reply.element("ArgumentName")) == (400, "InvalidArgument", "max-buckets")


def test_list_buckets__another_region_has_none(s3: Any, three: list[str]) -> None:
    assert s3.list_buckets(BucketRegion="eu-west-1", Prefix=three[0])["Buckets"] == []
    assert len(s3.list_buckets(BucketRegion=REGION, Prefix=three[0])["Buckets"]) == 1


# --- DeleteBucket


def test_delete_bucket__is_204_and_gone_at_once(s3: Any, bucket: str) -> None:
    assert status(s3.delete_bucket(Bucket=bucket)) == 204
    assert refused(s3.head_bucket, Bucket=bucket).status == 404
    assert refused(s3.delete_bucket, Bucket=bucket).what == (404, "NoSuchBucket")


def test_delete_bucket__with_an_object_is_409(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k")
    answer = refused(s3.delete_bucket, Bucket=bucket)
    assert answer.what == (409, "BucketNotEmpty")
    assert answer.detail["BucketName"] == bucket
    s3.delete_object(Bucket=bucket, Key="k")
    assert status(s3.delete_bucket(Bucket=bucket)) == 204


def test_delete_bucket__with_only_a_delete_marker_is_409(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    marker = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    assert refused(s3.delete_bucket, Bucket=bucket).what == (409, "BucketNotEmpty")
    s3.delete_object(Bucket=bucket, Key="k", VersionId=marker)
    assert status(s3.delete_bucket(Bucket=bucket)) == 204


def test_delete_bucket__with_an_unfinished_upload_takes_it_along(s3: Any, bucket: str) -> None:
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    s3.upload_part(Bucket=bucket, Key="k", UploadId=upload_id, PartNumber=1, Body=b"part")
    assert status(s3.delete_bucket(Bucket=bucket)) == 204
    s3.create_bucket(Bucket=bucket)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    assert refused(s3.list_parts, Bucket=bucket, Key="k", UploadId=upload_id).what == (404, "NoSuchUpload")


def test_delete_bucket__made_anew_has_none_of_the_old_settings(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    s3.delete_bucket(Bucket=bucket)
    s3.create_bucket(Bucket=bucket)
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    assert refused(s3.get_bucket_tagging, Bucket=bucket).what == (404, "NoSuchTagSet")


@pytest.mark.parametrize(
    ("method", "query"), [("PUT", "encryption"), ("PUT", "tagging"), ("PUT", "versioning"), ("POST", "delete")]
)
def test_a_missing_bucket_is_told_before_what_is_wrong_with_the_document(
    server: Server, method: str, query: str
) -> None:
    reply = server.send(method, f"/{unique_bucket()}?{query}", body=b"no XML")
    assert (reply.status, reply.code) == (404, "NoSuchBucket")
