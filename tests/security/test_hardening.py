"""What surrounds the server: its processes, its files, its credentials (I2, and the promises of docs/threat-model.md)."""

import os
import resource
import stat
import subprocess
from pathlib import Path

import pytest

from tests.harness import STRONGROOM, Server, customer_key_headers, running


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory):
    """A server started by somebody with umask 000 and core dumps on, after use."""
    before = os.umask(0)
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (limits[1], limits[1]))
    try:
        with running(tmp_path_factory.mktemp("used")) as server:
            key = customer_key_headers(b"k" * 32)
            assert server.send("PUT", "/bucket").status == 200
            for name, body in (("small", b"x"), ("large", bytes(1_000_000))):
                assert server.send("PUT", f"/bucket/{name}", body=body).status == 200
                assert server.send("PUT", f"/bucket/{name}-sealed", headers=key, body=body, tls=True).status == 200
            upload = server.send("POST", "/bucket/parts?uploads").element("UploadId")
            assert server.send("PUT", f"/bucket/parts?partNumber=1&uploadId={upload}", body=b"x").status == 200
            assert server.send("DELETE", "/bucket/small").status == 204
            under_kms = {"x-amz-server-side-encryption": "aws:kms"}
            assert server.send("PUT", "/bucket/under-kms", headers=under_kms, body=b"x").status == 200
            yield server
    finally:
        os.umask(before)
        resource.setrlimit(resource.RLIMIT_CORE, limits)


def test_no_file_is_readable_by_others_whatever_the_umask(used: Server) -> None:
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in (used.data_dir, *used.data_dir.rglob("*"))}
    assert len(modes) > 20
    assert {path: oct(mode) for path, mode in modes.items() if path.is_dir() and mode != 0o700} == {}
    assert {path: oct(mode) for path, mode in modes.items() if path.is_file() and mode & 0o177} == {}
    assert {path: oct(mode) for path, mode in modes.items() if path.is_socket() and mode != 0o600} == {}
    names = {str(path.relative_to(used.data_dir)) for path in modes}
    assert names >= {"kms/kms.db", "kms/root.key", "identity/identity.db", "identity/identity.key", "audit/public-key"}
    assert names >= {"run/kms.sock", "run/kms-admin.sock"}


def test_neither_a_core_dump_nor_a_debugger_gets_at_the_memory(used: Server) -> None:
    """PR_SET_DUMPABLE 0 makes a process's files in /proc root's, and RLIMIT_CORE 0 makes no dump."""
    processes = [used.process.pid, *used.processes()]
    assert len(processes) == 4
    for pid in processes:
        limits = Path(f"/proc/{pid}/limits").read_text()
        line = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
        assert line.split()[4:6] == ["0", "0"]
    assert_not_dumpable(processes)


def assert_not_dumpable(processes: list[int]) -> None:
    if os.getuid() != 0:
        for pid in processes:
            with pytest.raises(PermissionError):
                Path(f"/proc/{pid}/environ").read_bytes()
        return
    # To root, everything in /proc is readable: another user is asked.
    for pid in processes:
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat", f"/proc/{pid}/environ"]
        told = subprocess.run(command, check=False, capture_output=True, text=True)
        assert told.returncode != 0
        assert "Permission denied" in told.stderr


def test_no_socket_is_open_to_the_world(used: Server) -> None:
    """Everything listens on loopback until told otherwise."""
    ports = {used.port, used.tls_port, used.metrics_port, used.kms_port}
    seen = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            address, port = line.split()[1].split(":")
            if line.split()[3] == "0A" and int(port, 16) in ports:
                seen.add(int(port, 16))
                assert address == "0100007F"
    assert seen == ports


# --- I2


@pytest.mark.parametrize(
    ("access_key_id", "secret"),
    [
        ("minioadmin", "minioadmin"),
        ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        ("admin", ""),
    ],
)
def test_i2_default_and_guessable_credentials_are_refused__rustfs(
    tmp_path: Path, access_key_id: str, secret: str
) -> None:
    """More of them in tests/unit/identity/test_root.py."""
    environment = {
        **os.environ,
        "STRONGROOM_ROOT_ACCESS_KEY_ID": access_key_id,
        "STRONGROOM_ROOT_SECRET_ACCESS_KEY": secret,
    }
    addresses = [f"--listen{kind}=off" for kind in ("-tls", "-metrics")]
    command = [STRONGROOM, "serve", "--data-dir", str(tmp_path / "data"), "--listen=127.0.0.1:0", *addresses]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert told.returncode == 1
    assert told.stderr.count("\n") == 1
    assert len(secret) < 6 or secret not in told.stderr.replace(access_key_id or "\n", "")
    assert not (tmp_path / "data" / "credentials").exists()


def test_i2_the_credentials_made_are_long_and_are_told_to_nobody(used: Server) -> None:
    assert len(used.secret) == 40
    assert used.secret not in used.log.read_text()
