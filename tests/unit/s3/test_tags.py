from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.aws.errors import S3Error
from strongroom.s3.tags import BUCKET_TAGS, OBJECT_TAGS, check_tag_set, parse_tagging

HEADER_FORM = "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates."


def tag_set(*pairs):
    return [{"Key": key, "Value": value} for key, value in pairs]


def numbered(count):
    return [(f"key{number}", "value") for number in range(count)]


@pytest.mark.parametrize(
    ("header", "tags"),
    [
        (None, ()),
        ("", ()),
        ("a=1", (("a", "1"),)),
        ("b=2&a=1", (("b", "2"), ("a", "1"))),
        ("a", (("a", ""),)),
        ("a=", (("a", ""),)),
        ("a=b=c", (("a", "b=c"),)),
        ("a=1&&b=2&", (("a", "1"), ("b", "2"))),
        ("a+b=c%20d", (("a b", "c d"),)),
        ("a=1%2B1", (("a", "1+1"),)),
        ("%C3%A9=%F0%9D%92%9C", (("é", "𝒜"),)),
        ("_.:/-@=_.:/-@", (("_.:/-@", "_.:/-@"),)),
    ],
)
def test_tagging_header(header, tags):
    assert parse_tagging(header) == tags


@pytest.mark.parametrize(
    "header",
    [
        "key1=val1&key1=val2",
        "key1=val1,key2=val2",
        "a=1&%61=2",
        "=1",
        "a=%",
        "a=%zz",
        "a=%C3",
        "a=%00",
        "a=\xff",
        "a=%F0%9F%98%80",
        "a=<b>",
        "a=%0A",
        "a=1&b=<>",
        "a=<>&b=1",
    ],
)
def test_bad_tagging_header_is_invalid_argument(header):
    with pytest.raises(S3Error) as caught:
        parse_tagging(header)
    assert (caught.value.code, caught.value.status, caught.value.message) == ("InvalidArgument", 400, HEADER_FORM)
    assert caught.value.detail == {"ArgumentName": "x-amz-tagging", "ArgumentValue": header}


@pytest.mark.parametrize(
    ("pairs", "message", "detail"),
    [
        ([("Key1", "a"), ("Key1", "b")], "Cannot provide multiple Tags with the same key", {"TagKey": "Key1"}),
        ([("Key1,Key2", "a")], "The TagKey you have provided is invalid", {"TagKey": "Key1,Key2"}),
        ([("", "a")], "The TagKey you have provided is invalid", {"TagKey": ""}),
        ([("k" * 129, "a")], "The TagKey you have provided is invalid", {"TagKey": "k" * 129}),
        ([("𝒜" * 65, "a")], "The TagKey you have provided is invalid", {"TagKey": "𝒜" * 65}),
        (
            [("Key1", "Val1,Val2")],
            "The TagValue you have provided is invalid",
            {"TagKey": "Key1", "TagValue": "Val1,Val2"},
        ),
        ([("k", "v" * 257)], "The TagValue you have provided is invalid", {"TagKey": "k", "TagValue": "v" * 257}),
        ([("k", "\n")], "The TagValue you have provided is invalid", {"TagKey": "k", "TagValue": "\n"}),
        ([("k", "😀")], "The TagValue you have provided is invalid", {"TagKey": "k", "TagValue": "😀"}),
        ([*numbered(11), ("k", ",")], "The TagValue you have provided is invalid", {"TagKey": "k", "TagValue": ","}),
    ],
)
@pytest.mark.parametrize("rules", [OBJECT_TAGS, BUCKET_TAGS])
def test_bad_tag_is_invalid_tag(pairs, message, detail, rules):
    with pytest.raises(S3Error) as caught:
        check_tag_set(tag_set(*pairs), rules)
    assert (caught.value.code, caught.value.status, caught.value.message) == ("InvalidTag", 400, message)
    assert caught.value.detail == detail


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (OBJECT_TAGS, "Your TagKey cannot be prefixed with aws:"),
        (BUCKET_TAGS, "System tags cannot be added/updated by requester"),
    ],
)
def test_system_tag_is_refused(rules, message):
    with pytest.raises(S3Error) as caught:
        check_tag_set(tag_set(("aws:prefixed", "v")), rules)
    assert (caught.value.code, caught.value.message) == ("InvalidTag", message)
    assert caught.value.detail == {"TagKey": "aws:prefixed"}
    assert check_tag_set(tag_set(("AWS:prefixed", "v"), ("aws", "v")), rules)


@pytest.mark.parametrize(
    ("rules", "most", "message"),
    [
        (OBJECT_TAGS, 10, "Object tags cannot be greater than 10"),
        (BUCKET_TAGS, 50, "Bucket tag count cannot be greater than 50"),
    ],
)
def test_too_many_tags_is_bad_request(rules, most, message):
    assert check_tag_set(tag_set(*numbered(most)), rules) == tuple(numbered(most))
    with pytest.raises(S3Error) as caught:
        check_tag_set(tag_set(*numbered(most + 1)), rules)
    assert (caught.value.code, caught.value.status, caught.value.message) == ("BadRequest", 400, message)


def test_too_many_tags_in_the_header_is_bad_request():
    assert parse_tagging(urlencode(numbered(10))) == tuple(numbered(10))
    with pytest.raises(S3Error) as caught:
        parse_tagging(urlencode(numbered(11)))
    assert caught.value.code == "BadRequest"


def test_longest_tag():
    longest = ("k" * 128, "v" * 256)
    astral = ("𝒜" * 64, "𝒜" * 128)
    assert check_tag_set(tag_set(longest, astral), OBJECT_TAGS) == (longest, astral)


WORDS = st.text(st.characters(categories=["L", "N", "Z"], include_characters="_.:/=+-@"), max_size=40)


@given(st.dictionaries(WORDS.filter(lambda word: word and not word.startswith("aws:")), WORDS, max_size=10))
def test_what_a_client_encodes_comes_back(tags):
    assert parse_tagging(urlencode(tags)) == tuple(tags.items())


@given(st.text(max_size=60))
def test_garbage_is_accepted_or_refused_and_nothing_else(header):
    try:
        outcome = all(0 < len(name) <= 128 and len(value) <= 256 for name, value in parse_tagging(header))
    except S3Error as error:
        outcome = error.status == 400
    assert outcome
