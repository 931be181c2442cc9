from collections.abc import AsyncIterator

import pytest

from strongroom.aws.http import Headers, HttpRequest
from strongroom.aws.model import load_s3_model
from strongroom.aws.routing import Route
from strongroom.edge.bucket_url import bucket_url


async def empty(*blocks: bytes) -> AsyncIterator[bytes]:
    for block in blocks:
        yield block


def url(scheme: str, *headers: tuple[str, str], secure: bool, virtual_host: bool = False) -> str:
    request = HttpRequest(
        method="POST",
        raw_path=b"/bucket/key",
        raw_query=b"",
        headers=Headers.of(headers),
        scheme=scheme,
        client_host="127.0.0.1",
        body=empty(),
    )
    operation = load_s3_model().operations["CompleteMultipartUpload"]
    where = Route(operation=operation, bucket="bucket", key="key", query=(), virtual_host=virtual_host)
    return bucket_url(request, where, secure=secure)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_path_style_names_the_bucket_in_the_path(scheme: str) -> None:
    assert url(scheme, ("host", "127.0.0.1:9000"), secure=True) == f"{scheme}://127.0.0.1:9000/bucket"


def test_virtual_host_style_names_it_in_the_host() -> None:
    assert url("https", ("host", "bucket.example.com"), secure=True, virtual_host=True) == "https://bucket.example.com"


@pytest.mark.parametrize("header", [("x-forwarded-proto", "https"), ("forwarded", "proto=https")])
def test_tls_at_a_proxy_counts_where_the_proxy_is_believed(header: tuple[str, str]) -> None:
    assert url("http", ("host", "example.com"), header, secure=True) == "https://example.com/bucket"
    assert url("http", ("host", "example.com"), header, secure=False) == "http://example.com/bucket"
