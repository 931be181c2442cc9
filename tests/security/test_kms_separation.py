"""What the processes of S3 have of the key service: neither its secrets from the environment, nor its sockets, nor its
open files (docs/threat-model.md, "Separation").
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Server, running, wait_until

PASSPHRASE = "one two three four five six"
# Loaded by every Python that starts with it on its path: a process tells the names of its variables when asked.
TELL = """
import os, signal
def tell(*_):
    with open(os.environ["TELL_TO"] + "/" + str(os.getpid()) + ".part", "w") as file:
        file.write("\\n".join(os.environ))
    os.rename(file.name, file.name.removesuffix(".part"))
signal.signal(signal.SIGUSR1, tell)
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    directory = tmp_path_factory.mktemp("separation")
    (directory / "sitecustomize.py").write_text(TELL)
    environment = {
        "STRONGROOM_KMS_PASSPHRASE": PASSPHRASE,
        "TELL_TO": str(directory),
        "PYTHONPATH": os.pathsep.join([str(directory), os.environ.get("PYTHONPATH", "")]),
    }
    with running(directory, environment=environment) as server:
        yield server, directory


def variables(pid: int, directory: Path) -> set[str]:
    os.kill(pid, signal.SIGUSR1)
    answer = directory / str(pid)
    wait_until(answer.exists)
    return set(answer.read_text().splitlines())


def test_s3_has_no_secret_of_the_key_service_in_its_environment(told: tuple[Server, Path]) -> None:
    server, directory = told
    assert "STRONGROOM_KMS_PASSPHRASE" in variables(server.kms_process(), directory)
    assert len(server.workers()) == 2
    for pid in server.workers():
        found = variables(pid, directory)
        assert "TELL_TO" in found
        assert not {name for name in found if name.startswith("STRONGROOM_KMS_")}


def test_a_key_service_opened_by_a_passphrase_has_no_key_file(told: tuple[Server, Path]) -> None:
    server, _ = told
    assert not (server.data_dir / "kms" / "root.key").exists()
    everything = b"".join(path.read_bytes() for path in server.data_dir.rglob("*") if path.is_file())
    assert PASSPHRASE.encode() not in everything


def open_files(pid: int) -> set[str]:
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(os.readlink(descriptor))
        except FileNotFoundError:
            continue
    return found


def test_s3_holds_neither_a_socket_nor_a_file_of_the_key_service(told: tuple[Server, Path]) -> None:
    server, _ = told
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [line for line in lines if line[3] == "0A" and int(line[1].split(":")[1], 16) == server.kms_port]
    (socket,) = (f"socket:[{line[9]}]" for line in listening)
    unix = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    accepting = {f"socket:[{line[6]}]" for line in unix if line[3] == "00010000" and line[-1].endswith(".sock")}
    kms = open_files(server.kms_process())
    assert socket in kms
    for pid in server.workers():
        found = open_files(pid)
        assert socket not in found
        assert not found & accepting & kms
        assert not {name for name in found if name.startswith(str(server.data_dir / "kms" / "kms.db"))}
        assert not {name for name in found if name.startswith(str(server.data_dir / "audit"))}
