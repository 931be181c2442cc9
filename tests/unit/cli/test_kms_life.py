"""The key service's own life through the command line: slots, root rotation, starts by each kind of slot, and going on from
an older copy.
"""

import base64
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import Server, new_server
from tests.unit.cli.test_store_commands import run

PHRASE = "four random words, and a fifth"
KEY = base64.b64encode(bytes(range(100, 132))).decode()
SERVE = ("--listen", "127.0.0.1:0", "--listen-tls", "off", "--listen-metrics", "off", "--kms-listen", "off")
BUCKET = "documents"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = new_server(tmp_path, "--workers", "1").start()
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


def slot(server: Server, *arguments: object) -> Any:
    return run("kms", "slot", *arguments, "--data-dir", server.data_dir)


def slots(server: Server) -> dict[str, dict[str, Any]]:
    done = slot(server, "list", "--json")
    assert done.returncode == 0, done.stderr
    return {each["name"]: each for each in json.loads(done.stdout)["slots"]}


def put(server: Server, key: str) -> None:
    server.s3().put_object(Bucket=BUCKET, Key=key, Body=key.encode(), ServerSideEncryption="aws:kms")


def opens(server: Server, key: str) -> bool:
    return bool(server.s3().get_object(Bucket=BUCKET, Key=key)["Body"].read() == key.encode())


def refused_start(server: Server, **environment: str) -> str:
    done = run("serve", "--data-dir", server.data_dir, *SERVE, environment=environment)
    assert done.returncode == 1
    return done.stderr


def events(server: Server, name: str) -> list[dict[str, Any]]:
    lines = [
        line for path in sorted((server.data_dir / "audit").glob("*.jsonl")) for line in path.read_text().splitlines()
    ]
    return [event for line in lines for event in [json.loads(line)["event"]] if event["eventName"] == name]


def test_slots_and_root_rotation_beside_a_running_server(server: Server, tmp_path: Path) -> None:
    """Added, shown, used for a start, removed; what is removed opens nothing, and the last one stays."""
    server.s3().create_bucket(Bucket=BUCKET)
    put(server, "before")
    phrase, key = tmp_path / "phrase", tmp_path / "key"
    phrase.write_text(PHRASE + "\n")
    key.write_text(KEY + "\n")
    assert (
        slot(server, "add", "--kind", "passphrase", "--name", "recovery", "--passphrase-file", phrase).returncode == 0
    )
    assert slot(server, "add", "--kind", "environment", "--name", "unit", "--key-file", key).returncode == 0
    again = slot(server, "add", "--kind", "keyfile", "--name", "recovery")
    assert (again.returncode, again.stderr) == (1, "strongroom: there is a slot 'recovery' already\n")
    table = slot(server, "list").stdout
    assert all(word in table for word in ("default", "recovery", "unit", "Argon2id, 256 MiB", "opened this start"))
    assert {name: each["kind"] for name, each in slots(server).items()} == {
        "default": "keyfile",
        "recovery": "passphrase",
        "unit": "environment",
    }

    needs = run("kms", "rotate-root", "--data-dir", server.data_dir)
    assert needs.returncode == 1
    assert "slot 'recovery' (passphrase)" in needs.stderr
    given = ("--passphrase-file", f"recovery={phrase}")
    lacks = run("kms", "rotate-root", "--data-dir", server.data_dir, *given)
    assert "slot 'unit' (environment)" in lacks.stderr
    assert slot(server, "remove", "unit").returncode == 0
    rotated = run("kms", "rotate-root", "--data-dir", server.data_dir, *given)
    assert rotated.returncode == 0, rotated.stderr
    assert rotated.stdout.startswith("The root key is of version 2, and everything is sealed under it.")
    assert json.loads(run("kms", "rotate-root", "--data-dir", server.data_dir, *given, "--json").stdout) == {
        "rootVersion": 3
    }
    put(server, "after")
    assert opens(server, "before")

    removed = slot(server, "remove", "default")
    assert "rotate-root" in removed.stdout
    last = slot(server, "remove", "recovery")
    assert (last.returncode, "the last slot" in last.stderr) == (1, True)
    server.stop()

    assert "no unseal slot opens the root key" in (told := refused_start(server))
    assert "slot 'recovery' (passphrase): no passphrase was given (STRONGROOM_KMS_PASSPHRASE" in told
    assert "slot 'recovery' (passphrase): the passphrase is wrong" in refused_start(
        server, STRONGROOM_KMS_PASSPHRASE="quite another phrase"
    )
    (server.data_dir / "kms" / "root.key").unlink()
    server.environment["STRONGROOM_KMS_PASSPHRASE"] = PHRASE
    server.start()
    assert opens(server, "before")
    assert opens(server, "after")
    assert slots(server)["recovery"]["openedThisStart"]
    names = ["AddUnsealSlot", "RemoveUnsealSlot", "RotateRoot", "RotateRootCompleted", "ListUnsealSlots"]
    assert all(events(server, name) for name in names)
    assert PHRASE not in "".join(path.read_text() for path in (server.data_dir / "audit").glob("*.jsonl"))


def test_a_start_by_the_environment(tmp_path: Path) -> None:
    """A new store whose root key is given leaves no key file; another key, or none, is refused by name."""
    server = new_server(tmp_path, "--workers", "1", environment={"STRONGROOM_KMS_ROOT_KEY": KEY}).start()
    try:
        server.s3().create_bucket(Bucket=BUCKET)
        put(server, "one")
        assert slots(server)["default"]["kind"] == "environment"
        assert not list((server.data_dir / "kms").glob("*.key"))
    finally:
        server.stop()
    other = base64.b64encode(os.urandom(32)).decode()
    assert "slot 'default' (environment): STRONGROOM_KMS_ROOT_KEY is not set" in refused_start(server)
    told = refused_start(server, STRONGROOM_KMS_ROOT_KEY=other)
    assert "slot 'default' (environment): the key given is" in told
    assert other not in told
    server.start()
    try:
        assert opens(server, "one")
    finally:
        server.stop()


def test_nothing_to_accept_and_no_service_at_all_are_told(server: Server, tmp_path: Path) -> None:
    done = run("kms", "accept-restore", "--data-dir", server.data_dir)
    assert done.returncode == 1
    assert "another process has opened" in done.stderr
    server.stop()
    done = run("kms", "accept-restore", "--data-dir", server.data_dir)
    assert (done.returncode, done.stdout) == (0, "There is nothing to accept: the key service starts as it is.\n")
    assert run("kms", "accept-restore", "--data-dir", server.data_dir, "--json").stdout == "null\n"
    done = run("kms", "accept-restore", "--data-dir", tmp_path)
    assert (done.returncode, done.stderr) == (1, f"strongroom: there is no key service in {tmp_path}\n")


def test_an_older_copy_is_refused_and_accepted_on_record(server: Server, tmp_path: Path) -> None:
    client = server.kms()
    ids = {name: client.create_key(Description=name)["KeyMetadata"]["KeyId"] for name in ("changed", "untouched")}
    server.stop()
    shutil.copytree(server.data_dir / "kms", tmp_path / "older")
    server.start()
    client = server.kms()
    client.update_key_description(KeyId=ids["changed"], Description="another")
    lost = client.create_key()["KeyMetadata"]["KeyId"]
    server.stop()
    shutil.rmtree(server.data_dir / "kms")
    shutil.copytree(tmp_path / "older", server.data_dir / "kms")

    told = refused_start(server)
    assert "the database of the key service is older than its audit log" in told
    assert "UpdateKeyDescription" in told
    assert f"strongroom kms accept-restore --data-dir {server.data_dir}" in told
    assert "Traceback" not in told

    done = run("kms", "accept-restore", "--data-dir", server.data_dir)
    assert done.returncode == 0, done.stderr
    assert "Accepted, and recorded: the database of the key service is older" in done.stdout
    disabled, _, gone = done.stdout.partition("Not in this copy, and lost with all that they seal:")
    assert ids["changed"] in disabled
    assert lost in gone
    assert ids["untouched"] not in done.stdout

    server.start()
    client = server.kms()
    states = {name: client.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] for name, key in ids.items()}
    assert states == {"changed": "Disabled", "untouched": "Enabled"}
    (event,) = events(server, "AcceptRestore")
    assert (ids["changed"] in json.dumps(event), lost in json.dumps(event)) == (True, True)
    client.enable_key(KeyId=ids["changed"])
    server.stop()
    assert run("kms", "accept-restore", "--data-dir", server.data_dir, "--json").stdout == "null\n"


def test_a_log_that_was_cut_is_refused_and_accepted_on_record(server: Server) -> None:
    client = server.kms()
    key = client.create_key()["KeyMetadata"]["KeyId"]
    client.generate_data_key(KeyId=key, KeySpec="AES_256")
    server.stop()
    (path,) = (server.data_dir / "audit").glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    told = refused_start(server)
    assert "missing: the log ends before the last record that was acknowledged" in told
    assert "strongroom kms accept-restore" in told
    done = json.loads(run("kms", "accept-restore", "--data-dir", server.data_dir, "--json").stdout)
    assert (done["disabled"], done["lost"]) == ([], [])
    assert "missing" in done["found"]
    server.start()
    assert server.kms().describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Enabled"
    assert events(server, "AuditLogAccepted")
    assert run("audit", "verify", "--data-dir", server.data_dir).returncode == 1  # for ever: the record is gone
