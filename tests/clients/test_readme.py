"""Every block of the README for a client, run as it stands against a server whose data directory is `data`."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import STRONGROOM, Server, running

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
CLIENTS = ROOT / ".testenv" / "bin"


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """A server as `make serve` starts it, and the directory that a newcomer stands in."""
    directory = tmp_path_factory.mktemp("newcomer")
    with running(directory) as server:
        (directory / "README.md").write_text(README)
        (directory / "docs").symlink_to(ROOT / "docs")
        (directory / ".venv" / "bin").mkdir(parents=True)
        (directory / ".venv" / "bin" / "strongroom").symlink_to(STRONGROOM)
        yield server, directory


def block(title: str, language: str) -> str:
    match = re.search(rf"^{title}.*?```{language}\n(.*?)```", README, re.DOTALL | re.MULTILINE)
    assert match is not None, title
    return match[1]


def run_block(newcomer: tuple[Server, Path], text: str, program: list[str]) -> str:
    server, directory = newcomer
    for there, here in (
        ("127.0.0.1:9000", f"127.0.0.1:{server.port}"),
        ("127.0.0.1:9001", f"127.0.0.1:{server.kms_port}"),
        ("localhost:9443", f"localhost:{server.tls_port}"),
    ):
        text = text.replace(there, here)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RCLONE_"))}
    finished = subprocess.run(
        [*program, text],
        cwd=directory,
        env={**environment, "PATH": f"{CLIENTS}:{os.environ['PATH']}", "HOME": str(directory)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


SHELL = ["bash", "-euo", "pipefail", "-c"]


CREDENTIALS = "import os; os.environ['AWS_SHARED_CREDENTIALS_FILE'] = 'data/credentials'\n"
BLOCKS = [
    ("aws-cli:", "sh"),
    ("boto3, with", "python"),
    ("boto3, a KMS key's", "python"),
    ("aws-cli with the KMS", "sh"),
    ("A user of its own", "sh"),
    ("rclone:", "sh"),
    ("s3cmd:", "sh"),
]


def test_aws_cli(newcomer: tuple[Server, Path]) -> None:
    assert "2026/readme.md" in run_block(newcomer, block("aws-cli:", "sh"), SHELL)


def test_boto3(newcomer: tuple[Server, Path]) -> None:
    assert "at dawn" in run_block(newcomer, CREDENTIALS + block("boto3, with", "python"), [sys.executable, "-c"])


def test_a_kms_keys_whole_life(newcomer: tuple[Server, Path]) -> None:
    refused, opened = run_block(
        newcomer, CREDENTIALS + block("boto3, a KMS key's", "python"), [sys.executable, "-c"]
    ).splitlines()
    assert "KMS.DisabledException" in refused
    assert opened == "b'a lot'"


def test_aws_cli_with_the_kms(newcomer: tuple[Server, Path]) -> None:
    told = run_block(newcomer, block("aws-cli with the KMS", "sh"), SHELL)
    assert "# Strongroom" in told
    used, opened = (line for line in told.splitlines() if "payroll/readme.md" in line and line.endswith(" ok"))
    assert " GenerateDataKey " in used
    assert " Decrypt " in opened
    assert f"{len(README.encode()):,}" in told  # the census


def test_users(newcomer: tuple[Server, Path]) -> None:
    told = run_block(newcomer, block("A user of its own", "sh"), SHELL)
    assert "is the profile [alice]" in told


def test_rclone(newcomer: tuple[Server, Path]) -> None:
    run_block(newcomer, block("rclone:", "sh"), SHELL)
    server, _ = newcomer
    stored = server.s3().list_objects_v2(Bucket="backups", Prefix="docs/")["KeyCount"]
    assert stored == sum(path.is_file() for path in (ROOT / "docs").rglob("*")) > 0


def test_s3cmd(newcomer: tuple[Server, Path]) -> None:
    assert "s3://archive/readme.md" in run_block(newcomer, block("s3cmd:", "sh"), SHELL)


def test_no_block_goes_untested() -> None:
    tested = {block(*each) for each in BLOCKS}
    blocks = set(re.findall(r"```(?:sh|python)\n(.*?)```", README, re.DOTALL))
    assert blocks - tested == {block("## Start", "sh")}, "a block of the README is run by no test"


def test_every_link_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.relative_to(ROOT)} links to {link}"
