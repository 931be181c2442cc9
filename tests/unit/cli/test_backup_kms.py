"""`strongroom backup` and the key service: what is in the copy, and that a server starts on it and opens everything."""

import json
import os
import shutil
import sqlite3
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from strongroom.cli import backup_kms, supervisor
from strongroom.kms.opening import hold
from strongroom.kms.slots import KeyFile, encode_source
from strongroom.server.paths import Paths
from tests.harness import running
from tests.unit.cli.test_store_commands import run

BUCKET = "documents"
OBJECTS: dict[str, dict[str, Any]] = {
    "sse-kms": {"ServerSideEncryption": "aws:kms"},
    "own-key": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/own"},
    "bucket-key": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/own", "BucketKeyEnabled": True},
    "dsse": {"ServerSideEncryption": "aws:kms:dsse", "SSEKMSKeyId": "alias/own"},
    "sse-s3": {},
}


@dataclass(frozen=True)
class Copies:
    """`live`: made beside the server, without keys. `at_rest`: with keys, when it had been stopped."""

    data_dir: Path
    live: Path
    at_rest: Path
    told: str
    told_at_rest: str


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Copies:
    directory = tmp_path_factory.mktemp("backup")
    for name in ("source", "live", "at_rest"):
        (directory / name).mkdir()
    with running(directory / "source", "--workers", "1") as server:
        client = server.kms()
        key = client.create_key()["KeyMetadata"]["KeyId"]
        client.create_alias(AliasName="alias/own", TargetKeyId=key)
        s3 = server.s3()
        s3.create_bucket(Bucket=BUCKET)
        for name, encryption in OBJECTS.items():
            s3.put_object(Bucket=BUCKET, Key=name, Body=name.encode() * 1000, **encryption)
        live = run("backup", "--data-dir", server.data_dir, directory / "live" / "data")
        assert live.returncode == 0, live.stderr
    at_rest = run("backup", "--data-dir", server.data_dir, directory / "at_rest" / "data", "--with-keys")
    assert at_rest.returncode == 0, at_rest.stderr
    return Copies(
        server.data_dir, directory / "live" / "data", directory / "at_rest" / "data", live.stdout, at_rest.stdout
    )


def opens(directory: Path) -> None:
    """A server on `directory`/data reads every object, and goes on with the audit log."""
    with running(directory, "--workers", "1") as server:
        s3 = server.s3()
        for name, encryption in OBJECTS.items():
            got = s3.get_object(Bucket=BUCKET, Key=name)
            assert got["Body"].read() == name.encode() * 1000
            assert got["ServerSideEncryption"] == encryption.get("ServerSideEncryption", "AES256")
        s3.put_object(Bucket=BUCKET, Key="new", Body=b"new", **OBJECTS["own-key"])
        events = [json.loads(line)["event"] for line in _log(server.data_dir)]
        assert events[-1]["eventName"] == "GenerateDataKey"
        assert not [event for event in events if event["eventName"].startswith(("AuditLog", "AcceptRestore"))]
    assert run("audit", "verify", "--data-dir", directory / "data").returncode == 0


def _log(data_dir: Path) -> list[str]:
    return [line for path in sorted((data_dir / "audit").glob("*.jsonl")) for line in path.read_text().splitlines()]


def test_without_keys_it_names_what_to_keep_and_opens_once_that_is_there(copies: Copies) -> None:
    (store_key,) = Paths(copies.data_dir).keys.iterdir()
    assert "the index, the KMS with its audit log and the users are in" in copies.told
    assert f"Without the store key {store_key.stem} nothing of it can be read" in copies.told
    assert "The KMS opens with any one of its unseal slots: slot 'default' (key file root.key)" in copies.told
    assert sorted(path.name for path in Paths(copies.live).kms.iterdir()) == ["kms.db"]
    shutil.copy2(store_key, Paths(copies.live).keys)
    shutil.copy2(Paths(copies.data_dir).identity.key, Paths(copies.live).identity.key)
    refused = run("kms", "--data-dir", copies.live, "--listen", "127.0.0.1:0", "--listen-metrics", "off")
    assert refused.returncode == 1
    assert "slot 'default' (key file root.key)" in refused.stderr
    assert "put it back from a backup" in refused.stderr
    shutil.copy2(Paths(copies.data_dir).kms / "root.key", Paths(copies.live).kms)
    opens(copies.live.parent)


def test_with_keys_it_opens_as_it_stands(copies: Copies) -> None:
    assert "the key files of the KMS (kms/root.key), the identity key" in copies.told_at_rest
    for path in (copies.at_rest, *copies.at_rest.rglob("*")):
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path
    opens(copies.at_rest.parent)


def test_a_copy_of_a_running_kms_is_on_record_before_it_is_made(copies: Copies) -> None:
    (event,) = [event for line in _log(copies.data_dir) if "BackUpKeyStore" in line for event in [json.loads(line)]]
    assert event["event"]["eventType"] == "AwsServiceEvent"
    assert "BackUpKeyStore" in "".join(_log(copies.live))
    assert not list(Paths(copies.data_dir).kms.glob("kms.db.copy*"))


def test_while_the_kms_is_away_it_says_so(copies: Copies, tmp_path: Path) -> None:
    """A server holds the directory, and its key service answers nobody."""
    with supervisor.locked_directory(Paths(copies.data_dir).kms):
        done = run("backup", "--data-dir", copies.data_dir, tmp_path / "copy")
    assert done.returncode == 1
    assert f"no key service answers at {copies.data_dir}/run/kms-admin.sock" in done.stderr
    assert not (tmp_path / "copy" / "s3" / "index.db").exists()


def test_beside_a_command_that_has_it_open_it_waits_for_another_day(copies: Copies, tmp_path: Path) -> None:
    lock = hold(Paths(copies.data_dir).kms)
    try:
        done = run("backup", "--data-dir", copies.data_dir, tmp_path / "copy")
    finally:
        os.close(lock)
    assert done.returncode == 1
    assert "another process has opened" in done.stderr


def test_a_key_file_that_lies_elsewhere_stays_there(copies: Copies, tmp_path: Path) -> None:
    source = Paths(tmp_path / "source")
    shutil.copytree(Paths(copies.data_dir).kms, source.kms)
    elsewhere = tmp_path / "stick.key"
    with sqlite3.connect(source.kms / "kms.db") as database:
        database.execute("UPDATE slots SET parameters = ?", (encode_source(KeyFile(str(elsewhere))),))
    database.close()
    shutil.move(source.kms / "root.key", elsewhere)
    copied = backup_kms.copy_key_service(source, Paths(tmp_path / "copy"), with_keys=True)
    assert copied == backup_kms.CopiedKms(key_files=(), slots=(f"slot 'default' (key file {elsewhere})",))
    assert [path.name for path in Paths(tmp_path / "copy").kms.iterdir()] == ["kms.db"]
