"""A disk without room for the record, or one that fails: no key leaves without its record, S3 goes on with what needs
none, and everything is served again when there is room, without a restart.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.faults.children import small_disk, tracing
from tests.faults.kms_clients import GONE, check_record, events, is_up, put, request_id
from tests.harness import Reply, Server, new_key, new_server, running, wait_until

ROOT = {"STRONGROOM_ROOT_ACCESS_KEY_ID": "operator", "STRONGROOM_ROOT_SECRET_ACCESS_KEY": "secret-of-the-operator"}


class Full:
    """A server on a disk of which somebody else has taken every byte. `inside`: where the disk is for this process."""

    def __init__(self, server: Server, inside: Path) -> None:
        self.server, self.inside = server, inside
        self.kms = server.kms()
        self.key = new_key(self.kms)
        self.acknowledged: dict[str, str] = {}
        self._filler: Any = None

    def fill(self) -> None:
        if self._filler is None:
            self._filler = (self.inside / "filler").open("wb", buffering=0)
        for size in (1 << 20, 4096):
            try:
                while self._filler.write(bytes(size)) == size:
                    pass
            except OSError:
                continue

    def make_room(self) -> None:
        self.close()
        (self.inside / "filler").unlink()

    def close(self) -> None:
        if self._filler is not None:
            self._filler.close()
            self._filler = None

    def data_key(self) -> bool:
        """False: refused, and with it the plaintext."""
        try:
            answer = self.kms.generate_data_key(KeyId=self.key, KeySpec="AES_256")
        except ClientError as error:
            if error.response["Error"]["Code"] != "KMSInternalException" or "Plaintext" in error.response:
                raise
            return False
        self.acknowledged[request_id(answer)] = "GenerateDataKey"
        return True

    def use_up(self) -> None:
        """Until the log's reserve is used up too: each time that something of it is given up, that is taken as well."""
        refusals = 0
        for _ in range(200):
            self.fill()
            refusals = 0 if self.data_key() else refusals + 1
            if refusals == 5:
                return self.fill()
        raise AssertionError("there is always room for a record")


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Full]:
    server = new_server(tmp_path, "--workers", "1", environment=ROOT)
    with small_disk(server.data_dir, "128m") as (enter, inside):
        server.under = tuple(enter)
        server.start()
        assert server.send("PUT", "/bucket").status == 200
        disk = Full(server, inside)
        assert put(server, "/bucket/kms", key=disk.key).status == 200
        assert server.send("PUT", "/bucket/s3", body=b"content").status == 200
        yield disk
        disk.close()
        server.stop()


def unavailable(reply: Reply) -> bool:
    return (reply.status, reply.code) == (503, "ServiceUnavailable")


def needs_no_key(server: Server) -> None:
    assert server.send("GET", "/-/ready", sign=False).status == 200
    assert server.send("GET", "/bucket/s3").body == b"content"
    assert server.send("HEAD", "/bucket/kms").status == 200
    assert server.send("GET", "/bucket?list-type=2").body.count(b"<Key>") >= 1


def test_without_room_for_its_record_no_key_leaves_and_with_room_again_everything_does(full):
    server, processes = full.server, full.server.processes()
    full.use_up()
    assert unavailable(server.send("GET", "/bucket/kms"))
    full.fill()
    assert unavailable(put(server, "/bucket/new", key=full.key))
    assert server.send("GET", "/bucket/new").status == 404
    full.fill()
    with pytest.raises(ClientError, match="KMSInternalException"):
        full.kms.disable_key(KeyId=full.key)
    assert not full.data_key()
    needs_no_key(server)
    full.make_room()
    is_enabled = full.kms.describe_key(KeyId=full.key)["KeyMetadata"]["Enabled"]
    disabled = [event for event in events(server, data_dir=full.inside) if event["eventName"] == "DisableKey"]
    assert [event for event in disabled if "errorCode" not in event] == ([] if is_enabled else disabled)
    full.kms.enable_key(KeyId=full.key)
    assert server.send("GET", "/bucket/kms").body == b"content"
    assert put(server, "/bucket/new", key=full.key).status == 200
    assert full.data_key()
    assert server.processes() == processes
    check_record(server, full.acknowledged, data_dir=full.inside)


def test_a_key_service_that_dies_on_a_full_disk_takes_nobody_along_and_comes_back(full):
    server, workers = full.server, full.server.workers()
    full.use_up()
    os.kill(server.kms_process(), signal.SIGKILL)
    wait_until(lambda: "A process died and is restarted" in server.log.read_text())
    for _ in range(3):
        needs_no_key(server)
    full.make_room()
    wait_until(lambda: is_up(full.kms), seconds=30)
    wait_until(lambda: server.send("GET", "/bucket/kms").body == b"content", seconds=5)
    assert full.data_key()
    assert server.workers() == workers
    check_record(server, full.acknowledged, data_dir=full.inside)


def test_a_failing_disk_under_the_log_refuses_calls_and_is_left_behind(tmp_path):
    with running(tmp_path, "--workers", "1") as server:
        kms = server.kms()
        key = new_key(kms)
        assert server.send("PUT", "/bucket").status == 200
        assert server.send("PUT", "/bucket/s3", body=b"content").status == 200
        assert put(server, "/bucket/kms", key=key).status == 200
        (file,) = (server.data_dir / "audit").glob("kms-*.jsonl")
        acknowledged: dict[str, str] = {}
        refusals = 0
        failing = ["-P", str(file), "-e", "trace=fdatasync,write", "-e", "inject=fdatasync,write:error=EIO:when=1..8"]
        trace = tmp_path / "trace"
        with tracing(server.kms_process(), trace, *failing):
            for _ in range(6):
                try:
                    answer = kms.generate_data_key(KeyId=key, KeySpec="AES_256")
                    acknowledged[request_id(answer)] = "GenerateDataKey"
                except ClientError as error:
                    assert error.response["Error"]["Code"] == "KMSInternalException", error  # noqa: PT017
                    refusals += 1
                except GONE:
                    pytest.fail("the key service went away")
                assert server.send("GET", "/bucket/s3").body == b"content"
        assert "EIO" in trace.read_text()
        assert refusals
        assert server.send("GET", "/bucket/kms").body == b"content"
        answer = kms.generate_data_key(KeyId=key, KeySpec="AES_256")
        acknowledged[request_id(answer)] = "GenerateDataKey"
        check_record(server, acknowledged)


def test_a_log_that_is_removed_under_the_key_service_stops_it_and_not_s3(tmp_path):
    """It takes that for an attack: nothing is answered, not after a restart of its own either, until a person looks."""
    with running(tmp_path, "--workers", "1") as server:
        kms = server.kms()
        key = new_key(kms)
        assert server.send("PUT", "/bucket").status == 200
        assert server.send("PUT", "/bucket/s3", body=b"content").status == 200
        assert put(server, "/bucket/kms", key=key).status == 200
        (file,) = (server.data_dir / "audit").glob("kms-*.jsonl")
        file.rename(tmp_path / "moved")
        with pytest.raises(ClientError, match="KMSInternalException"):
            kms.generate_data_key(KeyId=key, KeySpec="AES_256")
        assert unavailable(server.send("GET", "/bucket/kms"))
        os.kill(server.kms_process(), signal.SIGKILL)
        wait_until(lambda: server.log.read_text().count("A process died and is restarted") >= 2)
        assert "strongroom kms accept-restore" in server.log.read_text()
        assert server.send("GET", "/-/ready", sign=False).status == 200
        assert server.send("GET", "/bucket/s3").body == b"content"
        (tmp_path / "moved").rename(file)
        wait_until(lambda: is_up(kms), seconds=30)
        wait_until(lambda: server.send("GET", "/bucket/kms").body == b"content", seconds=5)
