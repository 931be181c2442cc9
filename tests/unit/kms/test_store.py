"""strongroom.kms.store: what is committed is there at the next start, and nothing else."""

import asyncio
import base64
import os
import shutil
import sqlite3
import traceback
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from strongroom.crypto import kms_sealing
from strongroom.crypto.errors import IntegrityError
from strongroom.crypto.kms_sealing import RecordPlace
from strongroom.crypto.rows import RowSealer
from strongroom.database.database import DatabaseFull, Unavailable
from strongroom.kms import root_rotation, slots
from strongroom.kms.audit_head import AuditHead
from strongroom.kms.commits import head_place, prepare
from strongroom.kms.creation import KmsStoreError
from strongroom.kms.opening import KmsInUse
from strongroom.kms.records import Key
from strongroom.kms.slots import Given, SlotError
from strongroom.kms.state import Put, Remove, State
from strongroom.kms.store import KmsStore
from tests.unit.kms.kms_stores import (
    PHRASE,
    QUICK,
    add_keys,
    commit,
    in_loop,
    new_alias,
    new_key,
    open_store,
    opened,
)

HEAD = AuditHead(sequence=7, hash=bytes.fromhex("ab") * 32, state_revision=1)


# --- a new store, and one that is there


@in_loop
async def test_open__makes_a_store_with_a_key_file_where_there_is_none(tmp_path: Path) -> None:
    directory = tmp_path / "data" / "kms"
    async with opened(directory) as store:
        assert await store.load() == []
        assert [slot.shown for slot in store.slots] == ["slot 'default' (key file root.key)"]
        assert (store.state_revision, store.warnings, store.audit_head()) == (1, (), None)
    assert {path.name for path in directory.iterdir()} == {
        "kms.db",
        "kms.db.lock",
        "kms.db.reserve",
        "open.lock",
        "root.key",
    }
    assert all(path.stat().st_mode & 0o077 == 0 for path in (directory, *directory.iterdir()))
    assert len(bytes.fromhex((directory / "root.key").read_bytes().hex())) == 45


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({slots.KEY_VARIABLE: "key"}, "environment"),
        ({"CREDENTIALS_DIRECTORY": "."}, "credential"),
        ({slots.PASSPHRASE_VARIABLE: PHRASE}, "passphrase"),
    ],
)
@in_loop
async def test_open__a_new_store_uses_the_key_that_is_given_and_writes_none(
    tmp_path: Path, given: dict[str, str], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = base64.b64encode(os.urandom(32)).decode()
    environ = {name: {"key": key, ".": str(tmp_path)}.get(value, value) for name, value in given.items()}
    (tmp_path / slots.KEY_CREDENTIAL).write_text(key)
    monkeypatch.setattr("strongroom.kms.slots.new_passphrase_source", lambda: QUICK)
    directory = tmp_path / "kms"
    async with opened(directory, environ=environ) as store:
        assert [slot.kind for slot in store.slots] == [kind]
    assert not (directory / "root.key").exists()
    async with opened(directory, environ=environ):
        pass
    with pytest.raises(SlotError, match=f"slot 'default' \\({kind}\\)"):
        await open_store(directory)


@in_loop
async def test_open__a_weak_passphrase_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(SlotError, match="too weak"):
        await open_store(tmp_path / "kms", environ={slots.PASSPHRASE_VARIABLE: "password"})
    assert not (tmp_path / "kms" / "kms.db").exists()


@in_loop
async def test_open__one_process_at_a_time(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(KmsInUse, match="another process"):
            await open_store(tmp_path)
    async with opened(tmp_path):
        pass


@in_loop
async def test_open__a_database_without_its_key_is_never_given_another(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        (key,) = await add_keys(store, 1)
    before = (tmp_path / "kms.db").read_bytes()
    root_key = (tmp_path / "root.key").read_bytes()
    (tmp_path / "root.key").unlink()
    with pytest.raises(SlotError, match=r"slot 'default' \(key file root.key\): .*root.key does not exist"):
        await open_store(tmp_path)
    assert not (tmp_path / "root.key").exists()
    assert (tmp_path / "kms.db").read_bytes() == before
    (tmp_path / "root.key").write_bytes(root_key)
    (tmp_path / "root.key").chmod(0o600)
    async with opened(tmp_path) as store:
        assert key in await store.load()


@in_loop
async def test_open__a_key_without_its_database_is_never_given_another(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    before = (tmp_path / "root.key").read_bytes()
    (tmp_path / "kms.db").unlink()
    with pytest.raises(KmsStoreError, match="restore the database from a backup"):
        await open_store(tmp_path)
    assert (tmp_path / "root.key").read_bytes() == before
    assert not (tmp_path / "kms.db").exists()


@in_loop
async def test_open__what_an_unfinished_start_left_is_removed_and_nobodys_key_file(tmp_path: Path) -> None:
    left = ("kms.db.new", "kms.db.new-wal", "kms.db.new.lock", "root.key.new", ".root.key.new.0123456789abcdef")
    kept = ("site.new.key", "kms.db.newest", "recovery.key")
    for name in (*left, *kept):
        (tmp_path / name).write_bytes(b"left")
        (tmp_path / name).chmod(0o600)
    async with opened(tmp_path) as store:
        await add_keys(store, 1)
    there = set(os.listdir(tmp_path))
    assert not there & set(left)
    assert {"kms.db", "root.key", *kept} <= there
    for name in kept:
        assert (tmp_path / name).read_bytes() == b"left"


@in_loop
async def test_open__an_empty_database_is_no_absent_one(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    (tmp_path / "kms.db").write_bytes(b"")
    with pytest.raises(KmsStoreError, match="is empty"):
        await open_store(tmp_path)
    (tmp_path / "root.key").unlink()
    with pytest.raises(KmsStoreError, match="is empty"):
        await open_store(tmp_path)
    assert (tmp_path / "kms.db").read_bytes() == b""


@in_loop
async def test_open__nothing_is_made_where_something_shows_that_there_was_a_store(tmp_path: Path) -> None:
    with pytest.raises(KmsStoreError, match="there was a key service"):
        await open_store(tmp_path, may_create=False)
    assert os.listdir(tmp_path) == ["open.lock"]


@in_loop
async def test_open__the_root_key_of_another_store_is_refused_by_name_and_fingerprint(tmp_path: Path) -> None:
    for name in ("one", "two"):
        async with opened(tmp_path / name):
            pass
    shutil.copy(tmp_path / "two" / "root.key", tmp_path / "one" / "root.key")
    with pytest.raises(
        SlotError, match=r"slot 'default' .* the key given is [0-9a-f]{32}, and the slot's is [0-9a-f]{32}"
    ):
        await open_store(tmp_path / "one")


@pytest.mark.parametrize(("setting", "value"), [("account_id", "999999999999"), ("region", "eu-west-1")])
@in_loop
async def test_open__account_and_region_stay_what_ciphertexts_are_bound_to(
    tmp_path: Path, setting: str, value: str
) -> None:
    async with opened(tmp_path):
        pass
    with pytest.raises(KmsStoreError, match=f"{setting.partition('_')[0]} .* and the settings say '{value}'"):
        await open_store(tmp_path, **{setting: value})


# --- commits


@in_loop
async def test_commit__is_there_at_the_next_start(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await add_keys(store, 5)
        state = State(await store.load())
        assert len(state.keys) == len(state.grants) == len(state.aliases) == 5
        revision = store.state_revision
    async with opened(tmp_path) as store:
        again = State(await store.load())
        assert store.state_revision == revision
    for name in ("keys", "materials", "aliases", "grants"):
        assert getattr(again, name) == getattr(state, name)


@in_loop
async def test_commit__counts_and_replaces_and_removes(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        first, second = await add_keys(store, 2)
        alias = new_alias(first, "alias/moves")
        assert await commit(store, Put(alias)) == 3
        assert await commit(store, Put(msgspec.structs.replace(alias, target_key_id=second.key_id))) == 4
        assert await commit(store, Put(msgspec.structs.replace(first, enabled=False)), Remove("alias", "alias/0")) == 5
        assert await commit(store) == 6
    async with opened(tmp_path) as store:
        state = State(await store.load())
    assert state.aliases["alias/moves"].target_key_id == second.key_id
    assert not state.keys[first.key_id].enabled
    assert "alias/0" not in state.aliases


@in_loop
async def test_commit__of_several_changes_of_one_record_the_last_counts(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        (key,) = await add_keys(store, 1)
        fleeting = new_alias(key, "alias/fleeting")
        renamed = msgspec.structs.replace(new_alias(key, "alias/0"), updated_us=9)
        await commit(store, Put(fleeting), Remove("alias", "alias/fleeting"), Remove("alias", "alias/0"), Put(renamed))
    async with opened(tmp_path) as store:
        aliases = State(await store.load()).aliases
    assert aliases == {"alias/0": renamed}


@in_loop
async def test_commit__needs_the_lock_under_which_its_changes_were_computed(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        with pytest.raises(RuntimeError, match="under `writing`"):
            await store.commit([])


@in_loop
async def test_commit__material_under_a_root_that_is_not_in_force_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        key, material = new_key(store)
        await store.rotate_root(Given(directory=tmp_path, environ={}), apply=lambda _: None)
        with pytest.raises(RuntimeError, match="version 1 of the root"):
            await commit(store, Put(key), Put(material))
        assert await store.load() == []


@in_loop
async def test_commit__that_was_cancelled_is_written_whole_and_memory_follows(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        key, material = new_key(store)
        async with store.writing:
            task = asyncio.create_task(store.commit([Put(key), Put(material)]))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert len(await store.load()) == 2
        await commit(store, Remove("key", key.key_id), Remove("material", material.material_id.hex()))
    async with opened(tmp_path) as store:
        assert await store.load() == []


@in_loop
async def test_commit__that_fails_changes_nothing_and_the_next_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as store:
        (key,) = await add_keys(store, 1)
        before, revision = await store.load(), store.state_revision

        async def full(*_: object, **__: object) -> None:
            raise DatabaseFull("no space")

        with monkeypatch.context() as patched:
            patched.setattr(store._held.database, "transact", full)
            with pytest.raises(Unavailable):
                await commit(store, Remove("key", key.key_id), events=[{"eventName": "x"}])
        assert (await store.load(), store.state_revision, store.last_event) == (before, revision, 0)
        assert await commit(store, Remove("alias", "alias/0")) == revision + 1


@in_loop
async def test_commit__finds_out_who_edits_the_file_of_a_running_service(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        (key,) = await add_keys(store, 1)
        with sqlite3.connect(tmp_path / "kms.db") as stranger:
            stranger.execute("DELETE FROM records WHERE kind = 'alias'")
        stranger.close()
        with pytest.raises(
            IntegrityError, match="the record alias alias/0 was changed in the database by somebody else"
        ):
            await commit(store, Remove("alias", "alias/0"))
        with pytest.raises(IntegrityError, match="the record alias alias/0 is missing"):
            await store.load()
        assert await commit(store, Put(key))


@in_loop
async def test_an_older_copy_that_is_put_back_meanwhile_is_not_taken_over(tmp_path: Path) -> None:
    """By what reads records of a running service: neither sealed anew under another root nor brought back by a restore."""
    async with opened(tmp_path) as store:
        (key,) = await add_keys(store, 1)
        with closing(sqlite3.connect(tmp_path / "kms.db", isolation_level=None)) as database:
            row = database.execute("SELECT * FROM records WHERE kind = 'key'").fetchone()
            await commit(store, Put(msgspec.structs.replace(key, enabled=False)))
            database.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?)", row)
        told = f"the record key {key.key_id} is missing or an older copy"
        with pytest.raises(IntegrityError, match=told):
            await store.accept_restore([key.key_id], after_revision=0, events=[])
        with pytest.raises(IntegrityError, match=told):
            await store.rotate_root(Given(directory=tmp_path, environ={}), apply=lambda _: None)


@in_loop
async def test_records__of_one_time_are_never_sealed_twice_alike(tmp_path: Path) -> None:
    """Each record's revision is that of the commit that wrote it, so that a record which is made anew under a name that
    was there before can't be exchanged for the old one.
    """
    async with opened(tmp_path) as store:
        (key,) = await add_keys(store, 1)
        revisions = []
        for _ in range(3):
            await commit(store, Put(new_alias(key, "alias/again")))
            revisions.append(store._held.ledger.revisions.get(("alias", "alias/again")))
            await commit(store, Remove("alias", "alias/again"))
        assert revisions == sorted(set(revisions))  # type: ignore[type-var]


# --- events and the audit head


@in_loop
async def test_events__wait_until_they_are_known_to_be_in_the_log(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = [
        {"eventID": str(number), "requestParameters": None, "nested": {"ä": [1, True, "x"]}} for number in range(4)
    ]
    async with opened(tmp_path) as store:
        await commit(store, events=events[:1])
        await commit(store, events=events[1:3])
        assert store.last_event == 3
    async with opened(tmp_path) as store:
        assert await store.pending_events() == list(enumerate(events[:3], 1))
        store.forget_events(2)
        assert [number for number, _ in await store.pending_events()] == [3]
        await store.keep_audit_head(HEAD)
        await commit(store, events=events[3:])
    async with opened(tmp_path) as store:
        assert await store.pending_events() == [(3, events[2]), (4, events[3])]
        store.forget_events(3)
        store.forget_events(99)  # nobody forgets what was not committed
    async with opened(tmp_path) as store:
        assert await store.pending_events() == []
        assert store.audit_head() == HEAD
        await commit(store, events=events[:1])
        assert [number for number, _ in await store.pending_events()] == [5]


@in_loop
async def test_events__that_somebody_takes_out_of_a_running_service_are_missed(tmp_path: Path) -> None:
    """Also by a trigger, which SQLite runs inside our own transaction."""
    async with opened(tmp_path) as store:
        with closing(sqlite3.connect(tmp_path / "kms.db", isolation_level=None)) as database:
            for take in ("NEW.number", "NEW.number - 1"):
                database.execute(
                    f"CREATE TRIGGER thief AFTER INSERT ON events BEGIN DELETE FROM events WHERE number = {take}; END"
                )
                await commit(store, events=[{"eventID": "one"}, {"eventID": "two"}])
                with pytest.raises(IntegrityError, match="an event was removed"):
                    await store.pending_events()
                database.execute("DROP TRIGGER thief")
                store.forget_events(store.last_event)
        assert await store.pending_events() == []
        await commit(store, events=[{"eventID": "three"}])
        assert [event["eventID"] for _, event in await store.pending_events()] == ["three"]


@in_loop
async def test_audit_head__is_kept_and_of_many_at_a_time_the_last_counts(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        heads = [AuditHead(sequence=number, hash=bytes.fromhex("00") * 32, state_revision=1) for number in range(50)]
        await asyncio.gather(*(store.keep_audit_head(head) for head in heads))
    async with opened(tmp_path) as store:
        assert store.audit_head() == heads[-1]


@in_loop
async def test_audit_head__tells_a_state_that_is_older_than_itself(tmp_path: Path) -> None:
    """Put back as a whole, but for the audit head; no event is waiting that would tell it."""
    path, before = tmp_path / "kms.db", tmp_path / "before.db"
    async with opened(tmp_path) as store:
        (key,) = await add_keys(store, 1)
        await store.keep_audit_head(AuditHead(sequence=1, hash=bytes(32), state_revision=store.state_revision))
    shutil.copy(path, before)
    async with opened(tmp_path) as store:
        await commit(store, Put(msgspec.structs.replace(key, enabled=False)))
        await store.keep_audit_head(AuditHead(sequence=2, hash=bytes(32), state_revision=store.state_revision))
    with sqlite3.connect(path, isolation_level=None) as database:
        database.execute("ATTACH ? AS before", (str(before),))
        for table in ("slots", "records", "revisions"):
            database.execute(f"DELETE FROM {table}")
            database.execute(f"INSERT INTO {table} SELECT * FROM before.{table}")
        database.execute("INSERT OR REPLACE INTO heads SELECT * FROM before.heads WHERE name = 'state'")
    database.close()
    with pytest.raises(IntegrityError, match="the state is older than the audit head beside it"):
        await open_store(tmp_path)


@in_loop
async def test_audit_signing_key__is_the_stores_own_and_stays(tmp_path: Path) -> None:
    async with opened(tmp_path / "one") as store, opened(tmp_path / "two") as other:
        key = await store.audit_signing_key()
        assert len(key) == 32
        assert key != await other.audit_signing_key()
    for path in (tmp_path / "one").iterdir():
        assert key not in path.read_bytes()
    async with opened(tmp_path / "one") as store:
        assert key == await store.audit_signing_key()


# --- restore


@in_loop
async def test_accept_restore__changed_keys_come_back_disabled_and_revisions_jump(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        changed, same = await add_keys(store, 2)
        service, material = new_key(store, service=True)
        await commit(store, Put(service), Put(material))
        state = State(await store.load())
        missing = "00000000-0000-4000-8000-000000000000"
        changes = await store.accept_restore(
            [changed.key_id, missing, service.key_id, changed.key_id],
            after_revision=50,
            events=[{"eventID": "restore"}],
        )
        state.apply(changes)
        assert store.state_revision == 51
    async with opened(tmp_path) as store:
        again = State(await store.load())
        assert store.state_revision == 51
        assert [event["eventID"] for _, event in await store.pending_events()] == ["restore"]
    assert again.keys == state.keys
    assert again.keys[changed.key_id].state == "Disabled"
    assert again.keys[same.key_id].state == again.keys[service.key_id].state == "Enabled"


@in_loop
async def test_accept_restore__nothing_written_in_the_lost_time_is_taken_for_now(tmp_path: Path) -> None:
    """A copy is restored; what was written after it was made has lower revisions than all that comes."""
    directory = tmp_path / "kms"
    async with opened(directory) as store:
        (key,) = await add_keys(store, 1)
    shutil.copytree(directory, tmp_path / "backup")
    async with opened(directory) as store:
        await commit(store, Put(msgspec.structs.replace(key, policy="lost")))
        lost = store.state_revision
    with sqlite3.connect(directory / "kms.db") as database:
        row = database.execute("SELECT * FROM records WHERE kind = 'key'").fetchone()
    database.close()
    async with opened(tmp_path / "backup") as store:
        await store.accept_restore([key.key_id], after_revision=lost, events=[])
    with sqlite3.connect(tmp_path / "backup" / "kms.db") as database:
        database.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?)", row)
    database.close()
    async with opened(tmp_path / "backup") as store:
        with pytest.raises(IntegrityError, match="is an older copy"):
            await store.load()


# --- slots


async def with_passphrase(store: KmsStore, name: str = "recovery") -> slots.Slot:
    made = slots.Slot(
        slot_id=os.urandom(16), name=name, source=QUICK, created_us=1, fingerprint=b"", root_version=0, sealed=b""
    )
    key = slots.passphrase_key(PHRASE, QUICK)
    current = store.root.current
    slot = slots.sealed_slot(made, key, current.key, current.version, store_id=store.root.store_id)
    await store.add_slot(slot)
    return slot


@in_loop
async def test_slots__are_added_and_removed_and_the_last_never(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        default, recovery = *store.slots, await with_passphrase(store)
        with pytest.raises(SlotError, match="there is a slot 'recovery' already"):
            await store.add_slot(msgspec.structs.replace(recovery, slot_id=b"x" * 16))
        with pytest.raises(SlotError, match="there is no slot"):
            await store.remove_slot(b"x" * 16)
    (tmp_path / "root.key").rename(tmp_path / "away")
    async with opened(tmp_path, environ={slots.PASSPHRASE_VARIABLE: PHRASE}) as store:
        assert store.opened_by == recovery
        await store.remove_slot(default.slot_id)
        with pytest.raises(SlotError, match="the last slot"):
            await store.remove_slot(recovery.slot_id)
    (tmp_path / "away").rename(tmp_path / "root.key")
    with pytest.raises(SlotError, match="no unseal slot opens"):
        await open_store(tmp_path)
    async with opened(tmp_path, environ={slots.PASSPHRASE_VARIABLE: PHRASE}) as store:
        assert store.slots == (recovery,)


@in_loop
async def test_slots__sealed_under_a_root_of_before_are_not_added(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        recovery = await with_passphrase(store)
        await store.remove_slot(recovery.slot_id)
        await store.rotate_root(Given(directory=tmp_path, environ={}), apply=lambda _: None)
        with pytest.raises(SlotError, match="rotated meanwhile"):
            await store.add_slot(recovery)


# --- root rotation


@in_loop
async def test_rotate_root__everything_opens_and_is_under_the_new_root(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await add_keys(store, 300)
        await with_passphrase(store)
        state = State(await store.load())
        plain = {name: store.root.open_material(state.keys[m.key_id], m) for name, m in state.materials.items()}
        await commit(store, events=[{"eventID": "waits"}])
        await store.keep_audit_head(HEAD)
        reports: list[tuple[int, int]] = []
        before = store.state_revision
        given = Given(directory=tmp_path, environ={}, passphrases={"recovery": PHRASE})
        version = await store.rotate_root(
            given, apply=state.apply, progress=lambda *r: reports.append(r), events=[{"eventID": "RotateRoot"}]
        )
        assert version == 2
        assert store.state_revision == before + 2  # the first transaction and the last
        assert reports[-1] == (1204, 1204)
        for name, material in state.materials.items():
            assert store.root.open_material(state.keys[material.key_id], material) == plain[name]
        assert {record.key_id for record in await store.load() if isinstance(record, Key)} == set(state.keys)
        await add_keys(store, 1)
    with sqlite3.connect(tmp_path / "kms.db") as database:
        for table in ("slots", "records", "revisions", "heads", "events"):
            assert database.execute(f"SELECT DISTINCT root_version FROM {table}").fetchall() == [(2,)]
        assert database.execute("SELECT version, sealed FROM roots").fetchall() == [(2, None)]
    database.close()
    for way in ({}, {"environ": {slots.PASSPHRASE_VARIABLE: PHRASE}}):
        async with opened(tmp_path, **way) as store:
            assert len(await store.load()) == 1203  # the last alias took the place of the first
            assert store.audit_head() == HEAD
            assert [event["eventID"] for _, event in await store.pending_events()] == ["waits", "RotateRoot"]
        (tmp_path / "root.key").rename(tmp_path / "away") if not way else None


@pytest.mark.parametrize(
    ("passphrases", "told"), [({}, "no passphrase was given"), ({"recovery": "not the right one"}, "is wrong")]
)
@in_loop
async def test_rotate_root__without_the_key_of_every_slot_changes_nothing(
    tmp_path: Path, passphrases: dict[str, str], told: str
) -> None:
    async with opened(tmp_path) as store:
        await add_keys(store, 1)
        await with_passphrase(store)
        with pytest.raises(SlotError, match=f"slot 'recovery' .*{told}"):
            await store.rotate_root(
                Given(directory=tmp_path, environ={}, passphrases=passphrases), apply=lambda _: None
            )
        assert store.root.current.version == 1
        await add_keys(store, 1)


@in_loop
async def test_rotate_root__that_the_machine_cut_short_is_finished_by_the_next_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as store:
        await add_keys(store, 400)
        state = State(await store.load())
        database, transact = store._held.database, store._held.database.transact
        taken = 0

        async def third_fails(*arguments: Any, **named: Any) -> Any:
            nonlocal taken
            taken += 1
            if taken == 3:
                raise DatabaseFull("no space")
            return await transact(*arguments, **named)

        given = Given(directory=tmp_path, environ={})
        with monkeypatch.context() as patched:
            patched.setattr(database, "transact", third_fails)
            with pytest.raises(Unavailable):
                await store.rotate_root(given, apply=state.apply)
        for material in state.materials.values():  # reads go on
            store.root.open_material(state.keys[material.key_id], material)
        with pytest.raises(Unavailable, match="rotate-root` finishes it"):
            await commit(store)
        await store.keep_audit_head(HEAD)
        assert await store.rotate_root(given, apply=state.apply) == 2
        for material in state.materials.values():
            store.root.open_material(state.keys[material.key_id], material)
        await add_keys(store, 1)


@in_loop
async def test_rotate_root__that_was_cancelled_comes_to_its_end(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await add_keys(store, 50)
        task = asyncio.create_task(store.rotate_root(Given(directory=tmp_path, environ={}), apply=lambda _: None))
        while store.root.current.version == 1:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (store.root.current.version, store.root.previous) == (2, None)
        await add_keys(store, 1)


@in_loop
async def test_rotate_root__audit_heads_kept_meanwhile_are_not_brought_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await add_keys(store, 100)
        kept = 0
        task = asyncio.create_task(store.rotate_root(Given(directory=tmp_path, environ={}), apply=lambda _: None))
        while not task.done():
            kept += 1
            await store.keep_audit_head(AuditHead(sequence=kept, hash=bytes.fromhex("00") * 32, state_revision=1))
        assert await task == 2
        assert kept > 3
    async with opened(tmp_path) as store:
        head = store.audit_head()
        assert head
        assert head.sequence == kept


@in_loop
async def test_rotate_root__an_old_copy_with_a_removed_slot_leads_to_no_later_root(tmp_path: Path) -> None:
    """Whoever has a removed slot's key and a copy from before knows the old root and all that is under it: among that is
    no key of another slot.
    """
    directory, copy = tmp_path / "kms", tmp_path / "copy"
    async with opened(directory) as store:
        await with_passphrase(store)
        (default, _) = sorted(store.slots, key=lambda slot: slot.name)
    shutil.copytree(directory, copy)
    async with opened(directory, environ={slots.PASSPHRASE_VARIABLE: PHRASE}) as store:
        await store.remove_slot(default.slot_id)
        given = Given(directory=directory, environ={}, passphrases={"recovery": PHRASE})
        await store.rotate_root(given, apply=lambda _: None)
    async with opened(copy) as store:  # by the removed slot
        known = [await store.audit_signing_key(), bytes(store.root.current.key.material)]
        rows = await store._held.database.read("SELECT kind, record_id FROM records")
        from strongroom.kms.opening import read_record

        known += [await read_record(store._held, (str(kind), str(name))) for kind, name in rows]
    key = bytes(slots.passphrase_key(PHRASE, QUICK).material)
    assert not any(key in plaintext for plaintext in known)
    shutil.copy(copy / "root.key", directory / "root.key")
    with pytest.raises(SlotError, match="no unseal slot opens the root key"):
        await open_store(directory)


async def cut_short(directory: Path, store: KmsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rotation of the root of which the first transaction happens, and no more."""
    database, transact = store._held.database, store._held.database.transact
    taken = 0

    async def second_fails(*arguments: Any, **named: Any) -> Any:
        nonlocal taken
        taken += 1
        if taken > 1:
            raise DatabaseFull("no space")
        return await transact(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(database, "transact", second_fails)
        with pytest.raises(Unavailable):
            await store.rotate_root(Given(directory=directory, environ={}), apply=lambda _: None)


@pytest.mark.parametrize("forged", [("roots",), ("roots", "records"), ("roots", "records", "heads")])
@in_loop
async def test_rotate_root__the_root_of_before_is_not_to_be_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forged: tuple[str, ...]
) -> None:
    """Whoever knows the old root (by a removed slot and an old copy), caught the file while the rotation ran and can write
    it now: the row that keeps the old root must not bring it into force again, nor what they seal under it.
    """
    async with opened(tmp_path) as store:
        (key,) = await add_keys(store, 1)
        old = bytes(store.root.current.key.material)
        await cut_short(tmp_path, store, monkeypatch)
    path = tmp_path / "kms.db"
    with sqlite3.connect(path) as database:
        (kept,) = database.execute("SELECT * FROM roots WHERE sealed IS NOT NULL").fetchall()
    database.close()
    async with opened(tmp_path) as store:  # which finishes it
        assert (store.root.current.version, store.root.previous) == (2, None)
        store_id, head = store.root.store_id, store._held.ledger.head
    sealer = RowSealer(kms_sealing.record_key(old))

    def sealed(plaintext: bytes, place: RecordPlace) -> bytes:
        return kms_sealing.seal_record(sealer, plaintext, store_id=store_id, place=place)

    with sqlite3.connect(path) as database:
        database.execute("INSERT INTO roots VALUES (?, ?, ?)", kept)
        if "records" in forged:
            ((revision,),) = database.execute("SELECT revision FROM records WHERE kind = 'key'").fetchall()
            place = RecordPlace(
                kind="key",
                record_id=key.key_id,
                key_id=kms_sealing.raw_key_id(key.key_id),
                revision=revision,
                root_version=1,
            )
            row = sealed(msgspec.msgpack.encode(msgspec.structs.replace(key, policy="mine")), place)
            database.execute("UPDATE records SET root_version = 1, sealed = ? WHERE kind = 'key'", (row,))
        if "heads" in forged:
            ((revision,),) = database.execute("SELECT revision FROM heads WHERE name = 'state'").fetchall()
            claim = msgspec.structs.replace(head, previous_root=1)
            row = sealed(msgspec.msgpack.encode(claim), head_place("state", revision, 1))
            database.execute("UPDATE heads SET root_version = 1, sealed = ? WHERE name = 'state'", (row,))
    database.close()
    with pytest.raises(IntegrityError, match="of the root key"):
        await open_store(tmp_path)


@in_loop
async def test_rotate_root__a_row_of_before_that_is_put_back_meanwhile_keeps_it_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reseal_events = root_rotation._reseal_events

    async with opened(tmp_path) as store:
        await add_keys(store, 1)
        with closing(sqlite3.connect(tmp_path / "kms.db", isolation_level=None)) as database:
            row = database.execute("SELECT * FROM records WHERE kind = 'key'").fetchone()

            async def put_back(held: Any) -> None:
                await reseal_events(held)
                database.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?)", row)

            monkeypatch.setattr(root_rotation, "_reseal_events", put_back)
            with pytest.raises(IntegrityError, match="records under another root were put back"):
                await store.rotate_root(Given(directory=tmp_path, environ={}), apply=lambda _: None)
        monkeypatch.undo()
        assert await store.rotate_root(Given(directory=tmp_path, environ={}), apply=lambda _: None) == 2
        await store.load()


# --- size


@in_loop
async def test_commit__costs_no_more_than_the_pages_it_touches(tmp_path: Path) -> None:
    """Of 20,000 records a commit of two seals two pages of about 80."""
    async with opened(tmp_path) as store:
        await add_keys(store, 5000)
        key, material = new_key(store)
        from strongroom.kms.store import _write_of

        prepared = prepare(store._held.ledger, store.root, [_write_of(store.root, Put(r)) for r in (key, material)])
        assert len(prepared.pages) <= 2
        assert all(len(page) < 200 for page in prepared.pages.values())


# --- nothing shows a key


@in_loop
async def test_no_key_or_passphrase_is_in_a_text_a_traceback_or_a_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever refuses: canaries as keys and passphrases, right ones, wrong ones and broken ones."""
    caplog.set_level(0)
    key = b"canary" + bytes(range(200, 226))
    text, phrase = base64.b64encode(key).decode(), "canary in a passphrase"
    right = {slots.KEY_VARIABLE: text}
    told: list[str] = []
    async with opened(tmp_path, environ=right) as store:
        await with_passphrase(store)
        root = bytes(store.root.current.key.material)
        lasting = bytes(store.root.derive("x"))
        told += [repr(store), repr(vars(store)), repr(store._held), repr(store.slots)]
    for environ in (
        {slots.KEY_VARIABLE: base64.b64encode(key[::-1]).decode(), slots.PASSPHRASE_VARIABLE: phrase},
        {slots.KEY_VARIABLE: text[:-1]},
        {slots.KEY_VARIABLE: f"{text}{text}"},
        {slots.KEY_VARIABLE: f"{text}\udcff"},
        {slots.PASSPHRASE_VARIABLE: phrase},
        {"CREDENTIALS_DIRECTORY": str(tmp_path), slots.PASSPHRASE_VARIABLE: f"{phrase}\udcff"},
    ):
        with pytest.raises(SlotError) as refused:
            await open_store(tmp_path, environ=environ)
        told.append("".join(traceback.format_exception(refused.value)))
    with sqlite3.connect(tmp_path / "kms.db") as database:
        database.execute("UPDATE records SET sealed = x'01' WHERE kind = 'secret'")
    database.close()
    with pytest.raises(IntegrityError) as damaged:
        await open_store(tmp_path, environ=right)
    told += ["".join(traceback.format_exception(damaged.value)), caplog.text]
    for secret in (key, key[::-1], root, lasting):
        for form in (secret.hex(), base64.b64encode(secret).decode()[:40], repr(secret)[2:20]):
            assert form not in "".join(told)
    assert "canary" not in "".join(told)
