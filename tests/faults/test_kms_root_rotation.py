"""The root key rotated, and unseal slots added and removed, while the key service is busy; killed at any moment, the next
start finishes it.
"""

import io
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from strongroom.cli import kms_admin
from tests.faults.kms_clients import GONE, ROUNDS, check_record, events, is_up, put, request_id
from tests.harness import Server, new_key, new_server, wait_until

KEYS = 20
CLIENTS = 3


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = new_server(tmp_path, "--workers", "1", environment={"STRONGROOM_LOG_LEVEL": "warning"}).start()
    yield started
    with suppress(ProcessLookupError):
        started.kill()


@dataclass
class Load:
    """Data keys made and opened, keys created and changed, all the time. `data_keys`: every one that was answered."""

    kms: Any
    keys: list[str]
    data_keys: list[tuple[bytes, bytes]] = field(default_factory=list)
    acknowledged: dict[str, str] = field(default_factory=dict)
    interruptions: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, number: int) -> None:
        turn = 0
        while not self.stop.is_set():
            turn += 1
            try:
                self.turn(number, turn)
            except GONE:
                self.interruptions += 1
                time.sleep(0.02)  # no busy loop while it is away

    def turn(self, number: int, turn: int) -> None:
        key = random.choice(self.keys)
        answer = self.kms.generate_data_key(KeyId=key, KeySpec="AES_256")
        self.acknowledged[request_id(answer)] = "GenerateDataKey"
        self.data_keys.append((answer["CiphertextBlob"], answer["Plaintext"]))
        blob, plaintext = random.choice(self.data_keys)
        assert self.kms.decrypt(CiphertextBlob=blob)["Plaintext"] == plaintext
        if turn % 4 == 0:
            answer = self.kms.update_key_description(KeyId=self.keys[number], Description=f"{turn}")
            self.acknowledged[request_id(answer)] = "UpdateKeyDescription"

    def check(self) -> None:
        for blob, plaintext in self.data_keys:
            assert self.kms.decrypt(CiphertextBlob=blob)["Plaintext"] == plaintext


@contextmanager
def busy(load: Load) -> Iterator[None]:
    load.stop.clear()
    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(load.run, number) for number in range(CLIENTS)]
        try:
            wait_until(lambda: len(load.data_keys) > 5)
            yield
        finally:
            load.stop.set()
        for each in running:
            each.result(30)


def told(command: Callable[[], int]) -> dict[str, Any]:
    """What the command prints, as JSON."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert command() == 0
    answer: dict[str, Any] = json.loads(printed.getvalue())
    return answer


def slots(server: Server) -> dict[str, Any]:
    return told(lambda: kms_admin.slot_list(server.data_dir, as_json=True))


def rotate(server: Server) -> int:
    """The version in force."""
    answer = told(lambda: kms_admin.rotate_root(server.data_dir, passphrase_files={}, as_json=True))
    return int(answer["rootVersion"])


def test_the_root_key_is_rotated_under_load_and_nobody_is_refused(server: Server) -> None:
    kms = server.kms()
    load = Load(kms, [new_key(kms) for _ in range(KEYS)])
    assert server.send("PUT", "/bucket").status == 200
    assert put(server, "/bucket/kms").status == 200
    with busy(load):
        assert rotate(server) == 2
        assert server.send("GET", "/bucket/kms").body == b"content"
        assert rotate(server) == 3
    assert load.interruptions == 0
    load.check()
    assert slots(server)["rootVersion"] == 3
    check_record(server, load.acknowledged)
    names = [event["eventName"] for event in events(server)]
    assert (names.count("RotateRoot"), names.count("RotateRootCompleted")) == (2, 2)
    server.kill()
    server.start()
    load.check()
    assert server.send("GET", "/bucket/kms").body == b"content"


def test_a_rotation_that_is_killed_at_any_moment_is_finished_by_the_next_start(server: Server) -> None:
    kms = server.kms()
    load = Load(kms, [new_key(kms) for _ in range(KEYS)])
    version = 1
    for _ in range(ROUNDS):
        with busy(load), ThreadPoolExecutor(1) as beside:
            output = io.StringIO()
            with redirect_stdout(output):
                rotating = beside.submit(kms_admin.rotate_root, server.data_dir, passphrase_files={}, as_json=True)
                time.sleep(random.uniform(0, 0.2))  # a random moment of it
                os.kill(server.kms_process(), signal.SIGKILL)
                rotating.result(60)
            wait_until(lambda: is_up(kms), seconds=30)
            found = slots(server)["rootVersion"]
            assert found in (version, version + 1)
            version = found
        load.check()
        check_record(server, load.acknowledged)
    assert rotate(server) == version + 1
    server.kill()
    server.start()
    load.check()
    check_record(server, load.acknowledged)
    assert " ERROR " not in server.log.read_text()


def test_slots_come_and_go_under_load_and_whichever_is_left_opens_the_next_start(server: Server) -> None:
    kms = server.kms()
    load = Load(kms, [new_key(kms) for _ in range(CLIENTS)])
    (first,) = slots(server)["slots"]
    with busy(load):
        added = told(lambda: _add(server, "second"))
        assert [slot["name"] for slot in slots(server)["slots"]] == [first["name"], "second"]
        told(lambda: kms_admin.slot_remove(server.data_dir, first["name"], as_json=True))
        assert kms_admin.slot_remove(server.data_dir, "second", as_json=True) == 1  # the last one
        assert rotate(server) == 2
    assert load.interruptions == 0
    Path(first["path"]).unlink()
    server.kill()
    server.start()
    (left,) = slots(server)["slots"]
    assert (left["name"], left["path"], left["openedThisStart"]) == ("second", added["path"], True)
    load.check()
    check_record(server, load.acknowledged)


def _add(server: Server, name: str) -> int:
    return kms_admin.slot_add(
        server.data_dir, "keyfile", name, path=None, key_file=None, passphrase_file=None, as_json=True
    )
