import base64
import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from strongroom import config
from strongroom.audit.checkpoint import Signer
from strongroom.cli.doctor import doctor, examine
from strongroom.cli.finding import Finding
from strongroom.edge import certificates, unix_socket
from strongroom.identity.root import load_root
from strongroom.server.paths import Paths
from strongroom.server.store import initialise
from tests.key_service import serving
from tests.people import with_users


@pytest.fixture(autouse=True)
def _unhardened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strongroom.cli.supervisor.harden_process", lambda: None)  # of the test process itself


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    certificates.ensure_certificates(directory, certificates.names_to_certify([]))
    load_root(directory, {}, "000000000000")
    return directory


def problems(data_dir: Path, check: str) -> list[Finding]:
    return [finding for finding in examine(data_dir) if finding.check == check and finding.verdict == "problem"]


def test_a_sound_store_has_no_problem_and_nothing_is_changed(data_dir, capsys) -> None:
    before = {path: path.lstat().st_mtime_ns for path in data_dir.rglob("*")}
    assert doctor(data_dir, None, as_json=False) == 0
    told = capsys.readouterr().out
    for check in ("config", "permissions", "credentials", "store", "clock", "disk", "certificate"):
        assert f" {check} " in told
    assert {path: path.lstat().st_mtime_ns for path in data_dir.rglob("*")} == before


def test_a_store_whose_key_is_there_is_sound_and_nothing_is_changed(data_dir, capsys) -> None:
    initialise(data_dir, config.load(data_dir, environ={}))
    before = {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in (data_dir / "s3").rglob("*")}
    assert doctor(data_dir, None, as_json=False) == 0
    (key,) = Paths(data_dir).keys.iterdir()
    assert f" store        its store key {key.stem} is in {key.parent}\n" in capsys.readouterr().out
    assert {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in (data_dir / "s3").rglob("*")} == before


def test_users_that_can_not_be_read_are_found(data_dir) -> None:
    initialise(data_dir, config.load(data_dir, environ={}))
    files = Paths(data_dir).identity
    assert [each.text for each in examine(data_dir) if each.check == "users"] == ["0 users with 0 access keys"]
    with_users(data_dir, lambda users: users.create("alice"))
    with closing(sqlite3.connect(files.database)) as connection:
        connection.execute("UPDATE users SET name = 'mallory'")
        connection.commit()
    (found,) = problems(data_dir, "users")
    assert "the rows of these users are damaged, and their requests are refused: mallory" in found.text
    files.key.unlink()
    (found,) = problems(data_dir, "users")
    assert "identity.key is missing" in found.text
    files.directory.chmod(0o755)
    assert any("identity can be used by other users" in each.text for each in problems(data_dir, "permissions"))


def test_a_store_that_would_not_start_is_found(data_dir) -> None:
    initialise(data_dir, config.load(data_dir, environ={}))
    paths = Paths(data_dir)
    (key,) = paths.keys.iterdir()
    key.rename(data_dir / "key")
    (found,) = problems(data_dir, "store")
    assert f"its store key is {key.stem}, and the keys given are: none" in found.text
    (data_dir / "key").rename(key)
    assert not problems(data_dir, "store")
    (paths.blobs / "ab").mkdir(parents=True, exist_ok=True)
    (paths.blobs / "ab" / ("ab" * 16)).touch()
    paths.index.unlink()
    (found,) = problems(data_dir, "store")
    assert "Restore the index from a backup" in found.text


def test_every_problem_comes_with_advice_and_an_exit_code(data_dir, capsys) -> None:
    (data_dir / "tls/server.pem").chmod(0o644)
    assert doctor(data_dir, None, as_json=True) == 1
    findings = json.loads(capsys.readouterr().out)
    (problem,) = [finding for finding in findings if finding["verdict"] == "problem"]
    assert problem["check"] == "permissions"
    assert "mode 644" in problem["text"]
    assert problem["advice"].startswith(f"chmod 600 {data_dir}/tls/server.pem")


@pytest.mark.parametrize(("name", "mode"), [("", 0o755), ("credentials", 0o640), ("tls", 0o701), ("tls", 0o500)])
def test_what_others_can_use_or_the_owner_cannot_is_found(data_dir, name, mode) -> None:
    (data_dir / name).chmod(mode)
    (found,) = problems(data_dir, "permissions")
    assert str(data_dir / name) in found.text


def test_a_symbolic_link_is_found(data_dir) -> None:
    (data_dir / "blobs").symlink_to("/tmp")
    (found,) = problems(data_dir, "permissions")
    assert "symbolic link" in found.text


def test_a_file_of_another_user_is_found(data_dir) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(data_dir / "credentials", 12345, -1)
    (found,) = problems(data_dir, "permissions")
    assert "uid 12345" in found.text


def test_a_wrong_setting_is_found_and_the_rest_is_still_looked_at(data_dir) -> None:
    (data_dir / "strongroom.toml").write_text("worker = 1")
    (data_dir / "strongroom.toml").chmod(0o600)
    findings = list(examine(data_dir))
    assert next(finding.text for finding in findings if finding.check == "config").startswith("Unknown setting worker")
    assert {"permissions", "clock", "disk"} <= {finding.check for finding in findings}


def test_bad_credentials_are_found(data_dir) -> None:
    (data_dir / "credentials").write_text("[strongroom]\n")
    assert problems(data_dir, "credentials")


def test_absent_credentials_are_not_made(data_dir) -> None:
    (data_dir / "credentials").unlink()
    assert any(finding.check == "credentials" and finding.verdict == "warning" for finding in examine(data_dir))
    assert not (data_dir / "credentials").exists()


def test_a_clock_that_went_back_is_found(data_dir) -> None:
    os.utime(data_dir / "ca.pem", (time.time() + 7200, time.time() + 7200))
    (found,) = problems(data_dir, "clock")
    assert "went back" in found.text


@pytest.mark.parametrize("damage", ["garbage", "expired"])
def test_a_bad_certificate_is_found(data_dir, damage) -> None:
    path = data_dir / certificates.SERVER_FILE
    if damage == "garbage":
        path.write_text("garbage")
    else:
        from datetime import UTC, datetime, timedelta

        path.unlink()
        (data_dir / "ca.pem").unlink()
        past = datetime.now(UTC) - timedelta(days=100)
        certificates.ensure_certificates(data_dir, certificates.names_to_certify([]), now=past)
    (found,) = problems(data_dir, "certificate")
    assert "server.pem" in found.text


def test_the_keys_of_settings_are_looked_at(data_dir) -> None:
    (data_dir / "strongroom.toml").write_text('tls_certificate = "absent.pem"\ntls_key = "absent.pem"')
    (data_dir / "strongroom.toml").chmod(0o600)
    (found,) = problems(data_dir, "certificate")
    assert "absent.pem" in found.text


def test_a_directory_that_is_not_there_could_not_be_examined(tmp_path, capsys) -> None:
    assert doctor(tmp_path / "absent", None, as_json=False) == 2
    assert "absent" in capsys.readouterr().err


def test_it_is_a_command(data_dir) -> None:
    program = Path(sys.executable).with_name("strongroom")
    done = subprocess.run([program, "doctor", "--data-dir", data_dir, "--json"], capture_output=True, check=True)
    assert {finding["verdict"] for finding in json.loads(done.stdout)} <= {"ok", "warning"}


# --- the key service


def with_key_service(data_dir: Path) -> None:
    """As a first start leaves it, with a request in its log."""
    with serving(data_dir) as server:
        server.client().list_keys()


def told(data_dir: Path, check: str) -> list[tuple[str, str]]:
    return [(finding.verdict, finding.text) for finding in examine(data_dir) if finding.check == check]


def test_a_key_service_is_looked_at_without_changing_it(data_dir) -> None:
    assert told(data_dir, "kms") == [("ok", "there is no key service yet: the first start makes it")]
    with_key_service(data_dir)
    before = {path: path.lstat().st_mtime_ns for path in data_dir.rglob("*")}
    sound, lonely = told(data_dir, "kms")
    assert sound == ("ok", "1 unseal slots: slot 'default' (key file root.key) opens it")
    assert lonely[0] == "warning"
    assert "one unseal slot only" in lonely[1]
    ((verdict, text),) = told(data_dir, "audit")
    assert verdict == "ok"
    assert "record 1" in text
    assert {path: path.lstat().st_mtime_ns for path in data_dir.rglob("*")} == before


@pytest.mark.parametrize("how", ["missing", "another", "open to others"])
def test_a_root_key_that_does_not_open_is_found(data_dir, how) -> None:
    with_key_service(data_dir)
    key_file = data_dir / "kms/root.key"
    match how:
        case "missing":
            key_file.unlink()
        case "another":
            key_file.write_bytes(base64.b64encode(os.urandom(32)))
        case "open to others":
            key_file.chmod(0o644)
    (found,) = problems(data_dir, "kms")
    assert found.text.startswith("slot 'default' (key file root.key): ")
    assert {"missing": "does not exist", "another": "the key given is", "open to others": "chmod 600"}[
        how
    ] in found.text


def test_a_lost_database_of_keys_is_found(data_dir) -> None:
    with_key_service(data_dir)
    (data_dir / "kms/kms.db").write_bytes(b"garbage" * 1000)
    assert "can't be read" in problems(data_dir, "kms")[0].text
    (data_dir / "kms/kms.db").unlink()
    (found,) = problems(data_dir, "kms")
    assert "kms.db is missing" in found.text
    (data_dir / "kms/root.key").unlink()
    (found,) = problems(data_dir, "kms")  # its log shows that there was one
    assert ".jsonl is there" in found.text


def test_an_audit_log_that_stands_still_is_found(data_dir) -> None:
    with_key_service(data_dir)
    log = data_dir / "audit"
    signer = Signer(os.urandom(32), "strongroom-kms")
    (log / "public-key").write_text(signer.verifier.text)
    (log / "checkpoints").write_text(signer.checkpoint(1, bytes(range(32)), "2026-01-02T03:04:05Z") + "\n")
    assert told(data_dir, "audit")[0][0] == "ok"  # nobody runs
    with closing(unix_socket.open_unix_socket(data_dir / "run/kms.sock")):
        (found,) = problems(data_dir, "audit")
    assert "the last checkpoint is of 2026-01-02T03:04:05Z, record 1, though the key service runs" in found.text


def test_an_audit_log_without_any_checkpoint_is_found_when_one_was_due(data_dir) -> None:
    with_key_service(data_dir)
    (data_dir / "audit/checkpoints").unlink()
    ((verdict, text),) = told(data_dir, "audit")
    assert (verdict, "no checkpoint was due yet" in text) == ("ok", True)
    os.utime(data_dir / "audit/public-key", (time.time() - 10_000,) * 2)
    (found,) = problems(data_dir, "audit")
    assert "no checkpoint proves any of it" in found.text
    (data_dir / "audit/public-key").unlink()
    (found,) = problems(data_dir, "audit")
    assert "public-key is missing" in found.text


def test_an_audit_log_on_its_reserve_is_found(data_dir) -> None:
    with_key_service(data_dir)
    os.truncate(data_dir / "audit/kms.reserve", 0)
    (found,) = problems(data_dir, "audit")
    assert "lives on its reserve" in found.text
