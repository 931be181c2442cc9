"""All 116 operations of the official model: built ones are named, every other one is 501 and changes nothing.

Requests are made from the model itself, so that an operation which a later model adds fails here until somebody decides
about it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from botocore.exceptions import ClientError

from strongroom.aws.model import load_s3_model
from strongroom.s3.members import HONOURED, IGNORED, REFUSED
from strongroom.s3.service import OPERATIONS
from tests.harness import Server, unique_bucket

SERVICE_MODEL = botocore.session.get_session().get_service_model("s3")
MODEL = load_s3_model()
PAGE = Path(__file__).parents[2] / "docs" / "s3-compatibility.md"
NOT_BUILT = sorted(set(SERVICE_MODEL.operation_names) - set(OPERATIONS))
SUBRESOURCES = sorted({name for operation in MODEL.operations.values() for name, _ in operation.query})
FOREIGN = ["append", "compose", "defaultObjectAcl", "extract", "quota", "storageClass"]
BUILT_REQUESTS = {
    (operation.method, operation.path, name)
    for built in OPERATIONS
    for operation in [MODEL.operations[built]]
    for name, _ in operation.query
}


@pytest.fixture(scope="module")
def client(server: Server) -> Any:
    return server.s3(inject_host_prefix=False)


@pytest.fixture(scope="module")
def empty_bucket(s3: Any) -> str:
    name = unique_bucket()
    s3.create_bucket(Bucket=name)
    return name


def minimal(shape: Any, bucket: str) -> Any:
    """The least that the client lets pass as a value of `shape`."""
    match shape.type_name:
        case "structure":
            named = shape.required_members or (list(shape.members)[:1] if shape.is_tagged_union else [])
            given = {name: minimal(shape.members[name], bucket) for name in named}
            return given | {name: value for name, value in (("Bucket", bucket), ("Key", "kept")) if name in given}
        case "list":
            return [minimal(shape.member, bucket)]
        case "map":
            return {}
        case "integer" | "long":
            return 1
        case "boolean":
            return False
        case "timestamp":
            return datetime(2030, 1, 1, tzinfo=UTC)
        case "blob":
            return b"x"
        case _:
            return shape.enum[0] if shape.enum else "x" * max(1, shape.metadata.get("min", 1))


def state(s3: Any, bucket: str) -> Any:
    """Everything that a client can see of a bucket."""
    versions = s3.list_object_versions(Bucket=bucket)
    seen = [
        (entry["Key"], entry["VersionId"], entry["LastModified"], entry.get("ETag"))
        for kind in ("Versions", "DeleteMarkers")
        for entry in versions.get(kind, [])
    ]
    objects = []
    for key, version_id, _, etag in seen:
        if etag is not None:
            named = {"Bucket": bucket, "Key": key, "VersionId": version_id}
            found = s3.get_object(**named)
            objects.append((found["Body"].read(), found["Metadata"], s3.get_object_tagging(**named)["TagSet"]))
    try:
        tags = s3.get_bucket_tagging(Bucket=bucket)["TagSet"]
    except ClientError as error:
        tags = error.response["Error"]["Code"]
    return (
        seen,
        objects,
        tags,
        s3.get_bucket_versioning(Bucket=bucket).get("Status"),
        s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"],
        [upload["UploadId"] for upload in s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])],
    )


@dataclass(frozen=True)
class Furnished:
    """A bucket with one of everything that can be set, and how it looked then."""

    name: str
    state: Any


@pytest.fixture(scope="module")
def furnished(s3: Any) -> Furnished:
    bucket = unique_bucket()
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    s3.put_object(Bucket=bucket, Key="kept", Body=b"kept", Metadata={"kept": "yes"}, Tagging="kept=yes")
    s3.create_multipart_upload(Bucket=bucket, Key="unfinished")
    return Furnished(bucket, state(s3, bucket))


@pytest.mark.parametrize("operation", NOT_BUILT)
def test_operation_that_is_not_built_is_501_and_changes_nothing(
    operation: str, client: Any, s3: Any, furnished: Furnished
) -> None:
    arguments = minimal(SERVICE_MODEL.operation_model(operation).input_shape, furnished.name)
    with pytest.raises(ClientError) as caught:
        getattr(client, xform_name(operation))(**arguments)
    answer = caught.value.response
    assert (answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]) == (501, "NotImplemented")
    assert answer["Error"]["Message"]
    assert state(s3, furnished.name) == furnished.state


@pytest.mark.parametrize("name", [*SUBRESOURCES, *FOREIGN])
def test_subresource_never_falls_through_to_the_bucket_or_the_object(
    name: str, server: Server, s3: Any, empty_bucket: str, furnished: Furnished
) -> None:
    """ceph#36264: DELETE /bucket?encryption deleted the bucket."""
    query = {"list-type": "list-type=2", "select-type": "select-type=2"}.get(name, name)
    for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        for path, level in ((f"/{empty_bucket}", "/{Bucket}"), (f"/{furnished.name}/kept", "/{Bucket}/{Key+}")):
            if (method, level, name) not in BUILT_REQUESTS:
                reply = server.send(method, f"{path}?{query}")
                assert reply.status in (400, 405, 501), (method, path)
        s3.head_bucket(Bucket=empty_bucket)
    assert state(s3, furnished.name) == furnished.state


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_unknown_subresource_of_a_bucket_is_refused_and_changes_nothing(
    method: str, server: Server, s3: Any, empty_bucket: str
) -> None:
    assert server.send(method, f"/{empty_bucket}?nonsense").status in (400, 405, 412, 501)
    s3.head_bucket(Bucket=empty_bucket)
    unmade = unique_bucket()
    assert server.send(method, f"/{unmade}?nonsense").status in (400, 404, 405, 412, 501)
    assert server.send("HEAD", f"/{unmade}").status == 404


def test_unknown_subresource_of_an_object_does_not_delete_it(server: Server, s3: Any, furnished: Furnished) -> None:
    assert server.send("DELETE", f"/{furnished.name}/kept?nonsense").status == 400
    assert state(s3, furnished.name) == furnished.state


# --- the tables, and the page that shows them


def rows(heading: str) -> Iterator[list[str]]:
    """The cells of the table under a heading of the page, without its own head."""
    section = PAGE.read_text().split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    for line in lines:
        yield [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split(" | ")]


def operations_in(cell: str) -> set[str]:
    """`A, B`, or `all but A, B`."""
    excluded = cell.startswith("all but ")
    named = set(cell.removeprefix("all but ").split(", "))
    return set(OPERATIONS) - named if excluded else named


def built_members() -> dict[str, set[str]]:
    """Member -> the operations that are built and have it."""
    found: dict[str, set[str]] = {}
    for operation in OPERATIONS:
        shape = SERVICE_MODEL.operation_model(operation).input_shape
        for name in shape.members if shape else ():
            found.setdefault(name, set()).add(operation)
    return found


def test_operations_are_of_the_model() -> None:
    assert set(OPERATIONS) < set(SERVICE_MODEL.operation_names) == set(MODEL.operations)
    assert len(SERVICE_MODEL.operation_names) == 116


def test_members_are_complete_and_without_surplus() -> None:
    assert set(built_members()) == HONOURED | set(IGNORED) | set(REFUSED)
    assert len(HONOURED) + len(IGNORED) + len(REFUSED) == len(built_members())


def test_page_lists_every_operation_as_it_is() -> None:
    listed = {name: status for name, status, *_ in rows("Operations")}
    expected = dict.fromkeys(OPERATIONS, "implemented") | dict.fromkeys(NOT_BUILT, "501")
    assert listed == expected
    assert list(listed) == sorted(listed)


def test_page_lists_every_member_as_it_is() -> None:
    listed = {name: (treatment, operations) for name, treatment, operations, *_ in rows("Input members")}
    treatments = dict.fromkeys(HONOURED, "honoured") | dict.fromkeys(IGNORED, "ignored") | dict.fromkeys(REFUSED, "501")
    assert {name: treatment for name, (treatment, _) in listed.items()} == treatments
    for name, operations in built_members().items():
        assert operations == operations_in(listed[name][1]), name
    assert list(listed) == sorted(listed)


def test_page_gives_the_reason_of_every_ignored_member() -> None:
    reasons = {name: reason for name, treatment, _, reason in rows("Input members") if treatment == "ignored"}
    assert reasons == IGNORED
