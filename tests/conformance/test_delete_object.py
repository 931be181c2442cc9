"""DeleteObject and DeleteObjects."""

from typing import Any

import pytest

from tests.conformance.answers import EMPTY_MD5, md5_tag, members, read, refused, status
from tests.harness import Server


def keys(s3: Any, bucket: str) -> list[str]:
    return [each["Key"] for each in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


def put_all(s3: Any, bucket: str, *names: str) -> None:
    for name in names:
        s3.put_object(Bucket=bucket, Key=name, Body=name.encode())


@pytest.fixture
def versioned(s3: Any, bucket: str) -> str:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return bucket


# --- DeleteObject


def test_delete_object__is_204_and_gone_at_once(s3: Any, bucket: str) -> None:
    put_all(s3, bucket, "k")
    answer = s3.delete_object(Bucket=bucket, Key="k")
    assert (status(answer), members(answer)) == (204, {})
    assert refused(s3.get_object, Bucket=bucket, Key="k").what == (404, "NoSuchKey")
    assert keys(s3, bucket) == []


def test_delete_object__missing_key_is_204(s3: Any, bucket: str) -> None:
    assert status(s3.delete_object(Bucket=bucket, Key="missing")) == 204


def test_delete_object__leaves_neighbours_alone(s3: Any, bucket: str) -> None:
    put_all(s3, bucket, "a", "a/", "a/b", "ab")
    s3.delete_object(Bucket=bucket, Key="a/")
    assert keys(s3, bucket) == ["a", "a/b", "ab"]


@pytest.mark.parametrize("condition", ["*", "TAG"])
def test_delete_object__if_match_that_holds_is_204(s3: Any, bucket: str, condition: str) -> None:
    tag = s3.put_object(Bucket=bucket, Key="k")["ETag"]
    assert status(s3.delete_object(Bucket=bucket, Key="k", IfMatch=condition.replace("TAG", tag))) == 204
    assert keys(s3, bucket) == []


def test_delete_object__if_match_that_fails_is_412_and_keeps_it(s3: Any, bucket: str) -> None:
    put_all(s3, bucket, "k")
    answer = refused(s3.delete_object, Bucket=bucket, Key="k", IfMatch=md5_tag(b"other"))
    assert (answer.what, answer.detail["Condition"]) == ((412, "PreconditionFailed"), "If-Match")
    assert read(s3, bucket, "k") == b"k"


def test_delete_object__if_match_on_an_enabled_bucket_looks_at_the_current_version(s3: Any, versioned: str) -> None:
    old = s3.put_object(Bucket=versioned, Key="k", Body=b"old")["ETag"]
    new = s3.put_object(Bucket=versioned, Key="k", Body=b"new")["ETag"]
    assert refused(s3.delete_object, Bucket=versioned, Key="k", IfMatch=old).what == (412, "PreconditionFailed")
    assert s3.delete_object(Bucket=versioned, Key="k", IfMatch=new)["DeleteMarker"] is True


@pytest.mark.parametrize(
    "arguments",
    [{"MFA": "serial 123456"}, {"BypassGovernanceRetention": True}, {"IfMatchSize": 1}],
    ids=lambda arguments: next(iter(arguments)),
)
def test_delete_object__what_is_not_honoured_is_501_and_deletes_nothing(
    s3: Any, bucket: str, arguments: dict[str, Any]
) -> None:
    put_all(s3, bucket, "k")
    assert refused(s3.delete_object, Bucket=bucket, Key="k", **arguments).what == (501, "NotImplemented")
    assert keys(s3, bucket) == ["k"]


# --- DeleteObjects


def delete(s3: Any, bucket: str, *objects: dict[str, Any], **more: Any) -> Any:
    return s3.delete_objects(Bucket=bucket, Delete={"Objects": list(objects), **more})


def test_delete_objects__names_each_that_is_gone_also_those_that_never_were(s3: Any, bucket: str) -> None:
    put_all(s3, bucket, "a", "b", "c")
    answer = delete(s3, bucket, {"Key": "a"}, {"Key": "never"}, {"Key": "c"})
    assert status(answer) == 200
    assert answer["Deleted"] == [{"Key": "a"}, {"Key": "never"}, {"Key": "c"}]
    assert "Errors" not in answer
    assert keys(s3, bucket) == ["b"]


def test_delete_objects__quiet_tells_errors_only(s3: Any, bucket: str) -> None:
    put_all(s3, bucket, "a", "b")
    answer = delete(s3, bucket, {"Key": "a"}, {"Key": "b", "ETag": EMPTY_MD5}, Quiet=True)
    assert "Deleted" not in answer
    assert [(error["Key"], error["Code"]) for error in answer["Errors"]] == [("b", "PreconditionFailed")]
    assert keys(s3, bucket) == ["b"]


def test_delete_objects__odd_keys(s3: Any, bucket: str) -> None:
    names = ["a//b", "<&>\"'", " x ", "ü☃😀", "a\tb", "%2F+", "."]
    put_all(s3, bucket, *names)
    answer = delete(s3, bucket, *({"Key": name} for name in names))
    assert [each["Key"] for each in answer["Deleted"]] == names
    assert keys(s3, bucket) == []


def test_delete_objects__enabled_bucket_gets_markers(s3: Any, versioned: str) -> None:
    put_all(s3, versioned, "a")
    (gone,) = delete(s3, versioned, {"Key": "a"})["Deleted"]
    assert gone["DeleteMarker"] is True
    (marker,) = s3.list_object_versions(Bucket=versioned)["DeleteMarkers"]
    assert gone == {"Key": "a", "DeleteMarker": True, "DeleteMarkerVersionId": marker["VersionId"]}


def test_delete_objects__by_version(s3: Any, versioned: str) -> None:
    made = s3.put_object(Bucket=versioned, Key="a")["VersionId"]
    marker = s3.delete_object(Bucket=versioned, Key="a")["VersionId"]
    answer = delete(s3, versioned, {"Key": "a", "VersionId": marker}, {"Key": "a", "VersionId": made})
    assert answer["Deleted"] == [
        {"Key": "a", "VersionId": marker, "DeleteMarker": True, "DeleteMarkerVersionId": marker},
        {"Key": "a", "VersionId": made},
    ]
    assert "Versions" not in s3.list_object_versions(Bucket=versioned)


def test_delete_objects__version_that_never_was_is_an_error_of_its_own(s3: Any, versioned: str) -> None:
    put_all(s3, versioned, "a", "b")
    answer = delete(s3, versioned, {"Key": "a", "VersionId": "wrong"}, {"Key": "b"})
    (error,) = answer["Errors"]
    assert error == {
        "Key": "a",
        "VersionId": "wrong",
        "Code": "NoSuchVersion",
        "Message": "The specified version does not exist.",
    }
    assert [each["Key"] for each in answer["Deleted"]] == ["b"]


def test_delete_objects__etag_is_a_condition(s3: Any, bucket: str) -> None:
    put_all(s3, bucket, "a", "b")
    answer = delete(s3, bucket, {"Key": "a", "ETag": md5_tag(b"a")}, {"Key": "b", "ETag": md5_tag(b"a")})
    assert answer["Deleted"] == [{"Key": "a"}]
    (error,) = answer["Errors"]
    assert (error["Key"], error["Code"]) == ("b", "PreconditionFailed")
    assert keys(s3, bucket) == ["b"]


@pytest.mark.parametrize("condition", [{"Size": 1}, {"LastModifiedTime": "2030-01-01T00:00:00Z"}])
def test_delete_objects__conditions_of_directory_buckets_are_501_and_delete_nothing(
    s3: Any, bucket: str, condition: dict[str, Any]
) -> None:
    put_all(s3, bucket, "a", "b")
    objects = [{"Key": "a"}, {"Key": "b", **condition}]
    assert refused(s3.delete_objects, Bucket=bucket, Delete={"Objects": objects}).what == (501, "NotImplemented")
    assert keys(s3, bucket) == ["a", "b"]


def test_delete_objects__key_too_long_is_an_error_of_its_own(s3: Any, bucket: str) -> None:
    put_all(s3, bucket, "a")
    answer = delete(s3, bucket, {"Key": "a"}, {"Key": "x" * 1025})
    assert answer["Deleted"] == [{"Key": "a"}]
    assert answer["Errors"][0]["Code"] == "KeyTooLongError"


def test_delete_objects__1000_keys_at_once(s3: Any, bucket: str) -> None:
    put_all(s3, bucket, "key-0007", "key-0999")
    answer = delete(s3, bucket, *({"Key": f"key-{number:04}"} for number in range(1000)))
    assert len(answer["Deleted"]) == 1000
    assert keys(s3, bucket) == []


@pytest.mark.parametrize("count", [0, 1001])
def test_delete_objects__none_or_too_many_is_400_and_deletes_nothing(s3: Any, bucket: str, count: int) -> None:
    put_all(s3, bucket, "key-0")
    objects = [{"Key": f"key-{number}"} for number in range(count)]
    assert refused(s3.delete_objects, Bucket=bucket, Delete={"Objects": objects}).what == (400, "MalformedXML")
    assert keys(s3, bucket) == ["key-0"]


def test_delete_objects__without_a_digest_is_400(server: Server, s3: Any, bucket: str) -> None:
    put_all(s3, bucket, "a")
    document = b"<Delete><Object><Key>a</Key></Object></Delete>"
    reply = server.send("POST", f"/{bucket}?delete", body=document)
    assert (reply.status, reply.code) == (400, "InvalidRequest")
    assert reply.element("Message") == "Missing required header for this request: Content-MD5"
    wrong = server.send("POST", f"/{bucket}?delete", body=document, headers={"content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="})
    assert (wrong.status, wrong.code) == (400, "BadDigest")
    assert keys(s3, bucket) == ["a"]


def test_delete_objects__post_that_is_no_form_is_412(server: Server, bucket: str) -> None:
    reply = server.send("POST", f"/{bucket}", body=b"x", headers={"content-type": "text/html"})
    assert (reply.status, reply.code) == (412, "PreconditionFailed")
    assert reply.element("Condition") == "Bucket POST must be of the enclosure-type multipart/form-data"
