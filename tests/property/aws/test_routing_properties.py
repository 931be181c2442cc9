"""Routing never fails in another way than an S3 error, and loses nothing of a key."""

from urllib.parse import quote

from hypothesis import assume, given
from hypothesis import strategies as st

from strongroom.aws.errors import S3Error
from strongroom.aws.http import Headers
from strongroom.aws.model import load_s3_model
from strongroom.aws.routing import MAX_KEY_BYTES, Route, climbs_above_root, effective_headers, route

MODEL = load_s3_model()
NAMES = sorted({name for each in MODEL.operations.values() for name, _ in each.query} | {"uploadId", "x-amz-acl"})

methods = st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", ""])
paths = st.binary(max_size=40) | st.binary(max_size=40).map(lambda rest: b"/" + rest)
queries = st.binary(max_size=60) | st.lists(
    st.tuples(st.sampled_from([*NAMES, "X-Amz-Signature"]), st.sampled_from(["", "=", "=2", "=%0a"]))
).map(lambda pairs: "&".join(name + value for name, value in pairs).encode())
hosts = st.none() | st.text(max_size=20) | st.sampled_from(["b.example.com", "example.com:1", ".example.com", ":", ""])


@given(methods, paths, queries, hosts)
def test_route__anything_is_a_route_or_an_s3_error(method, path, query, host):
    headers = Headers.of([("content-type", "multipart/form-data")])
    try:
        found = route(MODEL, method, path, query, host, headers, ("example.com",))
        effective_headers(headers, found.query)
    except S3Error:
        return
    assert isinstance(found, Route)
    assert found.operation.method == method


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), st.sampled_from(["", "/", "/.~+&"]))
def test_route__every_key_comes_through_unchanged_however_it_is_encoded(key, safe):
    assume(not climbs_above_root(key) and len(key.encode()) <= MAX_KEY_BYTES)
    for host, prefix in ((None, "/bucket/"), ("bucket.example.com", "/")):
        found = route(MODEL, "PUT", (prefix + quote(key, safe=safe)).encode(), b"", host, Headers(), ("example.com",))
        assert (found.bucket, found.key) == ("bucket", key)
