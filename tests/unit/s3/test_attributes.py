import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.aws.errors import S3Error
from strongroom.metadata.records import Attributes
from strongroom.s3.attributes import (
    attributes_of,
    content_headers,
    content_members,
    response_overrides,
    storage_class,
    user_metadata,
)

CONTROLS = [chr(code) for code in (*range(9), *range(10, 32), 127)]


def test_attributes_of_a_bare_request():
    assert attributes_of({}) == Attributes(content_headers={"ContentType": "binary/octet-stream"})


def test_attributes_of_a_full_request():
    given_headers = {
        "CacheControl": "no-cache",
        "ContentDisposition": 'attachment; filename="a.pdf"',
        "ContentEncoding": "gzip",
        "ContentLanguage": "de",
        "ContentType": "text/plain",
        "Expires": "Wed, 21 Oct 2026 07:28:00 GMT",
    }
    attributes = attributes_of(
        {
            **given_headers,
            "Metadata": {"colour": "blue", "__meta_2": "bar"},
            "StorageClass": "GLACIER_IR",
            "Tagging": "a=1",
            "Bucket": "b",
            "Body": b"",
        }
    )
    assert attributes == Attributes(
        content_headers=given_headers,
        user_metadata={"colour": "blue", "__meta_2": "bar"},
        storage_class="GLACIER_IR",
        tags=(("a", "1"),),
    )
    assert content_members(attributes) == given_headers


@pytest.mark.parametrize(
    ("given_encoding", "stored"),
    [
        ("gzip", "gzip"),
        ("gzip, br", "gzip, br"),
        ("aws-chunked", None),
        ("aws-chunked,gzip", "gzip"),
        ("gzip,aws-chunked", "gzip"),
        ("aws-chunked, gzip, br", "gzip, br"),
        ("AWS-Chunked , gzip", "gzip"),
        ("aws-chunked,aws-chunked", None),
        ("x-aws-chunked", "x-aws-chunked"),
        ("", None),
    ],
)
def test_aws_chunked_is_never_stored(given_encoding, stored):
    assert content_headers({"ContentEncoding": given_encoding}).get("ContentEncoding") == stored


@pytest.mark.parametrize("value", ["", None])
def test_empty_content_type_is_the_default(value):
    assert content_headers({"ContentType": value}) == {"ContentType": "binary/octet-stream"}


@pytest.mark.parametrize("value", ["a\tb", "ÄMÄZÕÑ S3", "ÄMÄZÕÑ S3 —".encode().decode("latin-1"), "\x80\x9f\xff"])
def test_header_values_are_kept_byte_for_byte(value):
    assert content_headers({"CacheControl": value})["CacheControl"] == value
    assert user_metadata({"a": value}) == {"a": value}
    assert response_overrides({"ResponseCacheControl": value}) == {"CacheControl": value}


@pytest.mark.parametrize("control", CONTROLS)
def test_d3_control_characters_never_become_a_header(control):
    value = f"a{control}b"
    for member in (
        "CacheControl",
        "ContentDisposition",
        "ContentEncoding",
        "ContentLanguage",
        "ContentType",
        "Expires",
    ):
        for check in (
            lambda member=member: content_headers({member: value}),
            lambda member=member: response_overrides({f"Response{member}": value}),
        ):
            with pytest.raises(S3Error) as caught:
                check()
            assert (caught.value.code, caught.value.status) == ("InvalidArgument", 400)
    for metadata in ({"name": value}, {value: "v"}):
        with pytest.raises(S3Error) as caught:
            user_metadata(metadata)
        assert caught.value.code == "InvalidArgument"
        assert control not in "".join(caught.value.detail.values())


def test_override_beyond_latin_1_is_refused_in_the_words_of_aws():
    with pytest.raises(S3Error) as caught:
        response_overrides({"ResponseCacheControl": "_—_é_"})
    assert (caught.value.code, caught.value.status) == ("InvalidArgument", 400)
    assert caught.value.message == "Header value cannot be represented using ISO-8859-1."
    assert caught.value.detail == {"ArgumentName": "response-cache-control", "ArgumentValue": "_—_é_"}


def test_all_overrides():
    members = ("CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType", "Expires")
    assert response_overrides({f"Response{member}": member for member in members}) == dict(
        zip(members, members, strict=True)
    )
    assert response_overrides({"ContentType": "x", "ResponseContentType": None}) == {}


def test_metadata_of_2048_bytes_fits():
    metadata = {"a": "x" * 1000, "b" * 47: "y" * 1000}
    assert user_metadata(metadata) == metadata


@pytest.mark.parametrize(
    ("metadata", "size"),
    [
        ({"a": "x" * 2048}, 2049),
        ({"a" * 2049: ""}, 2049),
        ({f"k{number:03}": "x" * 100 for number in range(20)}, 2080),
        ({"a": ("é" * 1024).encode().decode("latin-1")}, 2049),
    ],
)
def test_metadata_of_more_than_2048_bytes_is_too_large(metadata, size):
    with pytest.raises(S3Error) as caught:
        user_metadata(metadata)
    assert (caught.value.code, caught.value.status) == ("MetadataTooLarge", 400)
    assert caught.value.message == "Your metadata headers exceed the maximum allowed metadata size"
    assert caught.value.detail == {"Size": str(size), "MaxSizeAllowed": "2048"}


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a(b)", "é", "a/b", "a\r\nb"])
def test_metadata_name_that_is_no_header_name_is_invalid_argument(name):
    with pytest.raises(S3Error) as caught:
        user_metadata({name: "v"})
    assert caught.value.code == "InvalidArgument"


@pytest.mark.parametrize(
    "given_class",
    [
        "STANDARD",
        "REDUCED_REDUNDANCY",
        "STANDARD_IA",
        "ONEZONE_IA",
        "INTELLIGENT_TIERING",
        "GLACIER",
        "GLACIER_IR",
        "DEEP_ARCHIVE",
    ],
)
def test_storage_class(given_class):
    assert storage_class(given_class) == given_class


def test_no_storage_class_is_standard():
    assert storage_class(None) == "STANDARD"


@pytest.mark.parametrize(
    "given_class", ["OUTPOSTS", "SNOW", "EXPRESS_ONEZONE", "FSX_ONTAP", "FakeClass", "standard", ""]
)
def test_other_storage_class_is_invalid(given_class):
    with pytest.raises(S3Error) as caught:
        storage_class(given_class)
    assert (caught.value.code, caught.value.status) == ("InvalidStorageClass", 400)
    assert caught.value.message == "The storage class you specified is not valid"
    assert caught.value.detail == {"StorageClassRequested": given_class}


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=20), max_size=4))
def test_no_accepted_metadata_can_break_a_header_line(metadata):
    try:
        accepted = user_metadata(metadata)
    except S3Error:
        accepted = {}
    for name, value in accepted.items():
        line = f"x-amz-meta-{name}: {value}".encode("latin-1")
        assert not set(line) & {0, 10, 13}
