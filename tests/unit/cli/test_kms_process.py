"""The key service as a process: beside S3 and alone, from outside."""

import ast
import os
import pty
import signal
import socket
import ssl
import stat
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.harness import children, free_port
from tests.unit.cli.test_serve import ANYWHERE, STUB, is_alive, refused, server, until

LOCAL = ("--listen", "127.0.0.1:0", "--listen-metrics", "off")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "a" / "data dir"


def client(data_dir: Path, url: str, **config: Any) -> Any:
    session = boto3.Session()
    os.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(data_dir / "credentials")
    try:
        session = boto3.Session(profile_name="strongroom", region_name="us-east-1")
        return session.client("kms", endpoint_url=url, config=Config(retries={"max_attempts": 1}), **config)
    finally:
        del os.environ["AWS_SHARED_CREDENTIALS_FILE"]


@contextmanager
def alone(data_dir: Path, *arguments: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """`strongroom kms`, and what it said when it was ready."""
    command: list[Any] = [sys.executable, "-W", "error", STUB, "kms", "--data-dir", data_dir, *(arguments or LOCAL)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            told = process.stdout.readline()
            assert told, process.stderr.read()
            yield process, told
        finally:
            process.kill()


def url_of(told: str) -> str:
    return told.removeprefix("Strongroom KMS is ready: ").split(",")[0].strip()


# --- beside S3


def test_it_answers_aws_clients(data_dir) -> None:
    with server(data_dir, "--workers", "1") as running:
        kms = client(data_dir, f"http://127.0.0.1:{running.kms_port}")
        assert len(kms.generate_random(NumberOfBytes=16)["Plaintext"]) == 16


def test_it_answers_on_sockets_that_only_we_may_use(data_dir) -> None:
    with server(data_dir, "--workers", "1") as running:
        for name in ("kms.sock", "kms-admin.sock"):
            path = data_dir / "run" / name
            assert stat.S_ISSOCK(path.stat().st_mode)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert running.get("/ask-kms?0") == b"live\n"


def test_the_s3_workers_keep_none_of_its_sockets(data_dir) -> None:
    with server(data_dir, "--workers", "1") as running:
        ports = sorted(str(port) for port in (running.port, running.tls_port, running.metrics_port))
        assert ast.literal_eval(running.get("/listens").decode()) == ports


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
@pytest.mark.parametrize("name", ["kms.sock", "kms-admin.sock"])
def test_another_user_gets_no_answer_even_where_modes_would_let_it_in(data_dir, name) -> None:
    client = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
with socket.socket(socket.AF_UNIX) as asked:
    asked.connect(f"/proc/self/fd/{sys.argv[1]}/{sys.argv[2]}")
    try:
        asked.sendall(b"GET /-/live HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n")
        print(asked.recv(100))
    except ConnectionError:
        print(b"")
"""
    with server(data_dir, "--workers", "1"):
        path = data_dir / "run" / name
        path.parent.chmod(0o755)
        path.chmod(0o666)
        directory = os.open(path.parent, os.O_PATH)
        try:
            done = subprocess.run(
                [sys.executable, "-c", client, str(directory), name],
                pass_fds=[directory],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
        finally:
            os.close(directory)
        assert (done.stdout, done.stderr) == ("b''\n", "")


def test_it_says_where_it_is_while_it_runs(data_dir) -> None:
    told = data_dir / "run" / "kms-address"
    with server(data_dir, "--workers", "1") as running:
        assert told.read_text() == f"http://127.0.0.1:{running.kms_port}"
        assert stat.S_IMODE(told.stat().st_mode) == 0o600
        running.signal(signal.SIGKILL)
        running.wait()
    assert told.exists()
    with alone(data_dir, "--listen", "off", "--listen-metrics", "off") as (process, _):
        assert not told.exists()
        process.terminate()
        process.wait(20)
    for given, named in (("0.0.0.0", "127.0.0.1"), ("localhost", "localhost")):  # the name is that of the certificate
        tls_only = ("--listen", "off", "--listen-tls", f"{given}:0", "--listen-metrics", "off")
        with alone(data_dir, *tls_only) as (process, ready):
            assert told.read_text() == f"https://{named}:{url_of(ready).rpartition(':')[2]}"
            process.terminate()
            process.wait(20)
    assert not told.exists()


def test_a_start_that_waits_is_ended_at_once_and_leaves_the_terminal_as_it_was(data_dir) -> None:
    """As Ctrl-C does it where a passphrase is asked for: whoever asks is killed, with the terminal's echo off."""
    data_dir.mkdir(parents=True, mode=0o700)
    (data_dir / "kms-wait").touch()
    pid, terminal = pty.fork()
    if pid == 0:
        command = [sys.executable, str(STUB), "serve", "--data-dir", str(data_dir), *ANYWHERE]
        os.execve(sys.executable, command, {**os.environ, "STRONGROOM_SHUTDOWN_GRACE": "60"})
    until(lambda: list(children(pid).values()) == ["strongroom kms"])
    mute = termios.tcgetattr(terminal)
    mute[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSANOW, mute)
    begun = time.monotonic()
    os.write(terminal, b"\x03")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert time.monotonic() - begun < 30  # without the grace that requests would get
    assert termios.tcgetattr(terminal)[3] & termios.ECHO
    os.close(terminal)


def test_s3_is_there_only_once_the_kms_answers(data_dir) -> None:
    data_dir.mkdir(parents=True, mode=0o700)
    (data_dir / "kms-wait").touch()
    port = free_port()
    arguments = ["--listen", f"127.0.0.1:{port}", *ANYWHERE[2:], "--workers", "1"]
    command = [sys.executable, STUB, "serve", "--data-dir", data_dir, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: list(children(process.pid).values()) == ["strongroom kms"])
            with socket.create_connection(("127.0.0.1", port), timeout=0.5) as asked:
                asked.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                with pytest.raises(TimeoutError):
                    asked.recv(1)
                assert list(children(process.pid).values()) == ["strongroom kms"]
                (data_dir / "kms-go").touch()
                asked.settimeout(10)
                assert asked.recv(12) == b"HTTP/1.1 200"
            assert sorted(children(process.pid).values()) == ["strongroom kms", "strongroom s3"]
        finally:
            process.terminate()


def test_a_kms_that_dies_is_restarted_and_s3_goes_on(data_dir) -> None:
    with server(data_dir, "--workers", "2") as running:
        kms, workers = running.kms(), running.workers()
        (data_dir / "kms-wait").touch()
        os.kill(kms, signal.SIGKILL)
        until(lambda: "strongroom kms" in children(running.process.pid).values() and running.kms() != kms)
        assert running.get().isdigit()  # while the new one is not ready yet
        (data_dir / "kms-go").touch()
        # A socket outlives the process that answered on it: who asks meanwhile waits.
        assert running.get("/ask-kms?0") == b"live\n"
        assert (
            len(client(data_dir, f"http://127.0.0.1:{running.kms_port}").generate_random(NumberOfBytes=8)["Plaintext"])
            == 8
        )
        assert running.workers() == workers
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
        told = 'A process died and is restarted reason="killed by SIGKILL" process="strongroom kms" worker=0 '
        assert told in running.log()


def test_a_worker_is_restarted_while_the_kms_is_away(data_dir) -> None:
    with server(data_dir, "--workers", "1") as running:
        (data_dir / "kms-wait").touch()
        os.kill(running.kms(), signal.SIGKILL)
        workers = running.workers()
        os.kill(workers.pop(), signal.SIGKILL)
        until(running.workers)
        assert int(running.get()) in running.workers()


def test_the_kms_stops_after_the_last_request_of_s3(data_dir) -> None:
    with server(data_dir, "--workers", "2") as running, running.connection() as busy:
        kms = running.kms()
        busy.request("GET", "/ask-kms?1")
        time.sleep(0.2)  # the request is under way
        running.signal(signal.SIGTERM)
        until(lambda: len(running.workers()) == 1)
        assert is_alive(kms)
        assert busy.getresponse().read() == b"live\n"
        assert running.wait() == 0
        assert not is_alive(kms)
        assert (data_dir / "kms-closed").exists()
        assert sorted(path.name for path in (data_dir / "run").iterdir()) == ["metrics"]


def test_all_end_with_a_killed_supervisor(data_dir) -> None:
    with server(data_dir, "--workers", "1") as running:
        pids = children(running.process.pid)
        running.signal(signal.SIGKILL)
        running.wait()
        until(lambda: not any(is_alive(pid) for pid in pids))
        with server(data_dir, "--workers", "1") as successor:
            assert successor.get("/ask-kms?0") == b"live\n"


def test_a_root_key_that_can_not_be_opened_ends_the_start(data_dir) -> None:
    data_dir.mkdir(parents=True, mode=0o700)
    (data_dir / "refuse-kms").touch()
    assert "the root key is another one" in refused(data_dir)


def test_over_tls(data_dir) -> None:
    port = free_port()
    with server(data_dir, "--workers", "1", "--kms-listen-tls", f"127.0.0.1:{port}") as running:
        assert f"https://127.0.0.1:{port}" in running.banner
        kms = client(data_dir, f"https://localhost:{port}", verify=str(data_dir / "ca.pem"))
        assert len(kms.generate_random(NumberOfBytes=16)["Plaintext"]) == 16


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_plain_http_beyond_this_machine_is_refused(data_dir, host) -> None:
    told = refused(data_dir, "--kms-listen", f"{host}:0")
    assert told == (
        f"strongroom: {host}:0 can be reached from other machines, and only TLS may be there; use --kms-listen-tls for it.\n"
    )


def test_without_a_listener_s3_still_has_its_kms(data_dir) -> None:
    command = [
        sys.executable,
        STUB,
        "serve",
        "--data-dir",
        data_dir,
        *ANYWHERE,
        "--kms-listen",
        "off",
        "--workers",
        "1",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            told = ""
            while "import boto3" not in told:
                told += process.stdout.readline()
            assert "KMS" not in told
            port = int(told.partition("http://127.0.0.1:")[2].split()[0])
            url = f"http://127.0.0.1:{port}/ask-kms?0"
            assert urllib.request.urlopen(url, timeout=10).read() == b"live\n"
        finally:
            process.terminate()


# --- alone


def test_alone_it_serves_and_stops(data_dir) -> None:
    with alone(data_dir) as (process, told):
        assert len(client(data_dir, url_of(told)).generate_random(NumberOfBytes=16)["Plaintext"]) == 16
        (child,) = children(process.pid)
        assert children(process.pid) == {child: "strongroom kms"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert not is_alive(child)
        assert (data_dir / "kms-closed").exists()
    assert not (data_dir / "s3").exists()
    assert not (data_dir / "tls").exists()


def test_alone_it_is_restarted(data_dir) -> None:
    with alone(data_dir) as (process, told):
        (child,) = children(process.pid)
        os.kill(child, signal.SIGKILL)
        until(lambda: child not in children(process.pid) and children(process.pid))
        assert len(client(data_dir, url_of(told)).generate_random(NumberOfBytes=16)["Plaintext"]) == 16


def test_alone_over_tls(data_dir) -> None:
    arguments = ("--listen", "off", "--listen-tls", "127.0.0.1:0", "--listen-metrics", "off")
    with alone(data_dir, *arguments) as (_, told):
        port = int(url_of(told).rpartition(":")[2])
        context = ssl.create_default_context(cafile=data_dir / "ca.pem")
        assert urllib.request.urlopen(f"https://localhost:{port}/-/ready", context=context, timeout=10).status == 200


def test_one_kms_works_on_a_directory(data_dir) -> None:
    with alone(data_dir) as (process, _):
        told = refused(data_dir)
        assert told == (
            f"strongroom: Another server (pid {process.pid}) uses {data_dir}/kms; "
            "stop it, or choose another --data-dir.\n"
        )


def test_alone_what_is_wrong_is_one_sentence(data_dir) -> None:
    def run(*arguments: Any) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, STUB, "kms", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    done = run("--data-dir", data_dir, "--listen", "0.0.0.0:0", "--listen-metrics", "off")
    assert (done.returncode, done.stderr) == (
        1,
        "strongroom: 0.0.0.0:0 can be reached from other machines, and only TLS may be there; use --listen-tls for it.\n",
    )
    done = run("--data-dir", data_dir, "--listen", "nonsense")
    assert done.returncode == 1
    assert "The setting kms_listen (from the flag --kms-listen) is wrong" in done.stderr
    done = run()
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
