"""Somebody puts an older database back, or cuts or edits the audit log: the key service refuses to start and says what to
do about it, and what is accepted then is on record.
"""

import asyncio
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from strongroom.audit.files import list_files, opened_directory
from strongroom.config import Settings
from strongroom.database.sqlite import backup
from strongroom.server.kms import accept_restore, open_key_service
from strongroom.server.paths import StartError
from tests.faults.kms_clients import events, put, verified
from tests.harness import STRONGROOM, new_key, new_server
from tests.key_service import KeyServer, refused, serving

SAY_HOW = "strongroom kms accept-restore --data-dir"


def log_file(data_dir: Path) -> Path:
    with opened_directory(data_dir / "audit") as descriptor:
        return data_dir / "audit" / list_files(descriptor)[-1].name


def start_is_refused(data_dir: Path) -> str:
    """Why; nothing was changed."""
    before = log_file(data_dir).read_bytes(), (data_dir / "kms" / "kms.db").read_bytes()
    with pytest.raises(StartError) as raised:
        asyncio.run(open_key_service(Settings(), data_dir))
    assert (log_file(data_dir).read_bytes(), (data_dir / "kms" / "kms.db").read_bytes()) == before
    return str(raised.value)


def accept(data_dir: Path) -> Any:
    return asyncio.run(accept_restore(Settings(), data_dir))


def recorded(server: KeyServer) -> list[dict[str, Any]]:
    """The events, the log being sound but for what is known, none of them twice."""
    found = server.events()
    assert max(Counter(event["eventID"] for event in found).values()) == 1
    return found


def changed_since(data_dir: Path, change: Callable[[Any], None]) -> None:
    """`change` is made, and the database put back as it was before."""
    database = data_dir / "kms" / "kms.db"
    shutil.copy(database, data_dir / "older.db")
    with serving(data_dir) as server:
        change(server.client())
    shutil.copy(data_dir / "older.db", database)


# --- an older database


def test_serve_refuses_an_older_database_names_the_changes_and_goes_on_once_that_is_accepted(tmp_path):
    server = new_server(tmp_path, "--workers", "1").start()
    kms = server.kms()
    key, other = new_key(kms), new_key(kms)
    assert server.send("PUT", "/bucket").status == 200
    for target, name in (("/bucket/a", key), ("/bucket/b", other)):
        assert put(server, target, key=name).status == 200
    backup(server.data_dir / "kms" / "kms.db", tmp_path / "older.db")
    kms.disable_key(KeyId=key)
    lost = new_key(kms)
    assert server.stop() == 0
    shutil.copy(tmp_path / "older.db", server.data_dir / "kms" / "kms.db")

    with pytest.raises(AssertionError, match="the server did not start") as raised:
        server.start()
    told = str(raised.value)
    assert server.process.wait(20) != 0
    assert "the database of the key service is older than its audit log" in told
    assert "DisableKey" in told
    assert f"{SAY_HOW} {server.data_dir}" in told

    command = [STRONGROOM, "kms", "accept-restore", "--data-dir", str(server.data_dir), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["disabled"], summary["lost"]) == ([key.rpartition("/")[2]], [lost.rpartition("/")[2]])
    server.start()
    assert server.send("GET", "/bucket/b").status == 200
    reply = server.send("GET", "/bucket/a")
    assert (reply.status, reply.code) == (400, "KMS.DisabledException")
    kms.enable_key(KeyId=key)
    assert server.send("GET", "/bucket/a").body == b"content"
    assert verified(server).problems == []
    (event,) = [event for event in events(server) if event["eventName"] == "AcceptRestore"]
    assert event["serviceEventDetails"]["disabled"] == [key.rpartition("/")[2]]
    assert server.stop() == 0


def test_accept_restore__every_kind_of_change_brings_its_key_back_disabled_and_no_other(tmp_path):
    with serving(tmp_path) as server:
        kms = server.client()
        keys = {name: new_key(kms) for name in ("same", "policy", "tag", "rotated", "granted", "alias", "was alias")}
        keys |= {name: new_key(kms) for name in ("scheduled", "cancelled")}
        kms.create_alias(AliasName="alias/moved", TargetKeyId=keys["was alias"])
        kms.schedule_key_deletion(KeyId=keys["cancelled"], PendingWindowInDays=7)
        text = kms.get_key_policy(KeyId=keys["policy"], PolicyName="default")["Policy"]

    def change(kms: Any) -> None:
        kms.put_key_policy(KeyId=keys["policy"], PolicyName="default", Policy=text)
        kms.tag_resource(KeyId=keys["tag"], Tags=[{"TagKey": "a", "TagValue": "b"}])
        kms.rotate_key_on_demand(KeyId=keys["rotated"])
        kms.create_grant(
            KeyId=keys["granted"], GranteePrincipal="arn:aws:iam::000000000000:root", Operations=["Decrypt"]
        )
        kms.update_alias(AliasName="alias/moved", TargetKeyId=keys["alias"])
        kms.schedule_key_deletion(KeyId=keys["scheduled"], PendingWindowInDays=7)
        kms.cancel_key_deletion(KeyId=keys["cancelled"])
        kms.generate_data_key(KeyId=keys["same"], KeySpec="AES_256")
        refused(kms.disable_key, KeyId="00000000-0000-4000-8000-000000000000")

    changed_since(tmp_path, change)
    assert "CancelKeyDeletion" in start_is_refused(tmp_path)
    accepted = accept(tmp_path)
    ids = {name: arn.rpartition("/")[2] for name, arn in keys.items()}
    assert set(accepted.disabled) == set(ids.values()) - {ids["same"]}
    assert accepted.lost == ()
    assert accept(tmp_path) is None
    with serving(tmp_path) as server:
        kms = server.client()
        states = {name: kms.describe_key(KeyId=arn)["KeyMetadata"]["KeyState"] for name, arn in keys.items()}
        assert states == {name: "Enabled" if name == "same" else "Disabled" for name in keys}
        assert [event["eventName"] for event in recorded(server)].count("AcceptRestore") == 1


def test_accept_restore__a_key_that_was_deleted_since_is_back_and_is_not_deleted_again(tmp_path):
    with serving(tmp_path) as server:
        kms = server.client()
        key = new_key(kms)
        blob = kms.encrypt(KeyId=key, Plaintext=b"text")["CiphertextBlob"]
        kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
        clock = server.clock
    shutil.copy(tmp_path / "kms" / "kms.db", tmp_path / "older.db")
    clock.wait(days=8)
    with serving(tmp_path, clock) as server:
        server.maintain()
        assert refused(server.client().describe_key, KeyId=key)[0] == "NotFoundException"
    shutil.copy(tmp_path / "older.db", tmp_path / "kms" / "kms.db")
    assert accept(tmp_path).disabled == (key.rpartition("/")[2],)
    with serving(tmp_path, clock) as server:
        server.maintain()
        kms = server.client()
        assert kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Disabled"
        kms.enable_key(KeyId=key)
        assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"text"


def test_accept_restore__a_managed_key_stays_enabled_since_nobody_could_enable_it_again(tmp_path):
    with serving(tmp_path) as server:
        refused(server.client().generate_data_key, KeyId="alias/aws/s3", KeySpec="AES_256")  # only by way of S3
        key = server.client().describe_key(KeyId="alias/aws/s3")["KeyMetadata"]["Arn"]
        clock = server.clock
    shutil.copy(tmp_path / "kms" / "kms.db", tmp_path / "older.db")
    clock.wait(days=366)
    with serving(tmp_path, clock) as server:
        server.maintain()
        assert [event["eventName"] for event in recorded(server)].count("RotateKey") == 1
    shutil.copy(tmp_path / "older.db", tmp_path / "kms" / "kms.db")
    assert accept(tmp_path).disabled == ()
    with serving(tmp_path, clock) as server:
        assert server.client().describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Enabled"


@pytest.mark.parametrize("moment", ["_open_log", "_write_what_waits"])
def test_accept_restore__cut_short_it_leaves_no_changed_key_enabled_and_the_record_is_written_once(
    tmp_path, monkeypatch, moment
):
    with serving(tmp_path) as server:
        key = new_key(server.client())
    changed_since(tmp_path, lambda kms: kms.disable_key(KeyId=key))

    def killed(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(f"strongroom.server.kms.{moment}", killed)
        with pytest.raises(KeyboardInterrupt):
            accept(tmp_path)
    with serving(tmp_path) as server:
        assert server.client().describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Disabled"
        assert [event["eventName"] for event in recorded(server)].count("AcceptRestore") == 1


def test_accept_restore__where_nothing_is_wrong_nothing_changes(tmp_path):
    with serving(tmp_path) as server:
        new_key(server.client())
    before = log_file(tmp_path).read_bytes()
    assert accept(tmp_path) is None
    assert log_file(tmp_path).read_bytes() == before


# --- the log


def test_a_log_that_was_cut_is_refused_and_names_the_first_missing_record(tmp_path):
    with serving(tmp_path) as server:
        key = new_key(server.client())
    path = log_file(tmp_path)
    count = len(lines := path.read_bytes().splitlines(keepends=True))
    path.write_bytes(b"".join(lines[:-1]))
    told = start_is_refused(tmp_path)
    assert f"record {count} is missing" in told
    assert SAY_HOW in told
    accepted = accept(tmp_path)
    assert (accepted.disabled, accepted.lost) == ((), ())
    assert f"record {count} is missing" in accepted.found
    with serving(tmp_path) as server:
        assert server.client().describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Enabled"
        assert {"AcceptRestore", "AuditLogAccepted"} <= {event["eventName"] for event in recorded(server)}


def test_a_log_that_was_edited_is_refused(tmp_path):
    with serving(tmp_path) as server:
        new_key(server.client())
    path = log_file(tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"eventName":"CreateKey"', b'"eventName":"CreateTea"'))
    told = start_is_refused(tmp_path)
    assert "was changed" in told
    assert SAY_HOW in told


def test_a_log_that_was_removed_altogether_is_refused_and_no_new_key_service_is_made_in_its_place(tmp_path):
    with serving(tmp_path) as server:
        key = new_key(server.client())
    shutil.rmtree(tmp_path / "audit")
    with pytest.raises(StartError, match=SAY_HOW):
        asyncio.run(open_key_service(Settings(), tmp_path))
    accept(tmp_path)
    with serving(tmp_path) as server:
        assert server.client().describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Enabled"


def test_an_older_database_beside_a_cut_log_disables_what_the_rest_of_the_log_tells_of(tmp_path):
    with serving(tmp_path) as server:
        key = new_key(server.client())

    def change(kms: Any) -> None:
        kms.disable_key(KeyId=key)
        kms.describe_key(KeyId=key)
        kms.describe_key(KeyId=key)

    changed_since(tmp_path, change)
    path = log_file(tmp_path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    start_is_refused(tmp_path)
    assert accept(tmp_path).disabled == (key.rpartition("/")[2],)
    with serving(tmp_path) as server:
        assert server.client().describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Disabled"


def test_a_torn_last_line_is_repaired_and_recorded(tmp_path):
    with serving(tmp_path) as server:
        new_key(server.client())
    path = log_file(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"sequence":99,"previousH')
    with serving(tmp_path) as server:
        (event,) = server.events("AuditLogRepaired")
        assert event["serviceEventDetails"] == {"bytesCut": 25, "file": path.name}
        assert path.read_bytes().startswith(whole)


def test_a_record_that_was_kept_before_the_crash_is_not_written_again(tmp_path, monkeypatch):
    """Killed after the head of the log was kept, and before the event's place in the outbox was given up."""
    with serving(tmp_path) as server:
        monkeypatch.setattr(server.opened.store, "forget_events", lambda _through: None, raising=False)
        new_key(server.client())
    with serving(tmp_path) as server:
        assert len([event for event in recorded(server) if event["eventName"] == "CreateKey"]) == 1


def test_nothing_is_accepted_while_the_key_service_runs(tmp_path):
    with serving(tmp_path), pytest.raises(StartError, match="another process"):
        accept(tmp_path)
