"""Many who need `aws/s3` first, at the same time and on several workers, make one key of it, and it is there for all."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.kms_clients import SSE, events, is_up, put, put_default_encryption
from tests.harness import Reply, Server, running, wait_until

AT_ONCE = 24


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path, "--workers", "3") as started:
        yield started


def test_many_first_uses_of_a_key_service_that_is_killed_meanwhile_make_one_managed_key(server: Server) -> None:
    assert server.send("PUT", "/bucket").status == 200
    together = threading.Barrier(AT_ONCE + 1)

    def write(number: int) -> Reply:
        together.wait(30)
        return put(server, f"/bucket/{number}", b"content")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        asked = [pool.submit(write, number) for number in range(AT_ONCE)]
        together.wait(30)
        time.sleep(random.uniform(0, 0.15))  # a random moment among the first uses
        os.kill(server.kms_process(), signal.SIGKILL)
        replies = [each.result(60) for each in asked]
    assert {reply.status for reply in replies} <= {200, 503}
    kms = server.kms()
    wait_until(lambda: is_up(kms), seconds=30)
    wait_until(lambda: put(server, "/bucket/again").status == 200, seconds=5)
    assert len(kms.list_keys()["Keys"]) == 1
    assert len([event for event in events(server) if event["eventName"] == "CreateKey"]) == 1
    for number, reply in enumerate(replies):
        found = server.send("GET", f"/bucket/{number}")
        assert (found.status, found.body) == (200, b"content") if reply.status == 200 else found.status in (200, 404)


def test_many_first_uses_make_one_managed_key(server: Server) -> None:
    """Plain, as the default of buckets that are new too, and with bucket keys."""
    for number in range(3):
        assert server.send("PUT", f"/bucket-{number}").status == 200
    put_default_encryption(server, "bucket-1")
    put_default_encryption(server, "bucket-2", bucket_key=True)
    together = threading.Barrier(AT_ONCE)

    def write(number: int) -> Reply:
        together.wait(30)
        match number % 4:
            case 0:
                return put(server, f"/bucket-0/{number}", b"content")
            case 1 | 2:
                return server.send("PUT", f"/bucket-{number % 4}/{number}", body=b"content")
            case _:
                assert server.send("PUT", f"/new-bucket-{number}").status == 200
                put_default_encryption(server, f"new-bucket-{number}")
                return server.send("PUT", f"/new-bucket-{number}/{number}", body=b"content")

    with ThreadPoolExecutor(AT_ONCE) as pool:
        replies = list(pool.map(write, range(AT_ONCE)))
    assert {reply.status for reply in replies} == {200}
    arns = {reply.headers[f"{SSE}-aws-kms-key-id"] for reply in replies}
    kms = server.kms()
    wait_until(lambda: is_up(kms))
    (arn,) = arns
    assert kms.describe_key(KeyId="alias/aws/s3")["KeyMetadata"]["Arn"] == arn
    assert [each["KeyArn"] for each in kms.list_keys()["Keys"]] == [arn]
    created = [event for event in events(server) if event["eventName"] == "CreateKey"]
    assert [event["resources"][0]["ARN"] for event in created] == [arn]
    for number in range(AT_ONCE):
        bucket = f"new-bucket-{number}" if number % 4 == 3 else f"bucket-{number % 4}"
        assert server.send("GET", f"/{bucket}/{number}").body == b"content"
