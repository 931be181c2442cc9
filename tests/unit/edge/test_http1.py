"""Every test speaks to a real listener over a real socket: what matters is what another reader of the same bytes would see."""

import asyncio
import socket
import ssl
import time
from contextlib import suppress

import pytest

from strongroom.edge import certificates, http1
from tests.serving import Recorder, answer, connection, exchange, read, read_answer, run, serving

CLOSE = b"Connection: close\r\n"


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/bucket/key", b"/bucket/key", b""),
        (b"//bucket//key//", b"//bucket//key//", b""),
        (b"/a/../b/./c", b"/a/../b/./c", b""),
        (b"/a%2Fb%2f%00%zz", b"/a%2Fb%2f%00%zz", b""),
        (b"/a+b?x=1&x=2&y=a%20b+c?d=//", b"/a+b", b"x=1&x=2&y=a%20b+c?d=//"),
        (b"/a\\b:80@c[x", b"/a\\b:80@c[x", b""),
        (b"http://host:9/a//../b?c", b"/a//../b", b"c"),
        (b"/?", b"/", b""),
    ],
)
def test_the_request_target_reaches_the_application_as_sent(target, path, query) -> None:
    async def test() -> None:
        application = Recorder()
        async with serving(application) as served:
            host = b"host:9" if target.startswith(b"http") else b"x"
            told = await exchange(served.port, b"GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (target, host, CLOSE))
        assert told.startswith(b"HTTP/1.1 200")
        assert (application.scopes[0]["raw_path"], application.scopes[0]["query_string"]) == (path, query)

    run(test())


AMBIGUOUS = {
    "content-length and chunked": b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and content-length": b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "content-length twice": b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "content-length as a list": b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\nabc",
    "content-length with a sign": b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
    "negative content-length": b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "content-length beyond 64 bits": b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "space before the colon": b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length : 3\r\n\r\nabc",
    "another coding": b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\nabc",
    "another coding before chunked": b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "another coding after chunked": b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked twice": b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "almost chunked": b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"PUT / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunk size with a space": b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
    "chunk lines without CR": b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
    "lines without CR": b"GET / HTTP/1.1\nHost: x\n\n",
    "one line without CR": b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
    "folded header": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
    "CR inside a header": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
    "NUL inside a header": b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n",
    "header without a name": b"GET / HTTP/1.1\r\nHost: x\r\n: c\r\n\r\n",
    "header without a colon": b"GET / HTTP/1.1\r\nHost: x\r\nA\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "target and host differ": b"GET http://y/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "user in the target": b"GET http://u@x/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "target without a path": b"GET http://x HTTP/1.1\r\nHost: x\r\n\r\n",
    "fragment": b"PUT /a#b HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "space in the target": b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "raw UTF-8 in the target": b"GET /a\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
    "control character in the target": b"GET /a\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tunnel": b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "an upgrade with a body": (
        b"PUT / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc"
    ),
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2": b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an unknown method": b"FOO / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a method in lower case": b"get / HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS on the plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_two_readers_could_read_in_two_ways_is_400_and_ends_the_connection(name) -> None:
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

    async def test() -> None:
        application = Recorder()
        async with serving(application) as served, connection(served.port) as (reader, writer):
            writer.write(AMBIGUOUS[name] + smuggled)
            writer.write_eof()
            told = await reader.read()
        assert told.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert told.count(b"HTTP/1.1") == 1
        assert b"connection: close" in told
        assert b"x-amz-request-id: " in told
        assert b"x-amz-id-2: " in told
        assert b"<Code>BadRequest</Code>" in told
        assert b"/smuggled" not in [scope["raw_path"] for scope in application.scopes]
        assert all(not body for body in application.bodies)

    run(test())


def test_an_upgrade_is_ignored_and_is_the_connections_last_request() -> None:
    async def test() -> None:
        application = Recorder()
        request = b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        async with serving(application) as served:
            told = await exchange(served.port, request + b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n")
        assert told.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in told
        assert [scope["raw_path"] for scope in application.scopes] == [b"/a"]

    run(test())


def test_a_trailer_field_does_not_become_a_header() -> None:
    async def test() -> None:
        application = Recorder()
        request = b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" + CLOSE
        chunks = b"\r\n3\r\nabc\r\n0\r\nx-amz-copy-source: /secret/key\r\n\r\n"
        async with serving(application) as served:
            await exchange(served.port, request + chunks)
        assert application.bodies == [b"abc"]
        assert [name for name, _ in application.scopes[0]["headers"]] == [b"host", b"transfer-encoding", b"connection"]

    run(test())


@pytest.mark.parametrize("pieces", [1, 40])
@pytest.mark.parametrize("where", ["target", "one header", "many headers", "unfinished header", "trailer"])
def test_a_head_beyond_16_kib_is_refused(where, pieces) -> None:
    size = http1.MAX_HEAD_BYTES
    request = {
        "target": b"GET /" + b"a" * size + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        "one header": b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * size + b"\r\n\r\n",
        "many headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * (size // 6) + b"\r\n",
        "unfinished header": b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * size,
        "trailer": b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: "
        + b"a" * size
        + b"\r\n\r\n",
    }[where]

    async def test() -> None:
        application = Recorder()
        async with serving(application) as served, connection(served.port) as (reader, writer):
            step = len(request) // pieces + 1
            for start in range(0, len(request), step):
                writer.write(request[start : start + step])
                await writer.drain()
                await asyncio.sleep(0)
            told = await reader.readuntil(b"</Error>")
        assert told.startswith(b"HTTP/1.1 400 ")
        assert b"<Code>RequestHeaderSectionTooLarge</Code>" in told
        assert application.bodies in ([], [b""])

    run(test())


def test_a_head_of_16_kib_is_served() -> None:
    async def test() -> None:
        application = Recorder()
        head = b"GET / HTTP/1.1\r\nHost: x\r\n" + CLOSE
        head += b"A: " + b"a" * (http1.MAX_HEAD_BYTES - len(head) - 16)
        async with serving(application) as served:
            told = await exchange(served.port, head + b"\r\n\r\n")
        assert told.startswith(b"HTTP/1.1 200")

    run(test())


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\nHost: x\r\nA: b", b"GET /"])
def test_a_head_that_does_not_end_is_a_timeout_even_if_bytes_keep_coming(sent) -> None:
    async def test() -> None:
        async with serving(Recorder(), stall_timeout=0.3) as served, connection(served.port) as (reader, writer):
            begun = time.monotonic()
            writer.write(sent)

            async def trickle() -> None:
                while True:
                    await asyncio.sleep(0.05)
                    writer.write(b"E")

            task = asyncio.create_task(trickle())
            told = await reader.readuntil(b"</Error>")
            task.cancel()
        assert b"<Code>RequestTimeout</Code>" in told
        assert 0.2 < time.monotonic() - begun < 2

    run(test())


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"\r\n\r\n"])
def test_a_connection_without_a_request_is_closed(sent) -> None:
    async def test() -> None:
        async with serving(Recorder(), stall_timeout=0.2) as served:
            assert await exchange(served.port, sent) == b""

    run(test())


def test_a_second_head_has_its_time_limit_too() -> None:
    async def test() -> None:
        async with serving(Recorder(), stall_timeout=0.2) as served, connection(served.port) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await read_answer(reader))[0] == 200
            writer.write(b"GET / HTTP/1.1\r\nHo")
            assert b"<Code>RequestTimeout</Code>" in await reader.readuntil(b"</Error>")

    run(test())


def test_nothing_is_written_into_an_answer_under_way() -> None:
    """Garbage after a whole request: the answer stays whole, and the connection ends after it."""
    go_on = asyncio.Event()

    async def application(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"8")]})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"half"})

    async def test() -> None:
        async with serving(application) as served, connection(served.port) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readuntil(b"half")).endswith(b"half")
            writer.write(b"garbage \x00\r\n\r\n")
            writer.write(b"more garbage")
            await asyncio.sleep(0.05)
            go_on.set()
            assert await reader.read() == b"half"

    run(test())


def test_a_body_that_breaks_ends_the_request() -> None:
    """The application sees the client's end, never a body that looks complete."""
    seen: list[str] = []

    async def application(scope, receive, send) -> None:
        while (message := await receive())["type"] == "http.request":
            seen.append("more" if message["more_body"] else "end")
        seen.append("disconnect")

    async def test() -> None:
        request = b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n"
        async with serving(application) as served:
            told = await exchange(served.port, request)
        assert told.startswith(b"HTTP/1.1 400 ")
        assert told.count(b"HTTP/1.1") == 1
        assert seen[-1] == "disconnect"
        assert "end" not in seen

    run(test())


PUT = b"PUT /k HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n"


async def _forbid(scope, receive, send) -> None:
    await answer(send, 403, b"no")


def test_100_continue_is_sent_when_the_body_is_asked_for() -> None:
    async def test() -> None:
        application = Recorder()
        async with serving(application) as served, connection(served.port) as (reader, writer):
            writer.write(PUT % 3 + b"Expect: 100-continue\r\n\r\n")
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"abc")
            status, head, body = await read_answer(reader)
            assert (status, body) == (200, b"abc")
            assert b"close" not in head

    run(test())


def test_a_refusal_before_the_body_sends_no_100_and_closes() -> None:
    async def test() -> None:
        async with serving(_forbid) as served, connection(served.port) as (reader, writer):
            writer.write(PUT % 1000 + b"Expect: 100-continue\r\n\r\n")
            status, head, body = await read_answer(reader)
            assert (status, body) == (403, b"no")
            assert b"connection: close" in head
            writer.write_eof()
            assert await reader.read() == b""

    run(test())


@pytest.mark.parametrize("coding", [b"Content-Length: 20000000\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_a_refusal_reaches_a_client_that_is_still_sending(coding) -> None:
    """A client that sends its whole body before it reads must find the answer, not a reset."""
    size = 20_000_000
    body = b"x" * size if coding.startswith(b"Content") else b"%x\r\n" % size + b"x" * size + b"\r\n0\r\n\r\n"

    async def test() -> None:
        async with serving(_forbid) as served, connection(served.port) as (reader, writer):
            writer.write(b"PUT /k HTTP/1.1\r\nHost: x\r\n" + coding + b"\r\n")
            writer.write(body)
            await writer.drain()
            status, head, told = await read_answer(reader)
            assert (status, told) == (403, b"no")
            assert b"connection: close" in head
            assert await reader.read() == b""

    run(test())


def test_the_bytes_of_a_refused_body_are_no_request() -> None:
    async def test() -> None:
        requests = []

        async def application(scope, receive, send) -> None:
            requests.append(scope["raw_path"])
            await answer(send, 403)

        hidden = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
        async with serving(application) as served:
            told = await exchange(served.port, PUT % len(hidden) + b"\r\n" + hidden + hidden)
        assert told.count(b"HTTP/1.1 ") == 1
        assert requests == [b"/k"]

    run(test())


def test_a_refused_client_does_not_hold_the_connection_for_ever(monkeypatch) -> None:
    monkeypatch.setattr(http1, "LINGER_IDLE_SECONDS", 0.2)

    async def test() -> None:
        async with serving(_forbid) as served, connection(served.port) as (reader, writer):
            writer.write(PUT % 1000 + b"\r\nabc")
            begun = time.monotonic()
            assert (await reader.read()).endswith(b"no")
            assert time.monotonic() - begun < 2

    run(test())


def test_a_connection_goes_on_when_the_body_was_read() -> None:
    async def test() -> None:
        async def application(scope, receive, send) -> None:
            await read(receive)
            await answer(send, 403)

        async with serving(application) as served, connection(served.port) as (reader, writer):
            for _ in range(3):
                writer.write(PUT % 3 + b"\r\nabc")
                status, head, _ = await read_answer(reader)
                assert status == 403
                assert b"close" not in head

    run(test())


def test_a_connection_goes_on_when_every_declared_byte_was_taken() -> None:
    """An application that counts its bytes need not ask once more for the end."""

    async def test() -> None:
        async def application(scope, receive, send) -> None:
            taken = 0
            while taken < 3:
                taken += len((await receive())["body"])
            await answer(send, 200)

        async with serving(application) as served, connection(served.port) as (reader, writer):
            for _ in range(3):
                writer.write(PUT % 3 + b"\r\na")
                await asyncio.sleep(0.01)
                writer.write(b"bc")
                assert b"close" not in (await read_answer(reader))[1]

    run(test())


def test_requests_in_one_packet_are_answered_in_order() -> None:
    async def test() -> None:
        application = Recorder()
        requests = b"".join(PUT % 1 + b"\r\n" + bytes([letter]) for letter in b"abcdef")
        async with serving(application) as served:
            told = await exchange(served.port, requests + b"GET / HTTP/1.1\r\nHost: x\r\n" + CLOSE + b"\r\n")
        assert told.count(b"HTTP/1.1 200") == 7
        assert application.bodies == [b"a", b"b", b"c", b"d", b"e", b"f", b""]

    run(test())


def _download(sent: asyncio.Event):
    async def application(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"20000000")]})
        with suppress(ConnectionResetError):
            for _ in range(20):
                await send({"type": "http.response.body", "body": bytes(1_000_000), "more_body": True})
            await send({"type": "http.response.body"})
        sent.set()

    return application


def _small_socket(port: int) -> socket.socket:
    """A client with little room, so that it is the server that holds what it does not read."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    client.setblocking(False)
    return client


def test_a_client_that_reads_nothing_is_cut() -> None:
    async def test() -> None:
        sent = asyncio.Event()
        async with serving(_download(sent), stall_timeout=0.3) as served:
            with _small_socket(served.port) as client:
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                await asyncio.wait_for(sent.wait(), 5)
                received = 0
                while piece := await loop.sock_recv(client, 2**20):
                    received += len(piece)
                assert received < 20_000_000

    run(test())


@pytest.mark.parametrize("body", [b"", b"Content-Length: 9\r\n"], ids=["", "in the middle of its request"])
def test_nobody_goes_on_answering_a_client_that_went_away(body) -> None:
    async def test() -> None:
        pieces = 0
        ended: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

        async def application(scope, receive, send) -> None:
            nonlocal pieces
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"20000000000")]})
            try:
                while True:
                    await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
                    pieces += 1
                    await asyncio.sleep(0)
            except OSError as error:
                ended.set_result(error)

        async with serving(application) as served, connection(served.port) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n" + body + b"\r\n")
            await reader.readexactly(1000)
            writer.transport.abort()
            assert isinstance(await ended, ConnectionResetError)
            assert pieces < 1000

    run(test())


def test_a_client_that_reads_slowly_is_served() -> None:
    async def test() -> None:
        sent = asyncio.Event()
        async with serving(_download(sent), stall_timeout=0.3) as served:
            with _small_socket(served.port) as client:
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                received = 0
                while piece := await loop.sock_recv(client, 2**20):
                    received += len(piece)
                    if received < 1_000_000:
                        await asyncio.sleep(0.005)
                assert received > 20_000_000

    run(test())


def test_a_client_that_reads_nothing_is_cut_under_tls_too(tmp_path) -> None:
    certificates.ensure_certificates(tmp_path, ["localhost"])
    server = certificates.ServerContext(tmp_path / certificates.SERVER_FILE).context
    client = ssl.create_default_context(cafile=tmp_path / certificates.CA_FILE)

    async def test() -> None:
        sent = asyncio.Event()
        async with (
            serving(_download(sent), stall_timeout=0.3, tls=server) as served,
            connection(served.port, client) as (reader, writer),
        ):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.wait_for(sent.wait(), 5)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError, ssl.SSLError)):
                await reader.readexactly(20_000_000)

    run(test())
