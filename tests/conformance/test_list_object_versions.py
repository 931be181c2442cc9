"""ListObjectVersions."""

from typing import Any

import pytest

from tests.conformance.answers import md5_tag, refused
from tests.harness import Server, unique_bucket

Row = tuple[str, str]


@pytest.fixture(scope="module")
def history(s3: Any) -> tuple[str, list[Row]]:
    """A bucket, and (key, version id) of all it has, in the order in which it must be listed."""
    bucket = unique_bucket()
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="b", Body=b"null")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    made: dict[str, list[str]] = {"b": ["null"]}
    for key in ("a", "b", "b", "c/1", "c/2", "c/2", "d", "é"):
        made.setdefault(key, []).append(s3.put_object(Bucket=bucket, Key=key, Body=key.encode())["VersionId"])
    for key in ("b", "d"):
        made[key].append(s3.delete_object(Bucket=bucket, Key=key)["VersionId"])
    made["b"].append(s3.put_object(Bucket=bucket, Key="b", Body=b"last")["VersionId"])
    return bucket, [(key, each) for key in sorted(made) for each in reversed(made[key])]


def rows(page: Any) -> list[Row]:
    """What a page lists, kinds apart: versions first, then delete markers."""
    return [(e["Key"], e["VersionId"]) for kind in ("Versions", "DeleteMarkers") for e in page.get(kind, [])]


def test_list__everything_newest_first_within_a_key(s3: Any, history: tuple[str, list[Row]]) -> None:
    bucket, expected = history
    page = s3.list_object_versions(Bucket=bucket)
    assert sorted(rows(page)) == sorted(expected)
    versions = [(e["Key"], e["VersionId"]) for e in page["Versions"]]
    assert versions == [row for row in expected if row in versions]
    assert (page["Name"], page["KeyMarker"], page["VersionIdMarker"], page["MaxKeys"]) == (bucket, "", "", 1000)
    assert page["IsTruncated"] is False
    assert "NextKeyMarker" not in page


def test_list__exactly_the_first_of_each_key_is_latest(s3: Any, history: tuple[str, list[Row]]) -> None:
    bucket, expected = history
    page = s3.list_object_versions(Bucket=bucket)
    latest = {(e["Key"], e["VersionId"]) for kind in ("Versions", "DeleteMarkers") for e in page[kind] if e["IsLatest"]}
    first = dict(reversed(expected))
    assert latest == set(first.items())


def test_list__entries(s3: Any, history: tuple[str, list[Row]]) -> None:
    bucket, expected = history
    page = s3.list_object_versions(Bucket=bucket, Prefix="d")
    (version,), (marker,) = page["Versions"], page["DeleteMarkers"]
    assert len(version.pop("Owner")["ID"]) == len(marker.pop("Owner")["ID"]) == 64
    del version["LastModified"], marker["LastModified"]
    ids = [version_id for key, version_id in expected if key == "d"]
    assert marker == {"Key": "d", "VersionId": ids[0], "IsLatest": True}
    assert version == {
        "Key": "d",
        "VersionId": ids[1],
        "IsLatest": False,
        "ETag": md5_tag(b"d"),
        "Size": 1,
        "StorageClass": "STANDARD",
        "ChecksumAlgorithm": ["CRC32"],
        "ChecksumType": "FULL_OBJECT",
    }


@pytest.mark.parametrize("wanted", [1, 2, 3, 10, 11, 12])
def test_list__pages_join_without_gap_or_double(s3: Any, history: tuple[str, list[Row]], wanted: int) -> None:
    bucket, expected = history
    seen: list[Row] = []
    more: dict[str, str] = {}
    for _ in range(len(expected) + 1):
        page = s3.list_object_versions(Bucket=bucket, MaxKeys=wanted, **more)
        found = rows(page)
        assert len(found) <= wanted
        assert sorted(found) == sorted(expected[len(seen) : len(seen) + len(found)])
        seen += found
        if not page["IsTruncated"]:
            break
        assert (page["NextKeyMarker"], page["NextVersionIdMarker"]) == expected[len(seen) - 1]
        more = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}
    assert sorted(seen) == sorted(expected)


def test_list__is_latest_is_right_in_the_middle_of_a_key(s3: Any, history: tuple[str, list[Row]]) -> None:
    bucket, expected = history
    first, second, *_ = [version_id for key, version_id in expected if key == "b"]
    page = s3.list_object_versions(Bucket=bucket, KeyMarker="b", VersionIdMarker=first, MaxKeys=1)
    assert rows(page) == [("b", second)]
    assert [e["IsLatest"] for kind in ("Versions", "DeleteMarkers") for e in page.get(kind, [])] == [False]


def test_list__key_marker_alone_goes_on_behind_all_versions_of_that_key(
    s3: Any, history: tuple[str, list[Row]]
) -> None:
    bucket, expected = history
    page = s3.list_object_versions(Bucket=bucket, KeyMarker="b")
    assert sorted(rows(page)) == sorted(row for row in expected if row[0] > "b")


def test_list__goes_on_behind_a_version_that_is_gone(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    made = [s3.put_object(Bucket=bucket, Key="k")["VersionId"] for _ in range(3)]
    page = s3.list_object_versions(Bucket=bucket, MaxKeys=2)
    s3.delete_object(Bucket=bucket, Key="k", VersionId=page["NextVersionIdMarker"])
    rest = s3.list_object_versions(
        Bucket=bucket, KeyMarker=page["NextKeyMarker"], VersionIdMarker=page["NextVersionIdMarker"]
    )
    assert rows(rest) == [("k", made[0])]


def test_list__prefix_and_delimiter(s3: Any, history: tuple[str, list[Row]]) -> None:
    bucket, expected = history
    page = s3.list_object_versions(Bucket=bucket, Delimiter="/")
    assert [each["Prefix"] for each in page["CommonPrefixes"]] == ["c/"]
    assert sorted(rows(page)) == sorted(row for row in expected if not row[0].startswith("c/"))
    inside = s3.list_object_versions(Bucket=bucket, Prefix="c/", Delimiter="/")
    assert rows(inside) == [row for row in expected if row[0].startswith("c/")]
    assert "CommonPrefixes" not in inside


def test_list__a_common_prefix_at_the_end_of_a_page(s3: Any, history: tuple[str, list[Row]]) -> None:
    bucket, expected = history
    before = len([row for row in expected if row[0] < "c/"])
    page = s3.list_object_versions(Bucket=bucket, Delimiter="/", MaxKeys=before + 1)
    assert page["NextKeyMarker"] == "c/"
    assert "NextVersionIdMarker" not in page
    rest = s3.list_object_versions(Bucket=bucket, Delimiter="/", KeyMarker="c/")
    assert sorted(rows(rest)) == sorted(row for row in expected if row[0] >= "d")


def test_list__max_keys_0_is_empty_and_not_truncated(s3: Any, history: tuple[str, list[Row]]) -> None:
    page = s3.list_object_versions(Bucket=history[0], MaxKeys=0)
    assert (rows(page), page["IsTruncated"]) == ([], False)


def test_list__version_marker_without_key_marker_is_400(s3: Any, history: tuple[str, list[Row]]) -> None:
    answer = refused(s3.list_object_versions, Bucket=history[0], VersionIdMarker="null")
    assert (answer.what, answer.detail["ArgumentName"]) == ((400, "InvalidArgument"), "version-id-marker")
    assert answer.message == "A version-id marker cannot be specified without a key marker."


def test_list__version_marker_that_never_was_one_is_400(s3: Any, history: tuple[str, list[Row]]) -> None:
    answer = refused(s3.list_object_versions, Bucket=history[0], KeyMarker="b", VersionIdMarker="wrong")
    assert answer.what == (400, "InvalidArgument")


def test_list__unversioned_bucket_has_null_versions(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k")
    (entry,) = s3.list_object_versions(Bucket=bucket)["Versions"]
    assert (entry["VersionId"], entry["IsLatest"]) == ("null", True)


def test_encoding_type_url__encodes_keys(server: Server, s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a b\x01ü")
    text = server.send("GET", f"/{bucket}?versions&encoding-type=url&prefix=a%20").body.decode()
    assert "<Key>a%20b%01%C3%BC</Key>" in text
    assert "<Prefix>a%20</Prefix>" in text


def test_list__paginator_sees_everything_once(s3: Any, history: tuple[str, list[Row]]) -> None:
    bucket, expected = history
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, PaginationConfig={"PageSize": 4})
    assert sorted(row for page in pages for row in rows(page)) == sorted(expected)
