"""`strongroom user` and `strongroom access-key` as programs: what they say, what they refuse, and where secrets go."""

import configparser
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from strongroom import config
from strongroom.cli.main import app
from strongroom.server.paths import Paths
from strongroom.server.store import initialise
from tests.people import ACCOUNT, allow, policy

Run = Callable[..., Result]
POLICY = policy(allow("s3:GetObject"))


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    initialise(tmp_path / "data", config.load(tmp_path / "data", environ={}))
    return tmp_path / "data"


@pytest.fixture
def run(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("strongroom.cli.supervisor.harden_process", lambda: None)  # of the test process itself
    monkeypatch.setenv("STRONGROOM_DATA_DIR", str(data_dir))

    def invoke(*arguments: object, input: str | None = None) -> Result:
        return CliRunner().invoke(app, [str(each) for each in arguments], input=input)

    return invoke


def done(result: Result) -> str:
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout


def objects(result: Result) -> list[Any]:
    return [json.loads(line) for line in done(result).splitlines()]


def refused(result: Result) -> str:
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert result.stderr.startswith("strongroom: ")
    return result.stderr


def test_a_users_whole_life(run: Run, tmp_path: Path) -> None:
    assert done(run("user", "list")) == "There are no users, only the root user.\n"
    assert f"arn:aws:iam::{ACCOUNT}:user/alice is created" in done(run("user", "create", "alice"))
    assert "alice has no policies" in done(run("user", "policy", "list", "alice"))
    file = tmp_path / "policy.json"
    file.write_text(POLICY)
    done(run("user", "policy", "put", "alice", "read", file))
    done(run("user", "policy", "put", "alice", "again", "-", input=POLICY))
    assert done(run("user", "policy", "get", "alice", "read")) == POLICY + "\n"
    assert [line.split()[0] for line in done(run("user", "policy", "list", "alice")).splitlines()] == [
        "policy",
        "again",
        "read",
    ]
    done(run("user", "policy", "delete", "alice", "again"))
    shown = done(run("access-key", "create", "alice"))
    id_, secret = (line.split()[-1] for line in shown.splitlines()[:2])
    assert done(run("access-key", "deactivate", id_)) == f"The access key {id_} of alice is inactive now.\n"
    assert "inactive" in done(run("access-key", "list", "alice"))
    done(run("access-key", "activate", id_))
    listed = done(run("user", "list")) + done(run("access-key", "list")) + done(run("user", "list", "--json"))
    assert id_ in listed
    assert secret not in listed
    assert "alice has access keys" in refused(run("user", "delete", "alice"))
    done(run("access-key", "delete", id_))
    done(run("user", "delete", "alice"))
    assert done(run("user", "list", "--json")) == ""


def test_json_speaks_in_iams_names(run: Run) -> None:
    made = json.loads(done(run("user", "create", "alice", "--json")))
    assert (made["UserName"], made["Arn"]) == ("alice", f"arn:aws:iam::{ACCOUNT}:user/alice")
    key = json.loads(done(run("access-key", "create", "alice", "--json")))
    assert key.keys() == {"UserName", "AccessKeyId", "SecretAccessKey"}
    (listed,) = objects(run("access-key", "list", "--json"))
    assert (listed["AccessKeyId"], listed["Status"]) == (key["AccessKeyId"], "Active")
    assert "SecretAccessKey" not in listed
    done(run("user", "policy", "put", "alice", "read", input=POLICY))
    (policy_listed,) = objects(run("user", "policy", "list", "alice", "--json"))
    assert policy_listed["PolicyName"] == "read"
    (user,) = objects(run("user", "list", "--json"))
    assert (user["PolicyNames"], user["AccessKeys"][0]["AccessKeyId"]) == (["read"], key["AccessKeyId"])


def test_force_deletes_the_keys_too(run: Run) -> None:
    done(run("user", "create", "alice"))
    done(run("access-key", "create", "alice"))
    done(run("user", "delete", "alice", "--force"))
    assert done(run("access-key", "list")) == "There are no access keys of users.\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("user", "create", "root"), "reserved"),
        (("user", "create", "a/b"), "can't be a user's name"),
        (("user", "create", "taken"), "there is a user taken already"),
        (("user", "delete", "nobody"), "there is no user nobody"),
        (("user", "delete", "nobody", "--force"), "there is no user nobody"),
        (("user", "policy", "list", "nobody"), "there is no user nobody"),
        (("user", "policy", "get", "taken", "p"), "taken has no policy p"),
        (("user", "policy", "delete", "taken", "p"), "taken has no policy p"),
        (("user", "policy", "put", "taken", "a/b"), "can't be a policy's name"),
        (("user", "policy", "put", "taken", "p", "/no/such/file"), "/no/such/file can't be used"),
        (("access-key", "create", "nobody"), "there is no user nobody"),
        (("access-key", "delete", "AKIANONE"), "there is no access key AKIANONE"),
        (("access-key", "deactivate", "AKIANONE"), "there is no access key AKIANONE"),
        (("access-key", "list", "nobody"), "there is no user nobody"),
    ],
)
def test_a_refusal_is_one_precise_sentence(run: Run, arguments: tuple[str, ...], told: str) -> None:
    done(run("user", "create", "taken"))
    assert told in refused(run(*arguments, input=POLICY))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "standard input is not JSON: Expecting value (line 1, column 1)"),
        ('{\n"Version" "2012-10-17"}', "standard input is not JSON: Expecting ':' delimiter (line 2, column 11)"),
        ('{"Version": "2012-10-17"}', "the policy is malformed"),
    ],
)
def test_a_malformed_policy_is_refused(run: Run, text: str, why: str) -> None:
    done(run("user", "create", "alice"))
    assert why in refused(run("user", "policy", "put", "alice", "p", input=text))


def test_a_policy_that_is_no_text_is_refused(run: Run, tmp_path: Path) -> None:
    done(run("user", "create", "alice"))
    (tmp_path / "p").write_bytes(b"\xff\xfe")
    assert "is not a text file" in refused(run("user", "policy", "put", "alice", "p", tmp_path / "p"))
    (tmp_path / "p").write_text(POLICY + " " * 200_000)
    assert "may have 20,480" in refused(run("user", "policy", "put", "alice", "p", tmp_path / "p"))


def test_a_directory_without_users_is_refused_and_nothing_is_made(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "missing or empty" in refused(run("user", "list", "--data-dir", tmp_path / "empty"))
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_lost_identity_key_is_told_with_the_way_out(run: Run, data_dir: Path) -> None:
    Paths(data_dir).identity.key.unlink()
    assert "put it back from a backup" in refused(run("user", "create", "alice"))


def test_a_damaged_user_is_listed_apart(run: Run, data_dir: Path) -> None:
    import sqlite3

    done(run("user", "create", "alice"))
    done(run("user", "create", "bob"))
    connection = sqlite3.connect(Paths(data_dir).identity.database)
    connection.execute("UPDATE users SET revision = 7 WHERE name = 'alice'")
    connection.commit()
    connection.close()
    result = run("user", "list")
    assert result.exit_code == 1
    assert "bob" in result.stdout
    assert "the row of the user alice is damaged" in result.stderr
    done(run("user", "delete", "alice", "--force"))
    assert "bob" in done(run("user", "list"))


# --- profile files


def test_a_key_goes_into_a_profile_instead_of_onto_the_screen(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "aws" / "credentials"
    file.parent.mkdir()
    for name in ("alice", "bob"):
        done(run("user", "create", name))
    before = os.umask(0)
    try:
        said = done(run("access-key", "create", "alice", "--profile-file", file))
    finally:
        os.umask(before)
    said += done(run("access-key", "create", "bob", "--profile-file", file, "--profile", "other", "--json"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(file)
    assert parser.sections() == ["alice", "other"]
    for section in parser.sections():
        assert parser[section]["aws_access_key_id"] in said
        assert parser[section]["aws_secret_access_key"] not in said


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        (b"[alice]\naws_access_key_id = x\n", 0o600, "has a profile [alice] already"),
        (b"no section\n", 0o600, "is no AWS shared-credentials file"),
        (b"[x]\n[x]\n", 0o600, "is no AWS shared-credentials file"),
        (b"\xff\xfe\x00", 0o600, "is no AWS shared-credentials file"),
        (b"[x]\n", 0o644, "chmod 600"),
    ],
)
def test_a_profile_file_that_does_not_fit_is_refused_before_a_key_is_made(
    run: Run, tmp_path: Path, content: bytes, mode: int, told: str
) -> None:
    done(run("user", "create", "alice"))
    file = tmp_path / "credentials"
    file.write_bytes(content)
    file.chmod(mode)
    assert told in refused(run("access-key", "create", "alice", "--profile-file", file))
    assert file.read_bytes() == content
    assert objects(run("access-key", "list", "--json")) == []


@pytest.mark.parametrize("profile", ["a]\n[b", "", "a b", "a\nb", "DEFAULT"])
def test_a_profile_name_that_would_break_the_file_is_refused(run: Run, tmp_path: Path, profile: str) -> None:
    done(run("user", "create", "alice"))
    arguments = ("access-key", "create", "alice", "--profile-file", tmp_path / "c", "--profile", profile)
    if profile:
        assert "can't be a profile's name" in refused(run(*arguments))
        assert not (tmp_path / "c").exists()
    else:
        done(run(*arguments))
        assert (tmp_path / "c").read_text().startswith("[alice]\n")


def test_a_key_that_could_not_be_written_down_is_deleted_again(run: Run, tmp_path: Path) -> None:
    done(run("user", "create", "alice"))
    there_is_none = refused(run("access-key", "create", "alice", "--profile-file", tmp_path / "none" / "c"))
    assert f"there is no directory {tmp_path / 'none'}" in there_is_none
    assert "can't be used" in refused(run("access-key", "create", "alice", "--profile-file", "/proc/credentials"))
    assert objects(run("access-key", "list", "--json")) == []
