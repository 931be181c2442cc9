"""audit verify, show and key as programs: what they say and the codes they end with."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from strongroom.audit.checkpoint import Signer
from tests.audited import KEY_ID, SIGNER, Kept, event, log_files, make_log, opened

PROGRAM = Path(sys.executable).with_name("strongroom")


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    data_dir: Path = tmp_path_factory.mktemp("sound")
    make_log(data_dir / "audit", 6, checkpoint_at=[2], max_file_bytes=3000)
    return data_dir


@pytest.fixture
def data_dir(sound: Path, tmp_path: Path) -> Path:
    shutil.copytree(sound / "audit", tmp_path / "audit")
    return tmp_path


def run(*arguments: object, code: int = 0) -> "subprocess.CompletedProcess[str]":
    command = [str(PROGRAM), "audit", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == code, done.stdout + done.stderr
    return done


# --- verify


def test_verify_of_a_sound_log(sound):
    done = run("verify", "--data-dir", sound, "--public-key", SIGNER.verifier.text)
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    assert line.startswith("Sound. Records 1 to 6 are complete. Proved up to record 6 by the checkpoint of 2")
    summary = json.loads(run("verify", "--data-dir", sound, "--json").stdout)
    proved_at = summary.pop("proved_at")
    assert proved_at.endswith("Z")
    assert summary == {
        "type": "summary",
        "first": 1,
        "last": 6,
        "proved": 6,
        "unproved": 0,
        "checkpoints": 2,
        "unfinished_bytes": 0,
        "key_given": False,
        "damages": 0,
    }


def test_verify_says_that_a_key_beside_the_log_proves_less(sound):
    assert "--public-key" in run("verify", "--data-dir", sound).stdout.splitlines()[-1]


def test_verify_names_the_first_bad_record(data_dir):
    path = log_files(data_dir / "audit")[1]
    path.write_bytes(path.read_bytes().replace(b"alice", b"bobby", 1))
    sequence = int(path.stem.split("-")[2])
    damage, summary = run(
        "verify", "--data-dir", data_dir, "--public-key", SIGNER.verifier.text, code=1
    ).stdout.splitlines()
    assert damage == (
        f"damage: record {sequence}, {path.name}, line 1: record {sequence} was changed: its hash is not that of its content"
    )
    assert summary.startswith(f"Damaged. Records 1 to {sequence - 1} are complete. Proved up to record 2 by")
    told = [json.loads(line) for line in run("verify", "--data-dir", data_dir, "--json", code=1).stdout.splitlines()]
    assert [each["type"] for each in told] == ["damage", "summary"]
    assert (told[0]["sequence"], told[0]["file"], told[0]["line"]) == (sequence, path.name, 1)


def test_verify_with_another_key_is_damage(data_dir):
    other = Signer(bytes(range(1, 33)), SIGNER.verifier.name).verifier.text
    done = run("verify", "--data-dir", data_dir, "--public-key", other, code=1)
    assert "another key signed it" in done.stdout
    assert "No checkpoint proves any of them" in done.stdout


def test_verify_of_a_log_that_nothing_proves_is_code_2(data_dir):
    (data_dir / "audit" / "checkpoints").unlink()
    done = run("verify", "--data-dir", data_dir, code=2)
    assert done.stdout.startswith("Not proved. Records 1 to 6 are complete. No checkpoint proves any of them.")


def test_verify_of_a_log_without_its_older_files(data_dir):
    gone, following = log_files(data_dir / "audit")[:2]
    gone.unlink()
    first = int(following.stem.split("-")[2])
    run("verify", "--data-dir", data_dir, code=1)
    assert f"Records {first} to 6 are complete" in run("verify", "--data-dir", data_dir, "--from", first).stdout


@pytest.mark.parametrize("how", ["absent", "no key", "bad key", "bad key file"])
def test_verify_that_cannot_run_is_code_2_and_one_sentence(data_dir, how):
    arguments: list[object] = ["verify", "--data-dir", data_dir]
    match how:
        case "absent":
            arguments[-1] = data_dir / "absent"
        case "no key":
            (data_dir / "audit" / "public-key").unlink()
        case "bad key":
            arguments += ["--public-key", "nonsense"]
        case "bad key file":
            (data_dir / "audit" / "public-key").write_bytes(b"\xff\n\n")
    done = run(*arguments, code=2)
    assert done.stdout == ""
    assert done.stderr.startswith("strongroom: ")
    assert len(done.stderr.splitlines()) == 1


# --- show and key


def test_show_prints_a_line_an_event(sound):
    heading, *rows = run("show", "--data-dir", sound).stdout.splitlines()
    assert heading.split() == ["TIME", "WHO", "WHAT", "KEY", "FOR", "REQUEST", "OUTCOME"]
    assert len(rows) == 6
    time, who, what, key, data, request, outcome = rows[2].split()
    assert time.endswith("Z")
    assert (what, key, data, request, outcome) == ("Decrypt", KEY_ID, "bucket/key-3", "request-3", "ok")
    assert who.endswith(":user/alice")


def test_show_json_is_one_object_a_line(sound):
    lines = run("show", "--data-dir", sound, "--object", "bucket/key-4", "--json").stdout.splitlines()
    (shown,) = map(json.loads, lines)
    assert (shown["sequence"], shown["match"]) == (4, "object")
    assert shown["event"]["requestParameters"]["encryptionContext"] == {"aws:s3:arn": "arn:aws:s3:::bucket/key-4"}


def test_show_filters(sound):
    def shown(*arguments: str) -> int:
        return len(run("show", "--data-dir", sound, "--json", *arguments).stdout.splitlines())

    assert shown("--key", KEY_ID, "--since", "1h", "--principal", "alice") == 6
    assert shown("--object", "bucket/key-4") == shown("--object", "s3://bucket/key-4") == 1
    assert shown("--object", "arn:aws:s3:::bucket/key-4") == 1
    assert shown("--key", "another") == shown("--errors") == shown("--since", "2999-01-01") == 0
    assert "neither a time" in run("show", "--data-dir", sound, "--since", "never", code=1).stderr
    assert "BUCKET/KEY" in run("show", "--data-dir", sound, "--object", "bucket", code=1).stderr


def test_show_escapes_what_a_terminal_would_obey(tmp_path):
    import asyncio

    async def main() -> None:
        async with opened(tmp_path / "audit", Kept()) as log:
            await log.append(event(request_id="a\x1b[31m\n\u202eb", user="\x9bx"))

    asyncio.run(main())
    _, row = run("show", "--data-dir", tmp_path).stdout.splitlines()
    assert "  a\\u001b[31m\\n\\u202eb  " in row
    assert "\\u009bx  " in row


def test_show_tells_of_an_unreadable_line_and_goes_on(data_dir):
    path = log_files(data_dir / "audit")[0]
    path.write_bytes(b"garbage\n" + path.read_bytes())
    done = run("show", "--data-dir", data_dir, "--json")
    assert len(done.stdout.splitlines()) == 6
    assert done.stderr == f"strongroom: {path.name}, line 1: the line is not a record\n"


def test_show_into_a_pipe_that_closes_is_no_error(tmp_path):
    make_log(tmp_path / "audit", 500)
    command = f"{PROGRAM} audit show --data-dir {tmp_path} --json | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_key_prints_what_verifies_the_log(sound, tmp_path):
    assert run("key", "--data-dir", sound).stdout == SIGNER.verifier.text + "\n"
    assert "no audit log" in run("key", "--data-dir", tmp_path, code=1).stderr


def test_the_commands_write_nothing(data_dir):
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in (data_dir / "audit").iterdir()}
    for command in ("verify", "show", "key"):
        run(command, "--data-dir", data_dir)
    assert before == {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in (data_dir / "audit").iterdir()
    }
    assert [path.name for path in data_dir.iterdir()] == ["audit"]
