import asyncio
import socket
import time

import pytest

from strongroom.edge import listener
from tests.serving import Recorder, connection, read_answer, run, serving

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def test_a_port_in_use_names_the_flag() -> None:
    with listener.open_socket("127.0.0.1", 0, flag="--listen") as first:
        port = first.getsockname()[1]
        with pytest.raises(listener.ListenError, match=rf"127\.0\.0\.1:{port} is in use .* with --listen-tls"):
            listener.open_socket("127.0.0.1", port, flag="--listen-tls")


def test_an_address_of_another_machine_names_the_flag() -> None:
    with pytest.raises(listener.ListenError, match=r"192\.0\.2\.1:9000 .* with --listen\."):
        listener.open_socket("192.0.2.1", 9000, flag="--listen")


def test_ipv6_is_shown_in_brackets() -> None:
    with listener.open_socket("::1", 0, flag="--listen") as first:
        assert first.family == socket.AF_INET6
        with pytest.raises(listener.ListenError, match=r"\[::1\]:\d+ is in use"):
            listener.open_socket("::1", first.getsockname()[1], flag="--listen")


class Slow:
    """Answers when it is told to; says when a request is under way."""

    def __init__(self) -> None:
        self.running = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, _scope, _receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"8")]})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        self.running.set()
        await self.go_on.wait()
        await send({"type": "http.response.body", "body": b"half"})


def test_stopping_closes_idle_connections_at_once() -> None:
    async def test() -> None:
        async with (
            serving(Recorder()) as served,
            connection(served.port) as (used, writer),
            connection(served.port) as (fresh, _),
            connection(served.port) as (begun, begun_writer),
        ):
            writer.write(GET)
            assert (await read_answer(used))[0] == 200
            begun_writer.write(GET[:10])
            await asyncio.sleep(0.05)
            started = time.monotonic()
            served.stop.set()
            assert [await used.read(), await fresh.read(), await begun.read()] == [b"", b"", b""]
            await served.task
            assert time.monotonic() - started < 1

    run(test())


def test_stopping_lets_a_running_request_end_and_then_closes() -> None:
    async def test() -> None:
        slow = Slow()
        async with serving(slow, shutdown_grace=20) as served, connection(served.port) as (reader, writer):
            writer.write(GET + GET)
            await slow.running.wait()
            served.stop.set()
            await asyncio.sleep(0.1)
            assert not served.task.done()
            with pytest.raises(OSError):
                await asyncio.open_connection("127.0.0.1", served.port)
            slow.go_on.set()
            told = await reader.read()
            assert told.split(b"\r\n\r\n", 1)[1].startswith(b"halfhalf")
            await served.task

    run(test())


def test_what_still_runs_after_the_grace_is_cut_and_never_ends_cleanly() -> None:
    async def test() -> None:
        slow = Slow()
        async with serving(slow, shutdown_grace=0.2) as served, connection(served.port) as (reader, writer):
            writer.write(GET)
            await slow.running.wait()
            started = time.monotonic()
            served.stop.set()
            await served.task
            assert time.monotonic() - started < 2
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await read_answer(reader)

    run(test())


def test_a_failing_application_is_a_closed_connection_once_the_answer_began() -> None:
    async def application(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"8")]})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError

    async def test() -> None:
        async with serving(application) as served, connection(served.port) as (reader, writer):
            writer.write(GET)
            assert (await reader.read()).endswith(b"\r\n\r\nhalf")

    run(test())
