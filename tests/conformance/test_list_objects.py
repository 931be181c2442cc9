"""ListObjects and ListObjectsV2."""

from typing import Any

import pytest

from tests.conformance.answers import md5_tag, refused
from tests.harness import Server, unique_bucket

KEYS = ["a", "b/1", "b/2", "b/c/3", "b0", "c//d", "c/d", "d d", "z", "é", "\U0001f600", "\uffff"]
ORDERED = sorted(KEYS, key=str.encode)


@pytest.fixture(scope="module")
def bucket(s3: Any) -> str:
    name = unique_bucket()
    s3.create_bucket(Bucket=name)
    for key in KEYS:
        s3.put_object(Bucket=name, Key=key, Body=key.encode(), ChecksumAlgorithm="SHA256")
    return name


@pytest.fixture(params=["list_objects", "list_objects_v2"])
def listing(request: pytest.FixtureRequest, s3: Any) -> Any:
    """Either of the two, for what they have in common."""
    return getattr(s3, request.param)


def entries(page: Any) -> list[str]:
    """Keys and common prefixes together, in order."""
    keys = [each["Key"] for each in page.get("Contents", [])]
    prefixes = [each["Prefix"] for each in page.get("CommonPrefixes", [])]
    return sorted([*keys, *prefixes], key=str.encode)


# --- what both have


def test_list__keys_are_in_order_of_their_utf8_bytes(listing: Any, bucket: str) -> None:
    page = listing(Bucket=bucket)
    assert [each["Key"] for each in page["Contents"]] == ORDERED
    assert page["IsTruncated"] is False
    assert (page["Name"], page["MaxKeys"], page.get("Prefix", "")) == (bucket, 1000, "")


def test_list__entry(s3: Any, listing: Any, bucket: str) -> None:
    (entry,) = listing(Bucket=bucket, Prefix="b/1")["Contents"]
    entry.pop("Owner", None)
    assert entry == {
        "Key": "b/1",
        "LastModified": s3.head_object(Bucket=bucket, Key="b/1")["LastModified"],
        "ETag": md5_tag(b"b/1"),
        "Size": 3,
        "StorageClass": "STANDARD",
        "ChecksumAlgorithm": ["SHA256"],
        "ChecksumType": "FULL_OBJECT",
    }


@pytest.mark.parametrize(
    ("prefix", "delimiter", "keys", "prefixes"),
    [
        ("", "/", ["a", "b0", "d d", "z", "é", "\uffff", "\U0001f600"], ["b/", "c/"]),
        ("b", "/", ["b0"], ["b/"]),
        ("b/", "/", ["b/1", "b/2"], ["b/c/"]),
        ("b/", "", ["b/1", "b/2", "b/c/3"], []),
        ("b/c", "/", [], ["b/c/"]),
        ("c/", "/", ["c/d"], ["c//"]),
        ("c", "//", ["c/d"], ["c//"]),
        ("", " ", [key for key in ORDERED if key != "d d"], ["d "]),
        ("", "b", [key for key in ORDERED if "b" not in key], ["b"]),
        ("nothing", "/", [], []),
        ("a", "", ["a"], []),
        ("/", "/", [], []),
        ("é", "", ["é"], []),
        ("\U0001f600", "", ["\U0001f600"], []),
    ],
)
def test_list__prefix_and_delimiter(
    listing: Any, bucket: str, prefix: str, delimiter: str, keys: list[str], prefixes: list[str]
) -> None:
    page = listing(Bucket=bucket, Prefix=prefix, Delimiter=delimiter)
    assert [each["Key"] for each in page.get("Contents", [])] == keys
    assert [each["Prefix"] for each in page.get("CommonPrefixes", [])] == prefixes
    assert page.get("Delimiter", "") == delimiter


def test_list__an_object_named_as_a_prefix_is_a_key(s3: Any, listing: Any) -> None:
    name = unique_bucket()
    s3.create_bucket(Bucket=name)
    for key in ("dir/", "dir/file"):
        s3.put_object(Bucket=name, Key=key)
    page = listing(Bucket=name, Prefix="dir/", Delimiter="/")
    assert entries(page) == ["dir/", "dir/file"]
    assert "CommonPrefixes" not in page


@pytest.mark.parametrize("wanted", [0, 1, 2, 11, 12, 13])
@pytest.mark.parametrize("delimiter", ["", "/"])
def test_list__pages_join_without_gap_or_double(s3: Any, bucket: str, wanted: int, delimiter: str) -> None:
    whole = entries(s3.list_objects_v2(Bucket=bucket, Delimiter=delimiter))
    for call, ask, give in (
        (s3.list_objects, "Marker", "NextMarker"),
        (s3.list_objects_v2, "ContinuationToken", "NextContinuationToken"),
    ):
        seen: list[str] = []
        more: dict[str, str] = {}
        for _ in range(len(whole) + 1):
            page = call(Bucket=bucket, Delimiter=delimiter, MaxKeys=wanted, **more)
            assert page["MaxKeys"] == wanted
            found = entries(page)
            assert len(found) <= wanted
            seen += found
            if not page["IsTruncated"]:
                assert give not in page
                break
            more = {ask: page.get(give) or found[-1]}
        assert seen == ([] if wanted == 0 else whole)


def test_list__max_keys_above_1000_means_1000(listing: Any, bucket: str) -> None:
    page = listing(Bucket=bucket, MaxKeys=5000)
    assert (page["MaxKeys"], len(page["Contents"])) == (1000, len(KEYS))


@pytest.mark.parametrize("text", ["-1", "x", "2147483648"])
@pytest.mark.parametrize("version", ["", "list-type=2&"])
def test_list__max_keys_that_is_none_is_400(server: Server, bucket: str, version: str, text: str) -> None:
    reply = server.send("GET", f"/{bucket}?{version}max-keys={text}")
    assert (reply.status, reply.code, reply.element("ArgumentName")) == (400, "InvalidArgument", "max-keys")


def test_list__empty_bucket(s3: Any, listing: Any) -> None:
    name = unique_bucket()
    s3.create_bucket(Bucket=name)
    page = listing(Bucket=name)
    assert "Contents" not in page
    assert "CommonPrefixes" not in page
    assert page["IsTruncated"] is False


@pytest.mark.parametrize("version", ["", "list-type=2&"])
def test_encoding_type_url__encodes_keys_prefixes_and_delimiters(server: Server, s3: Any, version: str) -> None:
    name = unique_bucket()
    s3.create_bucket(Bucket=name)
    for key in ("a b/c", "a b+%/ü", "a b\x01"):
        s3.put_object(Bucket=name, Key=key)
    reply = server.send("GET", f"/{name}?{version}encoding-type=url&delimiter=%2F&prefix=a%20")
    text = reply.body.decode()
    assert "<Key>a%20b%01</Key>" in text
    assert "<Prefix>a%20b/</Prefix>" in text
    assert "<Prefix>a%20b%2B%25/</Prefix>" in text
    assert "<Prefix>a%20</Prefix>" in text
    assert "<EncodingType>url</EncodingType>" in text


@pytest.mark.parametrize("version", ["", "list-type=2&"])
def test_encoding_type__other_is_400(server: Server, bucket: str, version: str) -> None:
    reply = server.send("GET", f"/{bucket}?{version}encoding-type=base64")
    assert (reply.status, reply.code) == (400, "InvalidArgument")
    assert reply.element("Message") == "Invalid Encoding Method specified in Request"


def test_list__bucket_region_header(server: Server, bucket: str) -> None:
    assert server.send("GET", f"/{bucket}").headers["x-amz-bucket-region"] == "us-east-1"


def test_list__hidden_by_a_delete_marker(s3: Any, listing: Any) -> None:
    name = unique_bucket()
    s3.create_bucket(Bucket=name)
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    for key in ("a/1", "b/1", "b/2"):
        s3.put_object(Bucket=name, Key=key)
    s3.delete_object(Bucket=name, Key="a/1")
    s3.delete_object(Bucket=name, Key="b/1")
    assert entries(listing(Bucket=name)) == ["b/2"]
    assert entries(listing(Bucket=name, Delimiter="/")) == ["b/"]


# --- ListObjects


def test_list_objects__marker_is_echoed_and_exclusive(s3: Any, bucket: str) -> None:
    page = s3.list_objects(Bucket=bucket, Marker="b/1")
    assert page["Marker"] == "b/1"
    assert page["Contents"][0]["Key"] == "b/2"
    assert s3.list_objects(Bucket=bucket, Marker="b/11")["Contents"][0]["Key"] == "b/2"
    assert "Contents" not in s3.list_objects(Bucket=bucket, Marker="\U0010ffff")


def test_list_objects__next_marker_only_with_a_delimiter(s3: Any, bucket: str) -> None:
    assert "NextMarker" not in s3.list_objects(Bucket=bucket, MaxKeys=2)
    assert s3.list_objects(Bucket=bucket, MaxKeys=2, Delimiter="/")["NextMarker"] == "b/"


def test_list_objects__owner_is_always_told(s3: Any, bucket: str) -> None:
    assert len(s3.list_objects(Bucket=bucket)["Contents"][0]["Owner"]["ID"]) == 64


@pytest.mark.parametrize("marker", ["b/", "b/1", "b/2", "b/c/3", "b/zzz"])
def test_list_objects__marker_inside_a_common_prefix_hides_it(s3: Any, bucket: str, marker: str) -> None:
    page = s3.list_objects(Bucket=bucket, Delimiter="/", Marker=marker)
    assert entries(page)[0] == "b0"


def test_list_objects__marker_before_the_prefix(s3: Any, bucket: str) -> None:
    assert entries(s3.list_objects(Bucket=bucket, Prefix="b/", Marker="a")) == ["b/1", "b/2", "b/c/3"]
    assert entries(s3.list_objects(Bucket=bucket, Prefix="b/", Marker="c")) == []


# --- ListObjectsV2


def test_list_objects_v2__key_count_counts_prefixes_too(s3: Any, bucket: str) -> None:
    page = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert page["KeyCount"] == len(page["Contents"]) + len(page["CommonPrefixes"]) == 9
    assert s3.list_objects_v2(Bucket=bucket, MaxKeys=0)["KeyCount"] == 0


def test_list_objects_v2__fetch_owner(s3: Any, bucket: str) -> None:
    assert "Owner" not in s3.list_objects_v2(Bucket=bucket)["Contents"][0]
    assert "Owner" not in s3.list_objects_v2(Bucket=bucket, FetchOwner=False)["Contents"][0]
    assert len(s3.list_objects_v2(Bucket=bucket, FetchOwner=True)["Contents"][0]["Owner"]["ID"]) == 64


def test_list_objects_v2__start_after_is_echoed_and_exclusive(s3: Any, bucket: str) -> None:
    page = s3.list_objects_v2(Bucket=bucket, StartAfter="b/1")
    assert page["StartAfter"] == "b/1"
    assert page["Contents"][0]["Key"] == "b/2"


def test_list_objects_v2__token_wins_over_start_after(s3: Any, bucket: str) -> None:
    first = s3.list_objects_v2(Bucket=bucket, MaxKeys=2)
    token = first["NextContinuationToken"]
    page = s3.list_objects_v2(Bucket=bucket, ContinuationToken=token, StartAfter="z")
    assert page["ContinuationToken"] == token
    assert page["Contents"][0]["Key"] == ORDERED[2]


@pytest.mark.parametrize("token", ["", "wrong", "a/b", "1!!!!", "1Yg", "ü"])
def test_list_objects_v2__token_that_we_never_gave_is_400(s3: Any, bucket: str, token: str) -> None:
    answer = refused(s3.list_objects_v2, Bucket=bucket, ContinuationToken=token)
    assert (answer.what, answer.detail["ArgumentName"]) == ((400, "InvalidArgument"), "continuation-token")
    assert answer.message == "The continuation token provided is incorrect"


def test_list_objects_v2__list_type_other_than_2_is_400(server: Server, bucket: str) -> None:
    assert server.send("GET", f"/{bucket}?list-type=3").status == 400


def test_list_objects_v2__optional_attributes_are_ignored(s3: Any, bucket: str) -> None:
    page = s3.list_objects_v2(Bucket=bucket, OptionalObjectAttributes=["RestoreStatus"])
    assert "RestoreStatus" not in page["Contents"][0]


def test_list_objects_v2__paginator_sees_every_key_once(s3: Any, bucket: str) -> None:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 3})
    assert [each["Key"] for page in pages for each in page["Contents"]] == ORDERED
