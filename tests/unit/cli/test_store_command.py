"""What every command on an existing store says when it can't work: one sentence, whatever is wrong with the store."""

import subprocess
import sys
from pathlib import Path

import pytest

from strongroom import config
from strongroom.server.paths import Paths
from strongroom.server.store import initialise

PROGRAM = Path(sys.executable).with_name("strongroom")
COMMANDS = ("verify", "gc", "backup", "rotate-store-key --yes", "rotate-bucket-secrets")


def refused(command: str, data_dir: Path) -> str:
    """The sentence on standard error."""
    words = command.split()
    if words[0] == "backup":
        words.append(str(data_dir.parent / "copy"))
    done = subprocess.run(
        [PROGRAM, *words, "--data-dir", data_dir], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == (2 if words[0] == "verify" else 1)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    initialise(directory, config.load(directory, environ={}))
    return directory


@pytest.mark.parametrize("command", COMMANDS)
def test_a_directory_without_a_store(tmp_path: Path, command: str) -> None:
    assert f"there is no store in {tmp_path}/absent" in refused(command, tmp_path / "absent")


@pytest.mark.parametrize("command", COMMANDS)
def test_an_empty_index(data_dir: Path, command: str) -> None:
    Paths(data_dir).index.write_bytes(b"")
    assert f"{Paths(data_dir).index} is missing or empty" in refused(command, data_dir)


@pytest.mark.parametrize("command", COMMANDS[1:])  # to verify, that is damage
def test_a_damaged_index(data_dir: Path, command: str) -> None:
    Paths(data_dir).index.write_bytes(b"\xa5" * 65536)
    assert "the index is damaged (file is not a database): restore it from a backup" in refused(command, data_dir)


def test_a_file_that_is_in_the_way(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").touch()
    assert refused("backup", data_dir) == f"strongroom: {tmp_path}/copy can't be used: Not a directory\n"
