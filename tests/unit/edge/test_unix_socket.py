"""The sockets that only this store's own processes may use."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from strongroom.edge.unix_socket import UnixSocketError, open_unix_socket
from tests.json_serving import SmallKms, serving

ASK = {"NumberOfBytes": 16}


def short(path: Path) -> str:
    """A name of `path` that a client can connect to, however long that is."""
    directory = os.open(path.parent, os.O_PATH)
    return f"/proc/self/fd/{directory}/{path.name}"


def test_directory_and_socket_are_private(tmp_path) -> None:
    path = tmp_path / "run" / "kms.sock"
    previous = os.umask(0)
    try:
        with open_unix_socket(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    finally:
        os.umask(previous)


def test_a_directory_that_was_open_to_others_is_closed(tmp_path) -> None:
    (tmp_path / "run").mkdir(mode=0o755)
    with open_unix_socket(tmp_path / "run" / "kms.sock"):
        assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700


def test_what_a_dead_server_left_is_replaced(tmp_path) -> None:
    path = tmp_path / "kms.sock"
    open_unix_socket(path).close()
    assert path.exists()
    with open_unix_socket(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(short(path))


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_anything_but_a_socket_is_left_alone(tmp_path, kind) -> None:
    path, precious = tmp_path / "kms.sock", tmp_path / "precious"
    precious.write_text("precious")
    match kind:
        case "file":
            path.write_text("precious")
        case "directory":
            path.mkdir()
        case "link":
            path.symlink_to(precious)
    with pytest.raises(
        UnixSocketError, match=r"kms\.sock can't be listened on \(something that is no socket is there\)"
    ):
        open_unix_socket(path)
    assert precious.read_text() == "precious"
    assert os.path.lexists(path)


def test_a_link_to_a_directory_is_not_followed(tmp_path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        open_unix_socket(tmp_path / "run" / "kms.sock")


def test_a_path_of_any_length(tmp_path) -> None:
    path = tmp_path / ("d" * 200) / ("e" * 200) / "kms.sock"
    kms = SmallKms(internal=True)
    with serving(kms, open_unix_socket(path), peers=frozenset({os.geteuid()})) as served:
        served.address = short(path)
        reply = served.send(ASK)
    assert reply.status == 200
    requester = kms.calls[0][2].requester
    assert (requester.source_ip, requester.secure_transport) == ("", True)


def test_a_connection_of_another_user_ends_before_it_is_heard(tmp_path, caplog) -> None:
    path = tmp_path / "kms.sock"
    kms = SmallKms(internal=True)
    with serving(kms, open_unix_socket(path), peers=frozenset({os.geteuid() + 1})) as served:
        served.address = short(path)
        with pytest.raises(OSError):
            served.send(ASK)
    assert (kms.calls, kms.refusals) == ([], [])
    assert [record.getMessage() for record in caplog.records] == ["Refused a local connection"]


ASKS = """
import os, socket, sys
os.setuid(65534)
with socket.socket(socket.AF_UNIX) as client:
    client.connect(sys.argv[1])
    try:
        client.sendall(b"GET /-/live HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n")
        print(client.recv(100)[:12].decode())
    except OSError:
        print("closed")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(("peers", "told"), [({0}, "closed"), ({0, 65534}, "HTTP/1.1 200")])
def test_the_kernel_says_who_it_is(peers, told) -> None:
    """With modes that let everybody in, the uid alone decides."""
    directory = Path("/tmp") / f"strongroom-peers-{os.getpid()}"
    path = directory / "kms.sock"
    try:
        with serving(SmallKms(internal=True), open_unix_socket(path), peers=frozenset(peers)):
            directory.chmod(0o755)
            path.chmod(0o666)
            done = subprocess.run(
                [sys.executable, "-c", ASKS, str(path)], capture_output=True, text=True, timeout=20, check=True
            )
    finally:
        path.unlink(missing_ok=True)
        directory.rmdir()
    assert done.stdout.strip() in (told, "" if told == "closed" else told)


def test_a_big_answer_goes_through_a_reader_that_rests(tmp_path) -> None:
    """The kernel's queue of a Unix socket can be asked for its length as TCP's can."""
    path = tmp_path / "kms.sock"
    with serving(SmallKms(internal=True), open_unix_socket(path), peers=frozenset({os.geteuid()})) as served:
        served.address = short(path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(served.address)
            client.sendall(b"GET /-/live HTTP/1.1\r\nhost: x\r\n\r\n" * 2000)
            received = b""
            while received.count(b"live\n") < 2000:
                received += client.recv(1 << 16)
