"""A key service that hangs (SIGSTOP) in the middle of traffic: whoever needs it is told so in time, everybody else is not
touched, and it is used again as soon as it goes on.
"""

import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.kms_clients import check_record, put, request_id, verified
from tests.harness import Reply, Server, new_key, running, wait_until

IN_ALL = 10.0  # seconds that a call of the key service may take
SLOW = 3.0  # what this machine may take beyond that, while it does other things
CLIENTS = 8
# One worker: its breaker sees all failures.
ALONE = ("--workers", "1")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("stopped"), *ALONE) as started:
        started.send("PUT", "/bucket")
        for number in range(CLIENTS):
            assert put(started, f"/bucket/{number}", b"content").status == 200
        assert started.send("PUT", "/bucket/s3", body=b"content").status == 200
        yield started


@contextmanager
def stopped(server: Server) -> Iterator[None]:
    pid = server.kms_process()
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: ") T " in Path(f"/proc/{pid}/stat").read_text())
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def timed(server: Server, number: int) -> tuple[float, Reply]:
    began = time.monotonic()
    target = f"/bucket/{number}"
    reply = put(server, target, b"content") if number % 2 else server.send("GET", target)
    return time.monotonic() - began, reply


def is_told(reply: Reply) -> bool:
    return (reply.status, reply.code) == (503, "ServiceUnavailable") and int(reply.headers["retry-after"]) > 0


def opened_breakers(server: Server) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return int(float(next(line for line in lines if line.startswith("strongroom_kms_breakers_open")).split()[-1]))


def test_requests_that_need_a_key_end_in_time_then_at_once_and_succeed_soon_after(server):
    with ThreadPoolExecutor(CLIENTS) as pool:
        with stopped(server):
            waiting = [pool.submit(timed, server, number) for number in range(CLIENTS)]
            assert server.send("GET", "/-/ready", sign=False).status == 200
            assert server.send("GET", "/bucket/s3").body == b"content"
            assert server.send("HEAD", "/bucket/0").status == 200
            for took, reply in (each.result() for each in waiting):
                assert is_told(reply)
                assert took < IN_ALL + SLOW
            assert opened_breakers(server) == 1
            times = sorted(timed(server, number)[0] for number in range(CLIENTS))
            assert times[CLIENTS // 2] < 1  # a probe may take two seconds, and the others are told at once
            assert times[-1] < 2 + SLOW
            assert server.send("PUT", "/bucket/s3", body=b"content").status == 200
            assert server.send("DELETE", "/bucket/nothing").status == 204
        wait_until(lambda: server.send("GET", "/bucket/0").body == b"content", seconds=5)
    for number in range(CLIENTS):
        assert server.send("GET", f"/bucket/{number}").body == b"content"
        assert put(server, f"/bucket/{number}").status == 200
    assert opened_breakers(server) == 0
    assert verified(server).problems == []


def test_calls_that_hung_are_answered_and_recorded_when_it_goes_on(server):
    """AWS clients, who have patience of their own."""
    kms = server.kms(read_timeout=60)
    key = new_key(kms)
    with ThreadPoolExecutor(CLIENTS) as pool:
        with stopped(server):
            asked = [pool.submit(kms.generate_data_key, KeyId=key, KeySpec="AES_256") for _ in range(CLIENTS)]
            time.sleep(0.5)  # they are under way
            assert not any(each.done() for each in asked)
        answers = [each.result(30) for each in asked]
    check_record(server, {request_id(answer): "GenerateDataKey" for answer in answers})
