from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.aws.errors import S3Error
from strongroom.s3.copy_source import CopySource, parse_copy_source


@pytest.mark.parametrize(
    ("header", "key", "version_id"),
    [
        ("bucket/key", "key", None),
        ("/bucket/key", "key", None),
        ("bucket%2Fkey", "key", None),
        ("%2Fbucket%2Fkey", "key", None),
        ("bucket/a/b//c/", "a/b//c/", None),
        ("bucket//key", "/key", None),
        ("bucket/key?versionId=3sL4kqtJlcpXroDTDmJ", "key", "3sL4kqtJlcpXroDTDmJ"),
        ("bucket/key?versionId=null", "key", "null"),
        ("bucket/key?versionId=a%2Bb", "key", "a+b"),
        ("bucket/%3FversionId", "?versionId", None),
        ("bucket/key%3FversionId=1", "key?versionId=1", None),
        ("bucket/a?versionId=1?versionId=2", "a?versionId=1", "2"),
        ("bucket/a%20b+c%2Bd", "a b c+d", None),
        ("bucket/100%25", "100%", None),
        ("bucket/%2525", "%25", None),  # decoded once
        ("bucket/%252e%252e%252fx", "%2e%2e%2fx", None),
        ("bucket/%F0%9F%98%80", "😀", None),
        ("bucket/" + "grüße".encode().decode("latin-1"), "grüße", None),
        ("bucket/a/../b", "a/../b", None),
        ("bucket/.", ".", None),
        ("bucket/a%0Ab", "a\nb", None),
    ],
)
def test_copy_source(header, key, version_id):
    assert parse_copy_source(header) == CopySource(bucket="bucket", key=key, version_id=version_id)


def refusal(header):
    with pytest.raises(S3Error) as caught:
        parse_copy_source(header)
    return caught.value


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("", "Invalid copy source bucket name"),
        ("/", "Invalid copy source bucket name"),
        ("//bucket/key", "Invalid copy source bucket name"),
        ("Bucket/key", "Invalid copy source bucket name"),
        ("../bucket/key", "Invalid copy source bucket name"),
        ("..%2fbucket/key", "Invalid copy source bucket name"),
        ("192.168.1.1/key", "Invalid copy source bucket name"),
        ("?versionId=1", "Invalid copy source bucket name"),
        ("wrongformat", "Invalid copy source object key"),
        ("bucket/", "Invalid copy source object key"),
        ("bucket/?versionId=1", "Invalid copy source object key"),
        ("bucket/../other/key", "Invalid copy source object key"),
        ("bucket/%2e%2e/other/key", "Invalid copy source object key"),
        ("bucket/a/%2e%2e%2f..%2fx", "Invalid copy source object key"),
        ("bucket/a%00b", "Invalid copy source object key"),
        ("bucket/%", "Invalid copy source encoding"),
        ("bucket/%2", "Invalid copy source encoding"),
        ("bucket/%zz", "Invalid copy source encoding"),
        ("bucket/%C0%AE%C0%AE/x", "Invalid copy source encoding"),  # overlong ".."
        ("bucket/%ED%A0%80", "Invalid copy source encoding"),  # a surrogate
        ("bucket/\xff", "Invalid copy source encoding"),
        ("bucket/€", "Invalid copy source encoding"),  # cannot come off the wire as latin-1
        ("bucket/key?versionId=%", "Invalid copy source encoding"),
    ],
)
def test_c1_copy_source_gets_the_checks_of_the_url(header, message):
    error = refusal(header)
    assert (error.code, error.status, error.message) == ("InvalidArgument", 400, message)
    assert error.detail == {"ArgumentName": "x-amz-copy-source", "ArgumentValue": "x-amz-copy-source"}


def test_empty_version_id_is_invalid_argument():
    error = refusal("bucket/key?versionId=")
    assert (error.code, error.message) == ("InvalidArgument", "Version id cannot be the empty string")
    assert error.detail["ArgumentName"] == "versionId"


def test_source_key_of_more_than_1024_bytes_is_too_long():
    assert refusal("bucket/" + "a" * 1025).code == "KeyTooLongError"


@pytest.mark.parametrize(
    "header",
    [
        "arn:aws:s3:us-west-2:123456789012:accesspoint/my-access-point/object/reports/january.pdf",
        "arn%3Aaws%3As3%3Aus-west-2%3A123456789012%3Aaccesspoint%2Fmine%2Fobject%2Fkey",
    ],
)
def test_access_point_is_not_implemented(header):
    error = refusal(header)
    assert (error.code, error.status) == ("NotImplemented", 501)


KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60).filter(
    lambda key: ".." not in key
)


@given(key=KEYS, encode=st.sampled_from([quote, quote_plus, lambda text: quote(text, safe="")]))
def test_what_a_client_encodes_comes_back(key, encode):
    assert parse_copy_source(f"bucket/{encode(key)}") == CopySource(bucket="bucket", key=key)


@given(st.text(max_size=80))
def test_garbage_is_accepted_or_refused_and_nothing_else(header):
    try:
        source = parse_copy_source(header)
        outcome = bool(source.bucket and source.key)
    except S3Error as error:
        outcome = error.status in {400, 501}
    assert outcome
