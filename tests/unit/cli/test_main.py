import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("strongroom")


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=30, check=False)


def test_version() -> None:
    assert run("version").stdout == f"{version('strongroom')}\n"


def test_help_lists_the_commands_and_loads_none_of_them() -> None:
    told = run("--help")
    assert told.returncode == 0
    for command in (
        "serve",
        "doctor",
        "verify",
        "gc",
        "backup",
        "rotate-store-key",
        "rotate-bucket-secrets",
        "version",
    ):
        assert f" {command} " in told.stdout
    program = (
        "import sys\nfrom typer.testing import CliRunner\nfrom strongroom.cli.main import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "heavy = {'uvicorn', 'cryptography', 'botocore', 'pydantic', 'prometheus_client'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


@pytest.mark.parametrize("command", ["doctor", "verify", "gc", "backup", "rotate-store-key", "rotate-bucket-secrets"])
def test_the_help_of_commands_says_whether_they_work_beside_a_server(command) -> None:
    assert "beside a running server" in " ".join(run(command, "--help").stdout.split())


@pytest.mark.parametrize("arguments", [("serve",), ("serve", "--nonsense"), ("nonsense",)])
def test_wrong_usage_is_exit_code_2_and_no_traceback(arguments) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_an_empty_data_dir_is_not_the_current_directory(tmp_path: Path) -> None:
    done = subprocess.run(
        [PROGRAM, "serve", "--data-dir", ""], capture_output=True, text=True, timeout=30, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (2, "", [])
    assert "it is empty: is a variable unset?" in done.stderr


def shell(command: str) -> "subprocess.CompletedProcess[str]":
    """`$0` in `command` is the program."""
    return subprocess.run(["bash", "-c", command, PROGRAM], capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"], ids=["output", "and errors", "all"])
@pytest.mark.parametrize("command", ["version", "--help", "audit show --data-dir {}", "audit key --data-dir {}"])
def test_output_that_was_closed_before_is_no_failure(tmp_path: Path, command: str, closed: str) -> None:
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "public-key").write_text(
        "strongroom-kms+b3455008+AU+AQ80DhxTalO56u6HKvcll9J/li1VYnAG5ph+dLw3I\n"
    )
    done = shell(f'"$0" {command.format(tmp_path)} {closed}')
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("command", ["version", "--help", "key --help"])
def test_output_that_can_not_be_written_is_one_sentence(command: str) -> None:
    done = shell(f'"$0" {command} > /dev/full')
    assert (done.returncode, done.stderr) == (1, "strongroom: No space left on device\n")


def test_an_error_is_not_told_on_the_output_where_nobody_hears_it() -> None:
    done = shell('"$0" audit key --data-dir /nowhere 2>&-')
    assert (done.returncode, done.stdout) == (1, "")
