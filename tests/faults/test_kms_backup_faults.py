"""A backup beside a key service whose keys change all the time: every copy starts as it stands."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from strongroom.config import Settings
from strongroom.server.kms import open_key_service
from tests.harness import Server, new_server
from tests.unit.cli.test_store_commands import run

SETTINGS = Settings()


@contextmanager
def changing_keys(server: Server) -> Iterator[list[str]]:
    """Keys are made, changed and used by several clients; yields the ids of keys that were acknowledged."""
    stop, made, failures = threading.Event(), list[str](), list[BaseException]()

    def work(number: int) -> None:
        client = server.kms()
        for round_ in count():
            if stop.is_set():
                return
            key = client.create_key()["KeyMetadata"]["KeyId"]
            made.append(key)
            client.create_alias(AliasName=f"alias/{number}-{round_}", TargetKeyId=key)
            client.disable_key(KeyId=key)
            client.enable_key(KeyId=key)
            client.generate_data_key(KeyId=key, KeySpec="AES_256")
            client.rotate_key_on_demand(KeyId=key)

    def run_(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - told by the thread that waits
            failures.append(error)

    threads = [threading.Thread(target=run_, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert not failures, failures


def test_a_copy_made_under_load_starts_and_has_every_acknowledged_key(tmp_path: Path) -> None:
    server = new_server(tmp_path, "--workers", "1").start()
    try:
        copies: list[tuple[Path, set[str]]] = []
        with changing_keys(server) as made:
            for number in range(5):
                before = set(made)
                done = run("backup", "--data-dir", server.data_dir, tmp_path / str(number), "--with-keys")
                assert done.returncode == 0, done.stderr
                copies.append((tmp_path / str(number), before))
        assert len(copies[-1][1]) > len(copies[0][1])
    finally:
        server.stop()
    for directory, keys in copies:
        assert asyncio.run(_keys_of(directory)) >= keys
        verified = run("audit", "verify", "--data-dir", directory, "--json")
        assert verified.returncode == 0, verified.stdout
        names = [json.loads(line)["event"]["eventName"] for line in _lines(directory)]
        assert not {"AuditLogAccepted", "AuditLogRepaired", "AcceptRestore"} & set(names)


async def _keys_of(directory: Path) -> set[str]:
    """By a start without any concession, and one more after it."""
    for _ in range(2):
        opened = await open_key_service(SETTINGS, directory)
        found = set(opened.kms.state.keys)
        await opened.close()
    return found


def _lines(directory: Path) -> list[str]:
    return [line for path in sorted((directory / "audit").glob("*.jsonl")) for line in path.read_text().splitlines()]
