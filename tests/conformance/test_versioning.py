"""PutBucketVersioning, GetBucketVersioning, and what versions, null versions and delete markers do to each other."""

from typing import Any

import pytest

from tests.conformance.answers import complete, read, refused, status, upload
from tests.harness import Server


def switch(s3: Any, bucket: str, state: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": state})


@pytest.fixture
def versioned(s3: Any, bucket: str) -> str:
    switch(s3, bucket, "Enabled")
    return bucket


def put(s3: Any, bucket: str, body: bytes, key: str = "k") -> str:
    """Write it; its version id, "null" where the answer names none."""
    version_id: str = s3.put_object(Bucket=bucket, Key=key, Body=body).get("VersionId", "null")
    return version_id


def listed(s3: Any, bucket: str) -> list[tuple[str, str, bool]]:
    """(version id, kind, is latest) of every version of every key, newest first within a key."""
    answer = s3.list_object_versions(Bucket=bucket)
    entries = [
        (entry["Key"], -entry["LastModified"].timestamp(), entry["VersionId"], kind, entry["IsLatest"])
        for kind in ("Versions", "DeleteMarkers")
        for entry in answer.get(kind, [])
    ]
    return sorted((version_id, kind, latest) for _, _, version_id, kind, latest in entries)


# --- the setting


def test_get_bucket_versioning__never_set_has_no_status(s3: Any, bucket: str) -> None:
    answer = s3.get_bucket_versioning(Bucket=bucket)
    assert "Status" not in answer
    assert "MFADelete" not in answer


@pytest.mark.parametrize("state", ["Enabled", "Suspended"])
def test_put_bucket_versioning__is_read_back(s3: Any, bucket: str, state: str) -> None:
    answer = s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": state})
    assert status(answer) == 200
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == state


def test_put_bucket_versioning__without_status_is_400(s3: Any, bucket: str) -> None:
    answer = refused(s3.put_bucket_versioning, Bucket=bucket, VersioningConfiguration={})
    assert answer.what == (400, "IllegalVersioningConfigurationException")
    assert answer.message == "The Versioning element must be specified"


@pytest.mark.parametrize("state", ["enabled", "Disabled", ""])
def test_put_bucket_versioning__unknown_status_is_400(server: Server, s3: Any, bucket: str, state: str) -> None:
    body = f"<VersioningConfiguration><Status>{state}</Status></VersioningConfiguration>".encode()
    reply = server.send("PUT", f"/{bucket}?versioning", body=body)
    assert reply.status == 400
    assert reply.code in ("MalformedXML", "IllegalVersioningConfigurationException")
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)


def test_put_bucket_versioning__mfa_delete_is_501_and_changes_nothing(s3: Any, bucket: str) -> None:
    wanted = {"Status": "Enabled", "MFADelete": "Enabled"}
    assert refused(s3.put_bucket_versioning, Bucket=bucket, VersioningConfiguration=wanted).what == (
        501,
        "NotImplemented",
    )
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)


def test_put_bucket_versioning__mfa_delete_disabled_is_accepted(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled", "MFADelete": "Disabled"})
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"


# --- which answers name a version


def test_version_id__never_versioned_bucket_names_none(s3: Any, bucket: str) -> None:
    assert "VersionId" not in s3.put_object(Bucket=bucket, Key="k")
    assert "VersionId" not in s3.head_object(Bucket=bucket, Key="k")
    assert "VersionId" not in s3.get_object_tagging(Bucket=bucket, Key="k")
    assert "VersionId" not in s3.delete_object(Bucket=bucket, Key="k")


def test_version_id__enabled_bucket_names_it_everywhere(s3: Any, versioned: str) -> None:
    made = s3.put_object(Bucket=versioned, Key="k")["VersionId"]
    assert s3.head_object(Bucket=versioned, Key="k")["VersionId"] == made
    assert s3.get_object(Bucket=versioned, Key="k")["VersionId"] == made
    assert s3.get_object_tagging(Bucket=versioned, Key="k")["VersionId"] == made
    tags = {"TagSet": [{"Key": "a", "Value": "b"}]}
    assert s3.put_object_tagging(Bucket=versioned, Key="k", Tagging=tags)["VersionId"] == made
    assert s3.delete_object_tagging(Bucket=versioned, Key="k")["VersionId"] == made
    attributes = s3.get_object_attributes(Bucket=versioned, Key="k", ObjectAttributes=["ETag"])
    assert attributes["VersionId"] == made


def test_version_id__suspended_bucket_names_null_on_reads_but_not_on_put(s3: Any, bucket: str) -> None:
    switch(s3, bucket, "Suspended")
    assert "VersionId" not in s3.put_object(Bucket=bucket, Key="k")
    assert s3.head_object(Bucket=bucket, Key="k")["VersionId"] == "null"
    assert s3.get_object(Bucket=bucket, Key="k")["VersionId"] == "null"


def test_version_id__suspended_bucket_names_none_on_complete(s3: Any, bucket: str) -> None:
    switch(s3, bucket, "Suspended")
    upload_id, parts = upload(s3, bucket, "k", {1: b"part"})
    assert "VersionId" not in complete(s3, bucket, "k", upload_id, parts)
    assert s3.head_object(Bucket=bucket, Key="k")["VersionId"] == "null"


def test_version_id__suspended_bucket_names_null_on_copy(s3: Any, bucket: str) -> None:
    switch(s3, bucket, "Suspended")
    put(s3, bucket, b"x", "from")
    answer = s3.copy_object(Bucket=bucket, Key="to", CopySource={"Bucket": bucket, "Key": "from"})
    assert (answer["VersionId"], answer["CopySourceVersionId"]) == ("null", "null")


def test_version_id__complete_in_enabled_bucket_names_it(s3: Any, versioned: str) -> None:
    upload_id, parts = upload(s3, versioned, "k", {1: b"part"})
    made = complete(s3, versioned, "k", upload_id, parts)["VersionId"]
    assert s3.head_object(Bucket=versioned, Key="k")["VersionId"] == made


# --- Enabled


def test_enabled__every_write_is_a_version_and_the_last_is_current(s3: Any, versioned: str) -> None:
    made = [put(s3, versioned, body) for body in (b"1", b"2", b"3")]
    assert len(set(made)) == 3
    assert read(s3, versioned, "k") == b"3"
    assert [read(s3, versioned, "k", VersionId=each) for each in made] == [b"1", b"2", b"3"]


def test_enabled__delete_hides_behind_a_marker(s3: Any, versioned: str) -> None:
    made = put(s3, versioned, b"1")
    deleted = s3.delete_object(Bucket=versioned, Key="k")
    assert deleted["DeleteMarker"] is True
    assert status(deleted) == 204
    answer = refused(s3.get_object, Bucket=versioned, Key="k")
    assert answer.what == (404, "NoSuchKey")
    assert answer.headers["x-amz-delete-marker"] == "true"
    assert answer.headers["x-amz-version-id"] == deleted["VersionId"]
    assert read(s3, versioned, "k", VersionId=made) == b"1"
    assert "Contents" not in s3.list_objects_v2(Bucket=versioned)


def test_enabled__delete_of_what_never_was_makes_a_marker_too(s3: Any, versioned: str) -> None:
    answer = s3.delete_object(Bucket=versioned, Key="never")
    assert answer["DeleteMarker"] is True
    assert listed(s3, versioned) == [(answer["VersionId"], "DeleteMarkers", True)]


def test_enabled__delete_of_the_marker_brings_the_object_back(s3: Any, versioned: str) -> None:
    put(s3, versioned, b"1")
    marker = s3.delete_object(Bucket=versioned, Key="k")["VersionId"]
    answer = s3.delete_object(Bucket=versioned, Key="k", VersionId=marker)
    assert (answer["DeleteMarker"], answer["VersionId"]) == (True, marker)
    assert read(s3, versioned, "k") == b"1"


def test_enabled__delete_of_the_current_version_uncovers_the_one_before(s3: Any, versioned: str) -> None:
    first, second = put(s3, versioned, b"1"), put(s3, versioned, b"2")
    answer = s3.delete_object(Bucket=versioned, Key="k", VersionId=second)
    assert answer["VersionId"] == second
    assert "DeleteMarker" not in answer
    assert read(s3, versioned, "k") == b"1"
    assert listed(s3, versioned) == [(first, "Versions", True)]


def test_enabled__delete_of_an_older_version_leaves_the_current_one(s3: Any, versioned: str) -> None:
    first, second = put(s3, versioned, b"1"), put(s3, versioned, b"2")
    s3.delete_object(Bucket=versioned, Key="k", VersionId=first)
    assert read(s3, versioned, "k") == b"2"
    assert refused(s3.get_object, Bucket=versioned, Key="k", VersionId=first).what == (404, "NoSuchVersion")
    assert listed(s3, versioned) == [(second, "Versions", True)]


def test_enabled__delete_of_a_version_that_is_gone_is_204(s3: Any, versioned: str) -> None:
    made = put(s3, versioned, b"1")
    for _ in range(2):
        answer = s3.delete_object(Bucket=versioned, Key="k", VersionId=made)
        assert (status(answer), answer["VersionId"]) == (204, made)


@pytest.mark.parametrize("operation", ["get_object", "head_object"])
def test_enabled__a_marker_by_its_id_is_405(s3: Any, versioned: str, operation: str) -> None:
    marker = s3.delete_object(Bucket=versioned, Key="k")["VersionId"]
    answer = refused(getattr(s3, operation), Bucket=versioned, Key="k", VersionId=marker)
    assert answer.status == 405
    assert answer.headers["allow"] == "DELETE"
    assert answer.headers["x-amz-delete-marker"] == "true"
    assert "last-modified" in answer.headers
    if operation == "get_object":
        assert (answer.code, answer.detail["Method"], answer.detail["ResourceType"]) == (
            "MethodNotAllowed",
            "GET",
            "DeleteMarker",
        )


def test_enabled__unversioned_object_becomes_the_null_version(s3: Any, bucket: str) -> None:
    put(s3, bucket, b"old")
    switch(s3, bucket, "Enabled")
    assert s3.head_object(Bucket=bucket, Key="k")["VersionId"] == "null"
    made = put(s3, bucket, b"new")
    assert read(s3, bucket, "k", VersionId="null") == b"old"
    assert listed(s3, bucket) == sorted([(made, "Versions", True), ("null", "Versions", False)])


# --- Suspended


def test_suspended__write_replaces_the_null_version_only(s3: Any, versioned: str) -> None:
    kept = put(s3, versioned, b"kept")
    switch(s3, versioned, "Suspended")
    put(s3, versioned, b"first null")
    put(s3, versioned, b"second null")
    assert read(s3, versioned, "k") == b"second null"
    assert read(s3, versioned, "k", VersionId=kept) == b"kept"
    assert listed(s3, versioned) == sorted([("null", "Versions", True), (kept, "Versions", False)])


def test_suspended__write_replaces_a_null_version_that_lies_deeper(s3: Any, bucket: str) -> None:
    put(s3, bucket, b"old null")
    switch(s3, bucket, "Enabled")
    kept = put(s3, bucket, b"kept")
    switch(s3, bucket, "Suspended")
    put(s3, bucket, b"new null")
    assert listed(s3, bucket) == sorted([("null", "Versions", True), (kept, "Versions", False)])
    assert read(s3, bucket, "k", VersionId="null") == b"new null"


def test_suspended__delete_puts_a_null_marker_in_place_of_the_null_version(s3: Any, bucket: str) -> None:
    put(s3, bucket, b"null")
    switch(s3, bucket, "Enabled")
    kept = put(s3, bucket, b"kept")
    switch(s3, bucket, "Suspended")
    answer = s3.delete_object(Bucket=bucket, Key="k")
    assert (answer["DeleteMarker"], answer["VersionId"]) == (True, "null")
    assert listed(s3, bucket) == sorted([("null", "DeleteMarkers", True), (kept, "Versions", False)])
    s3.delete_object(Bucket=bucket, Key="k")
    assert listed(s3, bucket) == sorted([("null", "DeleteMarkers", True), (kept, "Versions", False)])


def test_suspended__write_replaces_a_null_marker(s3: Any, bucket: str) -> None:
    switch(s3, bucket, "Suspended")
    s3.delete_object(Bucket=bucket, Key="k")
    put(s3, bucket, b"back")
    assert listed(s3, bucket) == [("null", "Versions", True)]
    assert read(s3, bucket, "k") == b"back"


def test_suspended__delete_by_version_removes_for_good(s3: Any, versioned: str) -> None:
    made = put(s3, versioned, b"1")
    switch(s3, versioned, "Suspended")
    put(s3, versioned, b"null")
    assert s3.delete_object(Bucket=versioned, Key="k", VersionId="null")["VersionId"] == "null"
    assert read(s3, versioned, "k") == b"1"
    s3.delete_object(Bucket=versioned, Key="k", VersionId=made)
    assert listed(s3, versioned) == []


def test_suspended_and_enabled_again__null_version_stays_beside_new_ones(s3: Any, bucket: str) -> None:
    switch(s3, bucket, "Suspended")
    put(s3, bucket, b"null")
    switch(s3, bucket, "Enabled")
    made = put(s3, bucket, b"new")
    assert read(s3, bucket, "k", VersionId="null") == b"null"
    marker = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    assert marker not in ("null", made)
    assert listed(s3, bucket) == sorted(
        [(marker, "DeleteMarkers", True), (made, "Versions", False), ("null", "Versions", False)]
    )


# --- version ids


BY_VERSION = [
    ("get_object", {}),
    ("head_object", {}),
    ("get_object_attributes", {"ObjectAttributes": ["ETag"]}),
    ("get_object_tagging", {}),
    ("put_object_tagging", {"Tagging": {"TagSet": []}}),
    ("delete_object_tagging", {}),
]


@pytest.mark.parametrize(("operation", "arguments"), BY_VERSION, ids=[name for name, _ in BY_VERSION])
def test_version_id__that_does_not_exist_is_404(
    s3: Any, versioned: str, operation: str, arguments: dict[str, Any]
) -> None:
    gone = put(s3, versioned, b"1")
    s3.delete_object(Bucket=versioned, Key="k", VersionId=gone)
    put(s3, versioned, b"2")
    answer = refused(getattr(s3, operation), Bucket=versioned, Key="k", VersionId=gone, **arguments)
    assert answer.status == 404
    if operation != "head_object":
        assert (answer.code, answer.detail["VersionId"]) == ("NoSuchVersion", gone)


@pytest.mark.parametrize("malformed", ["wrong", "0" * 31, "Z" * 32, "ABCD" * 8, "../x"])
def test_version_id__that_never_was_one_is_400(s3: Any, versioned: str, malformed: str) -> None:
    put(s3, versioned, b"1")
    answer = refused(s3.get_object, Bucket=versioned, Key="k", VersionId=malformed)
    assert answer.what == (400, "InvalidArgument")
    assert answer.message == "Invalid version id specified"
    assert (answer.detail["ArgumentName"], answer.detail["ArgumentValue"]) == ("versionId", malformed)
    assert refused(s3.delete_object, Bucket=versioned, Key="k", VersionId=malformed).what == (400, "InvalidArgument")


def test_version_id__empty_is_400_and_deletes_nothing(server: Server, s3: Any, versioned: str) -> None:
    put(s3, versioned, b"1")
    for method in ("GET", "DELETE"):
        reply = server.send(method, f"/{versioned}/k?versionId=")
        assert (reply.status, reply.code) == (400, "InvalidArgument")
        assert reply.element("Message") == "Version id cannot be the empty string"
    assert read(s3, versioned, "k") == b"1"


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_version_id__on_a_write_is_400(server: Server, s3: Any, versioned: str, method: str) -> None:
    made = put(s3, versioned, b"1")
    query = "versionId" if method == "PUT" else "uploads&versionId"
    reply = server.send(method, f"/{versioned}/k?{query}={made}", body=b"")
    assert (reply.status, reply.code) == (400, "InvalidArgument")
    assert read(s3, versioned, "k") == b"1"


def test_version_id__of_another_key_is_404(s3: Any, versioned: str) -> None:
    mine = put(s3, versioned, b"1", "mine")
    put(s3, versioned, b"2", "other")
    assert refused(s3.get_object, Bucket=versioned, Key="other", VersionId=mine).what == (404, "NoSuchVersion")
