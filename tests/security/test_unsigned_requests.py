"""What a stranger gets: nothing but the two health routes, whatever the route, the method and the host.

The requests come from the official model, so that an operation that is built later is in this test from its first day.
"""

import re

import pytest

from strongroom.aws.model import Operation, load_s3_model
from tests.harness import Server, unique_bucket
from tests.security.conftest import DOMAIN
from tests.wire import Form, exchange, form, request_bytes

OPERATIONS = load_s3_model().operations
METHODS = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND"]


def target_of(operation: Operation, bucket: str) -> str:
    path = operation.path.replace("{Bucket}", bucket).replace("{Key+}", "object")
    literals = [f"{name}={value}" if value else name for name, value in operation.query]
    required = [f"{name}=1" for name in sorted(operation.required_query)]
    query = "&".join([*literals, *required])
    return f"{path}?{query}" if query else path


def state(server: Server, bucket: str) -> tuple[bytes, ...]:
    """What a stranger could have changed, as its owner sees it."""
    targets = [f"/{bucket}?versions", f"/{bucket}?versioning", f"/{bucket}?uploads", f"/{bucket}?encryption"]
    return tuple(re.sub(rb"<RequestId>.*", b"", server.send("GET", target).body) for target in targets)


@pytest.fixture(scope="module")
def filled(server: Server) -> str:
    name = unique_bucket()
    server.send("PUT", f"/{name}")
    server.send("PUT", f"/{name}/object", body=b"content")
    return name


STRANGERS_CLAIMS: list[dict[str, str]] = [
    {},
    {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"},
    {"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-decoded-content-length": "0"},
]


@pytest.mark.parametrize("claim", STRANGERS_CLAIMS, ids=["none", "unsigned", "unsigned-trailer"])
def test_a3_every_operation_is_denied_to_strangers__minio_ghsa_9c4q(
    server: Server, filled: str, claim: dict[str, str]
) -> None:
    before = state(server, filled)
    answers = {}
    for name, operation in OPERATIONS.items():
        headers = {**dict.fromkeys(operation.required_headers, "1"), **claim}
        reply = server.send(operation.method, target_of(operation, filled), headers=headers, sign=False)
        answers[name] = (reply.status, reply.code)
    assert answers == {
        name: (403, "" if operation.method == "HEAD" else "AccessDenied") for name, operation in OPERATIONS.items()
    }
    assert state(server, filled) == before


@pytest.mark.parametrize("method", METHODS)
def test_a3_every_method_on_every_level_is_denied_to_strangers(server: Server, filled: str, method: str) -> None:
    before = state(server, filled)
    for target in (
        "/",
        f"/{filled}",
        f"/{filled}/",
        f"/{filled}/object",
        f"/{filled}/object?versionId=null",
        "/missing/a",
    ):
        reply = server.send(method, target, sign=False)
        assert reply.status in (400, 403, 405, 412, 501)  # not 403: no request that anybody could mean
        assert b"content" not in reply.body
    assert state(server, filled) == before


def test_a3_a_stranger_learns_nothing_of_what_exists(server: Server, filled: str) -> None:
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        for target in (f"/{filled}", f"/{filled}/object", f"/{filled}/missing", f"/{unique_bucket()}/object"):
            assert server.send(method, target, sign=False).status == 403


def test_a3_a_form_without_a_signature_is_denied(server: Server, filled: str) -> None:
    upload: Form = form({"key": "stranger"}, b"content")
    reply = upload.post(server, f"/{filled}")
    assert (reply.status, reply.code) == (403, "AccessDenied")
    assert server.send("HEAD", f"/{filled}/stranger").status == 404


def test_i3_only_the_health_routes_answer_strangers__rustfs_ghsa_jqmc(server: Server) -> None:
    for path, body in (("/-/live", b"live\n"), ("/-/ready", b"ready\n")):
        for tls in (False, True):
            reply = server.send("GET", path, sign=False, tls=tls)
            assert (reply.status, reply.body) == (200, body)
        assert server.send("HEAD", path, sign=False).status == 200
    for path in (
        "/-/",
        "/-",
        "/-/live/",
        "/-/Live",
        "/-/liv%65",
        "/-/../-/live",
        "//-/live",
        "/-/metrics",
        "/-/debug/pprof",
        "/metrics",
        "/minio/health/live",
        "/admin",
        "/health",
        "/robots.txt",
        "/favicon.ico",
    ):
        assert server.send("GET", path, sign=False).status in (400, 403)
    for method in ("POST", "PUT", "DELETE"):
        assert server.send(method, "/-/live", sign=False).status in (403, 405)


def test_a_health_route_says_nothing_of_the_store(server: Server) -> None:
    for path in ("/-/live", "/-/ready", "/-/ready?verbose", "/-/live?versions"):
        assert server.send("GET", path, sign=False).body in (b"live\n", b"ready\n")


@pytest.mark.parametrize(
    "host", [f"some-bucket.{DOMAIN}", f"some-bucket.{DOMAIN}:9000", f"SOME-bucket.{DOMAIN.upper()}"]
)
def test_in_a_virtual_host_the_health_routes_are_keys(careful: Server, host: str) -> None:
    careful.send("PUT", "/some-bucket")
    for path in ("/-/live", "/-/ready"):
        lines = [("Host", host), ("Connection", "close")]
        assert exchange(careful, request_bytes("GET", path, lines)).status == 403
        assert careful.send("PUT", path, headers={"host": host}, body=b"a key").status == 200
        assert careful.send("GET", path, headers={"host": host}).body == b"a key"
        assert careful.send("GET", f"/some-bucket{path}").body == b"a key"
        assert careful.send("GET", path, headers={"host": DOMAIN}, sign=False).status == 200


# --- the metrics' listener


def test_i3_the_metrics_listener_answers_metrics_and_nothing_else(server: Server, filled: str) -> None:
    def ask(method: str, target: str) -> int:
        head = request_bytes(method, target, [("Host", "m"), ("Connection", "close")])
        return exchange(metrics_of(server), head, method).status

    assert ask("GET", "/metrics") == 200
    assert ask("HEAD", "/metrics") == 200
    for target in ("/", f"/{filled}", f"/{filled}/object", "/-/live", "/-/ready", "/metrics/", "/Metrics", "//metrics"):
        assert ask("GET", target) == 404
    for method in ("PUT", "POST", "DELETE"):
        assert ask(method, "/metrics") == 405
        assert ask(method, f"/{filled}/object") == 404


def test_no_figure_names_a_bucket_a_key_or_an_access_key(server: Server, filled: str) -> None:
    server.send("GET", f"/{filled}/object")
    head = request_bytes("GET", "/metrics", [("Host", "m"), ("Connection", "close")])
    figures = exchange(metrics_of(server), head).body
    assert b"strongroom_requests_total" in figures
    for name in (filled, server.access_key_id, "object}"):
        assert name.encode() not in figures


def metrics_of(server: Server) -> Server:
    """The same server, spoken to on its third port."""
    other = object.__new__(Server)
    other.__dict__.update(server.__dict__, port=server.metrics_port)
    return other
