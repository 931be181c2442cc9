"""The canonical request's spelling of paths, queries and header values."""

import pytest

from strongroom.aws.canonical import canonical_path, canonical_query, canonical_request, query_pairs
from strongroom.aws.http import Headers


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        (b"", "/"),
        (b"/", "/"),
        (b"//a//b/", "//a//b/"),
        (b"/a/./../b", "/a/./../b"),
        (b"/a%20b/a+b", "/a%20b/a%2Bb"),
        (b"/%c3%bc/%E4%B8%AD", "/%C3%BC/%E4%B8%AD"),
        (b"/!*'()~=&:@$,;", "/%21%2A%27%28%29~%3D%26%3A%40%24%2C%3B"),
        (b"/%21%2A%27%28%29%7E", "/%21%2A%27%28%29~"),
        (b"/100%25/100%/%zz", "/100%25/100%25/%25zz"),
        (b"/%2520", "/%2520"),
        (b"/\xff\x00", "/%FF%00"),
    ],
)
def test_path_is_encoded_once_and_never_normalised(raw, canonical):
    assert canonical_path(raw) == canonical


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        (b"", ""),
        (b"b=2&a=1", "a=1&b=2"),
        (b"a=2&a=1&a=&A=3", "A=3&a=&a=1&a=2"),
        (b"acl&b=", "acl=&b="),
        (b"&&acl&", "acl="),
        (b"=x&a==", "=x&a=%3D"),
        (b"a=b+c&d=e%2Bf&g=%20", "a=b%20c&d=e%2Bf&g=%20"),
        (b"k=1&k-x=2&k.y=3&k0=4", "k=1&k-x=2&k.y=3&k0=4"),
        (b"k=%c3%bc~!*'()&l=a=b&m=a:b/c", "k=%C3%BC~%21%2A%27%28%29&l=a%3Db&m=a%3Ab%2Fc"),
        (b"X-Amz-Signature=1&x-amz-signature=2&Signature=3", "Signature=3"),
    ],
)
def test_query_is_sorted_by_name_then_value(raw, canonical):
    assert canonical_query(query_pairs(raw)) == canonical


def test_header_values_are_trimmed_and_joined_and_absent_is_not_empty():
    headers = Headers.of(
        [
            ("B", "  a   b \t c  "),
            ("a", "1"),
            ("A", " 2 "),
            ("unsigned", "x"),
            ("e", ""),
            ("c", "\xa0\x85caf\xc3\xa9\xa0"),
        ]
    )
    request = canonical_request("GET", b"/", b"", headers, signed_headers=("a", "b", "c", "d", "e"), payload="P")
    assert request == b"GET\n/\n\na:1,2\nb:a b c\nc:\xa0\x85caf\xc3\xa9\xa0\ne:\n\na;b;c;d;e\nP"
