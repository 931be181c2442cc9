"""`strongroom kms slot ...` and `kms rotate-root`: what they send to a running key service, and what they say."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from strongroom.cli import kms_admin
from strongroom.kms import slots
from strongroom.kms.admin_asgi import application
from tests.unit.kms.kms_stores import PHRASE, QUICK, open_store
from tests.unit.kms.test_admin import Running


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Of a running service, which a thread serves; its path is longer than a socket's address may be."""
    monkeypatch.setattr(slots, "new_passphrase_source", lambda: QUICK)
    monkeypatch.setattr("strongroom.cli.supervisor.harden_process", lambda: None)  # this process goes on testing
    directory = tmp_path / ("x" * 120)
    (directory / "run").mkdir(parents=True)
    started, servers = threading.Event(), []

    async def serve() -> None:
        from strongroom.kms.state import State

        store = await open_store(directory / "kms")
        listener = socket.socket(socket.AF_UNIX)
        with monkeypatch.context() as patched:
            patched.chdir(directory / "run")
            listener.bind("kms-admin.sock")
        listener.listen()
        service = Running(store, State(await store.load()), {})
        server = uvicorn.Server(uvicorn.Config(application(service.admin()), lifespan="off", log_config=None))
        servers.append(server)
        started.set()
        await server.serve([listener])
        await store.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(20)
    yield directory
    servers[0].should_exit = True
    thread.join(20)


def add(data_dir: Path, kind: str, name: str, **more: Path | None) -> int:
    options: dict[str, Path | None] = {"path": None, "key_file": None, "passphrase_file": None, **more}
    return kms_admin.slot_add(data_dir, kind, name, as_json=False, **options)


def test_a_slots_life(data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    phrase = tmp_path / "phrase"
    phrase.write_text(f"{PHRASE}\n")
    assert add(data_dir, "keyfile", "stick", path=tmp_path / "stick.key") == 0
    assert f"Its key is in {tmp_path}/stick.key: copy it to a safe place now." in capsys.readouterr().out
    assert add(data_dir, "passphrase", "recovery", passphrase_file=phrase) == 0
    assert kms_admin.slot_list(data_dir, as_json=False) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("default", "stick", "recovery", "passphrase", "opened"))
    assert kms_admin.slot_list(data_dir, as_json=True) == 0
    assert [slot["name"] for slot in json.loads(capsys.readouterr().out)["slots"]] == ["default", "stick", "recovery"]
    assert kms_admin.slot_remove(data_dir, "stick", as_json=False) == 0
    assert "rotate-root" in capsys.readouterr().out
    assert kms_admin.rotate_root(data_dir, passphrase_files={}, as_json=False) == 1
    assert "slot 'recovery' (passphrase): no passphrase was given" in capsys.readouterr().err
    assert kms_admin.rotate_root(data_dir, passphrase_files={"recover": phrase}, as_json=False) == 1
    assert "there is no passphrase slot 'recover'" in capsys.readouterr().err
    assert kms_admin.rotate_root(data_dir, passphrase_files={"recovery": phrase}, as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == {"rootVersion": 2}


def test_a_refusal_is_one_sentence(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert kms_admin.slot_remove(data_dir, "no/such slot", as_json=False) == 1
    assert capsys.readouterr().err == "strongroom: there is no slot 'no/such slot'\n"
    assert kms_admin.slot_remove(data_dir, "default", as_json=False) == 1
    assert "the last slot" in capsys.readouterr().err


def test_a_new_passphrase_is_asked_for_twice(
    data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = iter([PHRASE, "another", PHRASE, PHRASE, PHRASE])
    monkeypatch.setattr("getpass.getpass", lambda _prompt: next(typed))
    assert add(data_dir, "passphrase", "recovery") == 1
    assert "asked for on a terminal" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    assert add(data_dir, "passphrase", "recovery") == 1
    assert "the two passphrases differ" in capsys.readouterr().err
    assert add(data_dir, "passphrase", "recovery") == 0
    assert kms_admin.rotate_root(data_dir, passphrase_files={}, as_json=True) == 0


def test_no_service_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strongroom.cli.supervisor.harden_process", lambda: None)
    assert kms_admin.slot_list(tmp_path, as_json=False) == 1
    assert f"no key service answers at {tmp_path}/run/kms-admin.sock: start it first" in capsys.readouterr().err
    (tmp_path / "run").mkdir()
    assert kms_admin.slot_list(tmp_path, as_json=False) == 1
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "run" / "kms-admin.sock"))
    assert kms_admin.slot_list(tmp_path, as_json=False) == 1
    assert capsys.readouterr().err.count("start it first") == 2


def test_nothing_is_sent_to_another_user(
    data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("struct.unpack", lambda *_: (1, 12345, 12345))
    assert kms_admin.slot_list(data_dir, as_json=False) == 1
    assert "is served by another user (uid 12345): nothing was sent to it" in capsys.readouterr().err
