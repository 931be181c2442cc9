import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.aws.errors import S3Error
from strongroom.s3.encryption_context import HEADER, parse_context

NOT_A_MAP = (
    "The header 'x-amz-server-side-encryption-context' shall be Base64-encoded UTF-8 string holding JSON which represents"
    " a string-string map"
)


def b64(text):
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def refusal(header):
    with pytest.raises(S3Error) as caught:
        parse_context(header)
    error = caught.value
    assert (error.status, error.code, dict(error.detail)) == (400, "InvalidArgument", {"ArgumentName": HEADER})
    return error.message


@pytest.mark.parametrize(
    ("document", "pairs"),
    [
        ("{}", ()),
        (' {"b": "", "a": "é☃"} ', (("a", "é☃"), ("b", ""))),
        ('{"": "empty name"}', (("", "empty name"),)),
        ('{"\\ud83d\\ude00": "a pair of surrogates"}', (("😀", "a pair of surrogates"),)),
        ('{"A": "1", "a": "2"}', (("A", "1"), ("a", "2"))),
        ('{"xaws:s3:arn": "v", "arn:aws:": "v"}', (("arn:aws:", "v"), ("xaws:s3:arn", "v"))),
    ],
)
def test_a_map_of_strings(document, pairs):
    assert parse_context(b64(document)) == pairs


def test_no_header():
    assert parse_context(None) == ()


@pytest.mark.parametrize(
    "header",
    [
        "",
        "not base64!",
        b64('{"a": "1"}')[:-1],
        b64(b'{"a": "\xff"}'),
        b64(b'\xef\xbb\xbf{"a": "1"}'),
        b64("no JSON"),
        b64('{"a": "1"'),
        b64('{"a": "1"} more'),
        b64("[]"),
        b64('[["a", "1"]]'),
        b64('"text"'),
        b64("null"),
        b64("1"),
        b64("NaN"),
        b64('{"a": 1}'),
        b64('{"a": null}'),
        b64('{"a": true}'),
        b64('{"a": ["1"]}'),
        b64('{"a": {"b": "1"}}'),
        b64('{"a": {}}'),
        b64('{"a": "1", "a": "1"}'),
        b64('{"a": "1", "\\u0061": "2"}'),
        b64('{"a": "\\ud800"}'),
        b64('{"\\udc00": "1"}'),
        b64("[" * 100_000),
        b64('{"a":' * 100_000),
        b64('{"a": ' + "9" * 10_000 + "}"),
        "é€",
    ],
)
def test_what_is_no_map_of_strings(header):
    assert refusal(header) == NOT_A_MAP


@pytest.mark.parametrize("name", ["aws:s3:arn", "aws:", "AWS:s3:arn", "Aws:x", "strongroom:object", "STRONGROOM:"])
def test_names_that_are_not_the_clients(name):
    message = refusal(b64(json.dumps({"fine": "1", name: "secret-value"})))
    assert "shall not hold names that begin with aws: or strongroom:" in message
    assert "secret" not in message


@given(st.text(max_size=60) | st.text('{}[]"\\:,ab019 u', max_size=60).map(b64))
def test_garbage_is_accepted_or_refused_and_nothing_else(header):
    try:
        pairs = parse_context(header)
        outcome = pairs == tuple(sorted(dict(pairs).items()))
    except S3Error as error:
        outcome = error.status == 400
    assert outcome


@given(
    st.dictionaries(
        st.text(max_size=20).filter(lambda name: not name.lower().startswith(("aws:", "strongroom:"))),
        st.text(max_size=20),
    )
)
def test_every_map_of_strings_comes_through(pairs):
    for document in (json.dumps(pairs), json.dumps(pairs, ensure_ascii=False)):
        assert parse_context(b64(document)) == tuple(sorted(pairs.items()))
