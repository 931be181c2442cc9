"""strongroom.kms.admin and admin_asgi: slots and root rotation of a running service, what is answered and what is recorded."""

import asyncio
import base64
import errno
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from strongroom.aws.kms_errors import KmsError
from strongroom.kms import slots
from strongroom.kms.admin import Admin
from strongroom.kms.admin_asgi import application
from strongroom.kms.audit_head import AuditHead
from strongroom.kms.commits import Event
from strongroom.kms.slots import SlotError
from strongroom.kms.state import State
from strongroom.kms.store import KmsStore
from tests.unit.kms.kms_stores import NOW, PHRASE, QUICK, add_keys, in_loop, open_store, opened

KEY = base64.b64encode(bytes(range(100, 132))).decode()


def make_event(name: str, details: Mapping[str, Any], *, error: str | None = None) -> Event:
    return {"eventName": name, "serviceEventDetails": dict(details), "errorMessage": error}


@dataclass
class Running:
    """An administrator's view of a running service. `log`: what came to be recorded. `refuses`: nothing can be."""

    store: KmsStore
    state: State
    environ: dict[str, str]
    log: list[Event] = field(default_factory=list)
    refuses: bool = False

    async def recorded(self) -> None:
        if self.refuses:
            raise KmsError(
                "KMSInternalException", "The service can't record the request.", reason="no space for the audit log"
            )
        for number, event in await self.store.pending_events():
            self.log.append(event)
            self.store.forget_events(number)

    def admin(self) -> Admin:
        return Admin(
            store=self.store,
            environ=self.environ,
            now_us=lambda: NOW,
            apply=self.state.apply,
            make_event=make_event,
            recorded=self.recorded,
        )

    async def send(self, method: str, path: str, body: object = None) -> tuple[int, list[Any]]:
        """Status, and the lines of the answer."""
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        status, received = 0, bytearray()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            received.extend(message.get("body", b""))

        scope = {"type": "http", "method": method, "raw_path": path.encode()}
        await application(self.admin())(scope, receive, send)
        return status, [json.loads(line) for line in received.splitlines()]


@asynccontextmanager
async def running(directory: Path, **more: Any) -> AsyncIterator[Running]:
    async with opened(directory, **more) as store:
        yield Running(store, State(await store.load()), dict(more.get("environ", {})))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "new_passphrase_source", lambda: QUICK)


@in_loop
async def test_list__tells_what_there_is_and_no_secret(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        status, [answer] = await service.send("GET", "/slots")
        (slot,) = answer["slots"]
        assert (status, answer["rootVersion"]) == (200, 1)
        assert slot["path"] == str(tmp_path / "root.key")
        assert slot["openedThisStart"]
        assert set(slot) == {"slotId", "name", "kind", "created", "fingerprint", "openedThisStart", "path"}
        assert [event["eventName"] for event in service.log] == ["ListUnsealSlots"]


@pytest.mark.parametrize(
    ("new", "opens"),
    [
        ({"kind": "keyfile", "name": "second"}, {}),
        ({"kind": "passphrase", "name": "second", "passphrase": PHRASE}, {slots.PASSPHRASE_VARIABLE: PHRASE}),
        ({"kind": "environment", "name": "second", "key": KEY}, {slots.KEY_VARIABLE: KEY}),
        ({"kind": "credential", "name": "second", "key": KEY}, {"CREDENTIALS_DIRECTORY": "."}),
    ],
    ids=lambda value: value.get("kind", ""),
)
@in_loop
async def test_add__opens_the_next_start(tmp_path: Path, new: dict[str, str], opens: dict[str, str]) -> None:
    directory = tmp_path / "kms"
    async with running(directory) as service:
        status, [slot] = await service.send("POST", "/slots", new)
        assert (status, slot["name"], slot["kind"]) == (200, "second", new["kind"])
        (event,) = service.log
        assert event["eventName"] == "AddUnsealSlot"
        assert event["serviceEventDetails"] == {
            "slotName": "second",
            "slotKind": new["kind"],
            "slotId": slot["slotId"],
        }
        assert PHRASE not in str(service.log)
        assert KEY not in str(service.log)
    (directory / "root.key").unlink()
    (tmp_path / slots.KEY_CREDENTIAL).write_text(KEY)
    environ = {name: str(tmp_path) if value == "." else value for name, value in opens.items()}
    async with running(directory, environ=environ) as service:
        assert service.store.opened_by.name == "second"


@in_loop
async def test_add__a_key_file_is_made_private_and_one_that_is_there_is_used(tmp_path: Path) -> None:
    directory, elsewhere = tmp_path / "kms", tmp_path / "stick"
    elsewhere.mkdir()
    async with running(directory) as service:
        path = elsewhere / "made.key"
        status, [slot] = await service.send("POST", "/slots", {"kind": "keyfile", "name": "made", "path": str(path)})
        assert (status, slot["path"]) == (200, str(path))
        assert path.stat().st_mode & 0o777 == 0o600
        (elsewhere / "mine.key").write_text(KEY)
        (elsewhere / "mine.key").chmod(0o600)
        mine = {"kind": "keyfile", "name": "mine", "path": str(elsewhere / "mine.key")}
        assert (await service.send("POST", "/slots", mine))[0] == 200
        assert (elsewhere / "mine.key").read_text() == KEY


@pytest.mark.parametrize(
    ("new", "told"),
    [
        ({"kind": "keyfile", "name": "default"}, "there is a slot 'default' already"),
        ({"kind": "keyfile", "name": "../x"}, "a slot's name has"),
        ({"kind": "keyfile", "name": ""}, "a slot's name has"),
        ({"kind": "keyfile", "name": "x", "path": "root.key"}, "another slot's"),
        ({"kind": "keyfile", "name": "x", "path": "../x.key"}, "neither an absolute path"),
        ({"kind": "keyfile", "name": "x", "path": "/nowhere/x.key"}, "can't be made"),
        ({"kind": "passphrase", "name": "x"}, "a passphrase is wanted"),
        ({"kind": "passphrase", "name": "x", "passphrase": "short"}, "too weak"),
        ({"kind": "environment", "name": "x"}, "STRONGROOM_KMS_ROOT_KEY is not set"),
        ({"kind": "environment", "name": "x", "key": "AAAA"}, "the request holds no usable key"),
        ({"kind": "environment", "name": "x", "key": base64.b64encode(bytes(32)).decode()}, "are equal"),
        ({"kind": "credential", "name": "x"}, "there is no credential"),
    ],
    ids=str,
)
@in_loop
async def test_add__refusals_change_nothing_and_are_recorded(tmp_path: Path, new: dict[str, str], told: str) -> None:
    async with running(tmp_path) as service:
        status, [answer] = await service.send("POST", "/slots", new)
        assert status == 400
        assert told in answer["error"]
        assert len(service.store.slots) == 1
        assert [(event["eventName"], event["errorMessage"]) for event in service.log] == [
            ("AddUnsealSlot", answer["error"])
        ]


@in_loop
async def test_add__one_key_serves_one_slot(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        new = {"kind": "environment", "name": "one", "key": KEY}
        assert (await service.send("POST", "/slots", new))[0] == 200
        status, [answer] = await service.send("POST", "/slots", {**new, "kind": "credential", "name": "two"})
        assert (status, answer["error"]) == (400, "another slot has this very key")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        ({"kind": "tpm", "name": "x"}, 400),
        ({"kind": "passphrase", "name": "x", "passphrase": 7, "more": 1}, 400),
        ({"kind": "passphrase"}, 400),
        (b" " * 70_000, 413),
    ],
    ids=["cut", "list", "kind", "types", "missing", "long"],
)
@in_loop
async def test_add__what_is_no_request_is_refused(tmp_path: Path, body: Any, status: int) -> None:
    async with running(tmp_path) as service:
        assert (await service.send("POST", "/slots", body))[0] == status
        assert len(service.store.slots) == 1


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("PUT", "/slots"), ("DELETE", "/slots"), ("GET", "/rotate-root")]
)
@in_loop
async def test_other_requests_are_404(tmp_path: Path, method: str, path: str) -> None:
    async with running(tmp_path) as service:
        assert (await service.send(method, path))[0] == 404


@in_loop
async def test_remove__by_name_or_id_says_what_old_copies_can_do(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        for name in ("one", "two"):
            await service.send("POST", "/slots", {"kind": "keyfile", "name": name})
        two = next(slot for slot in service.store.slots if slot.name == "two")
        for given in ("one", two.slot_id.hex()):
            status, [answer] = await service.send("DELETE", f"/slots/{given}")
            assert status == 200
            assert "rotate-root" in answer["note"]
            assert f"{answer['removed']['name']}.key is left" in answer["note"]
        status, [answer] = await service.send("DELETE", "/slots/one")
        assert (status, answer["error"]) == (400, "there is no slot 'one'")
        status, [answer] = await service.send("DELETE", "/slots/default")
        assert status == 400
        assert "the last slot" in answer["error"]
        names = [(event["eventName"], event["errorMessage"] is None) for event in service.log[2:]]
        assert names == [("RemoveUnsealSlot", True)] * 2 + [("RemoveUnsealSlot", False)] * 2


@in_loop
async def test_of_two_removals_at_once_one_slot_is_left(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        await service.send("POST", "/slots", {"kind": "keyfile", "name": "one"})
        answers = await asyncio.gather(*(service.send("DELETE", f"/slots/{name}") for name in ("one", "default")))
        assert sorted(status for status, _ in answers) == [200, 400]
        assert len(service.store.slots) == 1


@in_loop
async def test_rotate_root__reports_its_progress_and_its_outcome(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        await add_keys(service.store, 300)
        service.state = State(await service.store.load())
        await service.send("POST", "/slots", {"kind": "passphrase", "name": "phrase", "passphrase": PHRASE})
        status, [*_, answer] = await service.send("POST", "/rotate-root", {})
        assert (status, "slot 'phrase'" in answer["error"]) == (200, True)
        status, [*reports, answer] = await service.send("POST", "/rotate-root", {"passphrases": {"phrase": PHRASE}})
        assert (status, answer) == (200, {"rootVersion": 2})
        assert reports[-1] == {"done": 1204, "of": 1204}
        for material in service.state.materials.values():
            service.store.root.open_material(service.state.keys[material.key_id], material)
        events = [(event["eventName"], event["errorMessage"] is None) for event in service.log[1:]]
        assert events == [("RotateRoot", False), ("RotateRoot", True), ("RotateRootCompleted", True)]
        assert PHRASE not in str(service.log)


@in_loop
async def test_rotate_root__makes_a_removed_slots_old_copies_useless(tmp_path: Path) -> None:
    directory = tmp_path / "kms"
    async with running(directory) as service:
        await service.send("POST", "/slots", {"kind": "environment", "name": "env", "key": KEY})
        service.environ[slots.KEY_VARIABLE] = KEY
        await service.send("DELETE", "/slots/default")
        assert (await service.send("POST", "/rotate-root"))[1][-1] == {"rootVersion": 2}
    assert os.listdir(directory).count("root.key") == 1
    with pytest.raises(SlotError):
        await open_store(directory)


# --- a copy


async def fetched(service: Running) -> tuple[dict[str, Any], bytes]:
    """The first message of the answer to POST /backup, and its body."""
    messages: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {"type": "http", "method": "POST", "raw_path": b"/backup"}
    await application(service.admin())(scope, receive, send)
    return messages[0], b"".join(message.get("body", b"") for message in messages)


@in_loop
async def test_backup__is_the_database_as_it_is_and_on_record(tmp_path: Path) -> None:
    directory, copy = tmp_path / "kms", tmp_path / "copy"
    copy.mkdir(mode=0o700)
    async with running(directory) as service:
        await add_keys(service.store, 3)
        await service.store.keep_audit_head(AuditHead(sequence=7, hash=b"h" * 32, state_revision=2))
        (directory / "kms.db.copy").write_bytes(b"left by one that was killed")
        (directory / "kms.db.copy-journal").write_bytes(b"left as well")
        start, body = await fetched(service)
        headers = dict(start["headers"])
        assert (start["status"], headers[b"content-length"]) == (200, str(len(body)).encode())
        assert (headers[b"x-audit-sequence"], headers[b"x-audit-hash"]) == (b"7", b"h".hex().encode() * 32)
        records = await service.store.load()
        assert [event["eventName"] for event in service.log] == ["BackUpKeyStore"]
        assert not list(directory.glob("kms.db.copy*"))
    (copy / "kms.db").write_bytes(body)
    (copy / "kms.db").chmod(0o600)
    (copy / "root.key").write_bytes((directory / "root.key").read_bytes())
    (copy / "root.key").chmod(0o600)
    async with opened(copy) as restored:
        assert sorted(map(repr, await restored.load())) == sorted(map(repr, records))


@in_loop
async def test_backup__that_cannot_be_written_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as service:

        async def full(_: Path) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        service.store.copy_to = full  # type: ignore[method-assign,assignment]
        start, body = await fetched(service)
        assert start["status"] == 503
        assert json.loads(body) == {"error": "the key service can't write a copy of kms.db: No space left on device"}
        assert not [name for name in os.listdir(tmp_path) if "copy" in name]


# --- what can't be recorded


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/slots", None),
        ("POST", "/slots", {"kind": "keyfile", "name": "second"}),
        ("DELETE", "/slots/nobody", None),
        ("POST", "/rotate-root", None),
        ("POST", "/backup", None),
    ],
)
@in_loop
async def test_what_can_not_be_recorded_is_told_as_such(
    tmp_path: Path, method: str, path: str, body: dict[str, str] | None
) -> None:
    async with running(tmp_path) as service:
        service.refuses = True
        status, lines = await service.send(method, path, body)
        assert status == (200 if path == "/rotate-root" else 503)  # a rotation's answer has begun by then
        assert lines[-1] == {"error": "no space for the audit log"}
