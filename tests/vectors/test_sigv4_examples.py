"""AWS's published Signature Version 4 examples for S3, with the signatures that the pages state.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, sigv4-query-string-auth.html,
sigv4-streaming.html, sigv4-streaming-trailers.html, sigv4-post-example.html
"""

import base64
from datetime import UTC, datetime

import pytest

from strongroom.aws import sigv4
from strongroom.aws.chunked import ChunkedDecoder
from strongroom.aws.http import Headers
from strongroom.aws.post_policy import parse_post_authorization, verify_policy
from tests.aws_chunks import ACCESS_KEY_ID, EMPTY_SHA256, SCOPE, SECRET, TIMESTAMP

NOW = datetime(2013, 5, 24, tzinfo=UTC)
HOST = ("Host", "examplebucket.s3.amazonaws.com")
DATE = ("x-amz-date", TIMESTAMP)


def authorization(signed_headers, signature):
    value = f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY_ID}/{SCOPE},SignedHeaders={signed_headers},Signature={signature}"
    return ("Authorization", value)


def verified(method, path, query, headers):
    parsed = sigv4.parse_authorization(method, path, query, Headers.of(headers))
    assert parsed is not None
    return sigv4.verify(parsed, SECRET, method, path, query, Headers.of(headers), now=NOW, region="us-east-1")


HEADER_EXAMPLES = [
    pytest.param(
        "GET",
        b"/test.txt",
        b"",
        [HOST, ("Range", "bytes=0-9"), ("x-amz-content-sha256", EMPTY_SHA256), DATE],
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        id="get_object",
    ),
    pytest.param(
        "PUT",
        b"/test%24file.text",
        b"",
        [
            HOST,
            ("Date", "Fri, 24 May 2013 00:00:00 GMT"),
            DATE,
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"),
        ],
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        id="put_object",
    ),
    pytest.param(
        "GET",
        b"/",
        b"lifecycle",
        [HOST, ("x-amz-content-sha256", EMPTY_SHA256), DATE],
        "host;x-amz-content-sha256;x-amz-date",
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        id="get_bucket_lifecycle",
    ),
    pytest.param(
        "GET",
        b"/",
        b"max-keys=2&prefix=J",
        [HOST, ("x-amz-content-sha256", EMPTY_SHA256), DATE],
        "host;x-amz-content-sha256;x-amz-date",
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        id="list_objects",
    ),
]


@pytest.mark.parametrize(("method", "path", "query", "headers", "signed_headers", "signature"), HEADER_EXAMPLES)
def test_header(method, path, query, headers, signed_headers, signature):
    key = verified(method, path, query, [*headers, authorization(signed_headers, signature)])
    assert key.seed_signature == signature


def test_presigned():
    query = (
        b"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2F"
        b"aws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature="
        b"aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )
    assert verified("GET", b"/test.txt", query, [HOST]).access_key_id == ACCESS_KEY_ID


CHUNKED_HEADERS = [
    ("Host", "s3.amazonaws.com"),
    DATE,
    ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
    ("Content-Encoding", "aws-chunked"),
    ("x-amz-decoded-content-length", "66560"),
]
CHUNKS = (b"a" * 65536, b"a" * 1024, b"")


def test_chunked_upload():
    headers = [
        *CHUNKED_HEADERS,
        ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        ("Content-Length", "66824"),
        authorization(
            "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;"
            "x-amz-storage-class",
            "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
        ),
    ]
    key = verified("PUT", b"/examplebucket/chunkObject.txt", b"", headers)
    signatures = (
        "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
    )
    body = b"".join(
        f"{len(chunk):x};chunk-signature={signature}\r\n".encode() + chunk + b"\r\n"
        for chunk, signature in zip(CHUNKS, signatures, strict=True)
    )
    assert len(body) == 66824
    decoder = ChunkedDecoder(
        signing=key, signed=True, trailer_names=frozenset(), trailer_signed=False, decoded_length=66560
    )
    assert decoder.feed(body) == b"a" * 66560
    decoder.finish()


def test_chunked_upload_with_trailer():
    headers = [
        *CHUNKED_HEADERS,
        ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"),
        ("x-amz-trailer", "x-amz-checksum-crc32c"),
        authorization(
            "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;"
            "x-amz-trailer",
            "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
        ),
    ]
    key = verified("PUT", b"/examplebucket/chunkObject.txt", b"", headers)
    signatures = (
        "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
        "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
        "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
    )
    body = b"".join(
        f"{len(chunk):x};chunk-signature={signature}\r\n".encode() + chunk + (b"\r\n" if chunk else b"")
        for chunk, signature in zip(CHUNKS, signatures, strict=True)
    )
    trailer_signature = "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"
    body += f"x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:{trailer_signature}\r\n\r\n".encode()
    names = frozenset({"x-amz-checksum-crc32c"})
    decoder = ChunkedDecoder(signing=key, signed=True, trailer_names=names, trailer_signed=True, decoded_length=66560)
    assert decoder.feed(body) == b"a" * 66560
    decoder.finish()
    assert decoder.trailers == {"x-amz-checksum-crc32c": "sOO8/Q=="}


def test_post_policy():
    # The page's policy ends its lines with CRLF; the base64 of exactly these bytes is what it signs.
    credential = f"{ACCESS_KEY_ID}/20151229/us-east-1/s3/aws4_request"
    redirect = "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html"
    policy = "\r\n".join(
        [
            '{ "expiration": "2015-12-30T12:00:00.000Z",',
            '  "conditions": [',
            '    {"bucket": "sigv4examplebucket"},',
            '    ["starts-with", "$key", "user/user1/"],',
            '    {"acl": "public-read"},',
            f'    {{"success_action_redirect": "{redirect}"}},',
            '    ["starts-with", "$Content-Type", "image/"],',
            '    {"x-amz-meta-uuid": "14365123651274"},',
            '    {"x-amz-server-side-encryption": "AES256"},',
            '    ["starts-with", "$x-amz-meta-tag", ""],',
            "",
            f'    {{"x-amz-credential": "{credential}"}},',
            '    {"x-amz-algorithm": "AWS4-HMAC-SHA256"},',
            '    {"x-amz-date": "20151229T000000Z" }',
            "  ]",
            "}",
        ]
    )
    fields = {
        "key": "user/user1/photo.jpg",
        "acl": "public-read",
        "success_action_redirect": redirect,
        "content-type": "image/jpeg",
        "x-amz-meta-uuid": "14365123651274",
        "x-amz-server-side-encryption": "AES256",
        "x-amz-credential": credential,
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-date": "20151229T000000Z",
        "x-amz-meta-tag": "",
        "policy": base64.b64encode(policy.encode()).decode(),
        "x-amz-signature": "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e",
    }
    claim = parse_post_authorization(fields)
    assert claim is not None
    now = datetime(2015, 12, 30, 11, 59, tzinfo=UTC)
    result = verify_policy(claim, SECRET, fields, bucket="sigv4examplebucket", now=now, region="us-east-1")
    assert result.access_key_id == ACCESS_KEY_ID
