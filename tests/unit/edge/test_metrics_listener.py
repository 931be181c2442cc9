import pytest

from strongroom.edge.metrics_listener import answer
from strongroom.observe import metrics
from tests.serving import connection, exchange, read_answer, run, serving


def test_the_metrics_are_there() -> None:
    async def test() -> None:
        metrics.count_error("NoSuchBucket")
        async with serving(answer) as served, connection(served.port) as (reader, writer):
            writer.write(b"GET /metrics?name=x HTTP/1.1\r\nHost: x\r\n\r\n")
            status, head, body = await read_answer(reader)
        assert status == 200
        assert b"content-type: text/plain; version=0.0.4" in head
        assert b'strongroom_errors_total{code="NoSuchBucket"}' in body

    run(test())


@pytest.mark.parametrize(
    ("request_line", "status"),
    [(b"GET / HTTP/1.1", b"404"), (b"GET /metrics/ HTTP/1.1", b"404"), (b"POST /metrics HTTP/1.1", b"405")],
)
def test_there_is_nothing_else(request_line, status) -> None:
    async def test() -> None:
        async with serving(answer) as served:
            told = await exchange(served.port, request_line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert told.startswith(b"HTTP/1.1 " + status)

    run(test())
