import pytest

from strongroom.aws.errors import S3Error
from strongroom.s3.naming import check_bucket_name, check_key, is_bucket_name


@pytest.mark.parametrize(
    "name",
    [
        "abc",
        "a-b",
        "a.b",
        "0aa",
        "aa0",
        "docexamplewebsite.com",
        "my-example--bucket",
        "a" * 63,
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1a",
        "xn-a",
        "sthree",
        "amzn-s3-dem",
        "s3alias",
        "mrap",
        "plan",
        "x-s3",
    ],
)
def test_good_bucket_name(name):
    assert is_bucket_name(name)
    check_bucket_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a",
        "ab",
        "a" * 64,
        "Abc",
        "abC",
        "a_b",
        "a b",
        "-abc",
        "abc-",
        ".abc",
        "abc.",
        "a..b",
        "a.-b",
        "a-.b",
        "192.168.5.4",
        "999.0.0.1",
        "xn--abc",
        "sthree-abc",
        "sthree-configurator",
        "amzn-s3-demo-bucket",
        "abc-s3alias",
        "abc--ol-s3",
        "abc.mrap",
        "abc--use1-az4--x-s3",
        "abc--table-s3",
        "abc-111122223333-us-west-2-an",
        "abc\n",
        "abc\0",
        "a/b",
        "äbc",
        "a٣b",  # an Arabic digit is no digit here
        "..",
        "%2e%2e",
    ],
)
def test_bad_bucket_name_is_invalid_bucket_name(name):
    assert not is_bucket_name(name)
    with pytest.raises(S3Error) as caught:
        check_bucket_name(name)
    assert (caught.value.code, caught.value.status) == ("InvalidBucketName", 400)
    assert caught.value.message == "The specified bucket is not valid."
    assert caught.value.detail == {"BucketName": name}


@pytest.mark.parametrize(
    "key",
    [
        "a",
        "/",
        "//",
        "/a",
        "a/",
        "a//b",
        ".",
        "./a",
        "a/.",
        "a/../b",
        "a/b/../..",
        "a/..",
        "..a",
        "a..",
        "a..b/..c",
        "...",
        "\\..\\x",
        "%2e%2e/x",
        "a+b %",
        "\x01\x7f\n\r\t",
        "\u202e\ufeff\uffff",
        "😀" * 256,
        "a" * 1024,
        "é" * 512,
        "trailing. ",
    ],
)
def test_good_key(key):
    check_key(key)


@pytest.mark.parametrize(
    "key",
    ["..", "../x", "../../x", "/..", "/../x", "a/../..", "a/../../b", "./..", "a//../..", "a/./../../b", "//../x"],
)
def test_key_that_climbs_above_its_root_is_invalid_uri(key):
    with pytest.raises(S3Error) as caught:
        check_key(key)
    assert (caught.value.code, caught.value.status) == ("InvalidURI", 400)
    assert caught.value.message == "Couldn't parse the specified URI."


@pytest.mark.parametrize("key", ["", "a\0b", "\0", "a\ud800", "\udcff"])
def test_key_that_is_no_text_is_invalid_uri(key):
    with pytest.raises(S3Error) as caught:
        check_key(key)
    assert caught.value.code == "InvalidURI"


@pytest.mark.parametrize(
    ("key", "size"), [("a" * 1025, 1025), ("é" * 513, 1026), ("😀" * 256 + "a", 1025), ("../" * 400, 1200)]
)
def test_key_of_more_than_1024_bytes_is_too_long(key, size):
    with pytest.raises(S3Error) as caught:
        check_key(key)
    assert (caught.value.code, caught.value.status) == ("KeyTooLongError", 400)
    assert caught.value.message == "Your key is too long"
    assert caught.value.detail == {"Size": str(size), "MaxSizeAllowed": "1024"}
