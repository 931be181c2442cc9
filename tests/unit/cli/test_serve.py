"""The processes of a server, from outside: started as a program, asked over its sockets, killed by signals."""

import os
import re
import signal
import ssl
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing, contextmanager
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest

from tests.harness import children

STUB = Path(__file__).with_name("stub_server.py")
ANYWHERE = (
    *("--listen", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0", "--listen-metrics", "127.0.0.1:0"),
    *("--kms-listen", "127.0.0.1:0"),
)


class Server:
    def __init__(self, data_dir: Path, *arguments: str, environ: dict[str, str] | None = None) -> None:
        self.data_dir = data_dir
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", STUB, "serve", "--data-dir", data_dir, *ANYWHERE, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(environ or {})},
            umask=0,
        )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), True)
        lines = []
        while line := self.process.stdout.readline().decode():
            lines.append(line)
            if "import boto3" in line:
                break
        self.banner = "".join(lines)
        if not self.banner:
            _, error = self.process.communicate(timeout=10)
            raise AssertionError(error.decode())
        self.port = self._port(r"S3 +http")
        self.tls_port = self._port(r"TLS +https")
        self.metrics_port = self._port(r"Metrics +http")
        self.kms_port = self._port(r"KMS +http")

    def _port(self, pattern: str) -> int:
        found = re.search(pattern + r"://127\.0\.0\.1:(\d+)", self.banner)
        assert found is not None
        return int(found[1])

    def connection(self) -> closing[HTTPConnection]:
        return closing(HTTPConnection("127.0.0.1", self.port, timeout=10))

    def get(self, path: str = "/") -> bytes:
        with self.connection() as connection:
            connection.request("GET", path)
            return connection.getresponse().read()

    def workers(self) -> set[int]:
        return {pid for pid, name in children(self.process.pid).items() if name == "strongroom s3"}

    def kms(self) -> int:
        (pid,) = [pid for pid, name in children(self.process.pid).items() if name == "strongroom kms"]
        return pid

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(timeout=20)

    def log(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()


@contextmanager
def server(data_dir: Path, *arguments: str, environ: dict[str, str] | None = None):
    started = Server(data_dir, *arguments, environ=environ)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.communicate()


def refused(data_dir: Path, *arguments: str, environ: dict[str, str] | None = None) -> str:
    """What a start that can't succeed says."""
    done = subprocess.run(
        [sys.executable, STUB, "serve", "--data-dir", data_dir, *ANYWHERE, *arguments],
        capture_output=True,
        env={**os.environ, **(environ or {})},
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == b""
    assert b"Traceback" not in done.stderr
    return done.stderr.decode()


def until(condition: Callable[[], Any], seconds: float = 10) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)
    return found


def _is_gone(running: Server, worker: int) -> bool:
    return worker not in running.workers()


def is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "a" / "data dir"


def test_a_missing_directory_becomes_a_store_that_is_private_whatever_the_umask(data_dir) -> None:
    with server(data_dir) as running:
        assert running.get().isdigit()
        for path in (data_dir, *data_dir.rglob("*")):
            assert stat.S_IMODE(path.lstat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_an_empty_directory_becomes_private_too(data_dir) -> None:
    data_dir.mkdir(parents=True)
    data_dir.chmod(0o755)
    with server(data_dir):
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700


def test_it_is_ready_within_two_seconds_on_an_initialised_directory(data_dir) -> None:
    with server(data_dir, "--workers", "2"):
        pass
    begun = time.monotonic()
    with server(data_dir, "--workers", "2") as running:
        running.get()
        assert time.monotonic() - begun < 2


def test_the_banner_says_where_everything_is(data_dir) -> None:
    with server(data_dir, "--workers", "1") as running:
        assert f"Data         {data_dir}\n" in running.banner
        assert f"Credentials  {data_dir}/credentials\n" in running.banner
        assert f"clients trust {data_dir}/ca.pem" in running.banner
        assert "1,000 bytes were stored and all 1,072 bytes on disk are ciphertext" in running.banner
        assert "1 worker." in running.banner


def test_credentials_of_the_environment_are_used_and_not_written(data_dir) -> None:
    environ = {"STRONGROOM_ROOT_ACCESS_KEY_ID": "operator", "STRONGROOM_ROOT_SECRET_ACCESS_KEY": "canary-canary-canary"}
    with server(data_dir, environ=environ) as running:
        assert "from the environment" in running.banner
        assert "canary" not in running.banner
        assert not (data_dir / "credentials").exists()
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
        assert "canary" not in running.log()


def test_tls_works_with_the_private_ca(data_dir) -> None:
    with server(data_dir) as running:
        context = ssl.create_default_context(cafile=data_dir / "ca.pem")
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        for host in ("localhost", "127.0.0.1"):
            url = f"https://{host}:{running.tls_port}/"
            assert urllib.request.urlopen(url, context=context, timeout=10).read().isdigit()


def test_metrics_have_a_listener_of_their_own(data_dir) -> None:
    with server(data_dir, "--workers", "2") as running:
        url = f"http://127.0.0.1:{running.metrics_port}/metrics"
        assert b"strongroom_worker_restarts_total 0.0" in urllib.request.urlopen(url, timeout=10).read()
        os.kill(running.workers().pop(), signal.SIGKILL)
        until(lambda: b"restarts_total 1.0" in urllib.request.urlopen(url, timeout=10).read())
        assert running.get("/metrics").isdigit()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_clean(data_dir, number) -> None:
    with server(data_dir, "--workers", "2") as running:
        workers = running.workers()
        running.signal(number)
        assert running.wait() == 0
        assert not any(is_alive(pid) for pid in workers)
        assert {path.name for path in data_dir.glob("closed.*")} == {f"closed.{pid}" for pid in workers}
        assert (data_dir / "kms-closed").exists()
        assert running.log() == ""


def test_a_signal_to_the_whole_process_group_is_one_stop(data_dir) -> None:
    """What Ctrl-C does in a terminal, and a service manager that signals every process."""
    with server(data_dir, "--workers", "2") as running:
        for pid in (*running.workers(), running.process.pid):
            os.kill(pid, signal.SIGTERM)
        assert running.wait() == 0


def test_a_stop_closes_idle_connections_and_lets_a_running_request_end(data_dir) -> None:
    with server(data_dir, "--workers", "1") as running, running.connection() as idle, running.connection() as busy:
        idle.request("GET", "/")
        idle.getresponse().read()
        busy.request("GET", "/slow?1")
        answer = busy.getresponse()
        running.signal(signal.SIGTERM)
        assert idle.sock.recv(1) == b""
        assert running.process.poll() is None
        with pytest.raises(ConnectionRefusedError):
            until(lambda: not running.get())
        assert answer.read() == b"slow"
        assert running.wait() == 0


def test_a_stop_cuts_a_request_that_outlives_the_grace(data_dir) -> None:
    environ = {"STRONGROOM_SHUTDOWN_GRACE": "0.2"}
    with server(data_dir, environ=environ) as running, running.connection() as busy:
        busy.request("GET", "/slow?60")
        answer = busy.getresponse()
        begun = time.monotonic()
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
        assert time.monotonic() - begun < 3
        with pytest.raises((HTTPException, ConnectionError)):
            answer.read()


def test_workers_end_with_a_killed_supervisor_and_a_new_server_needs_no_cleaning(data_dir) -> None:
    with server(data_dir, "--workers", "3") as running:
        workers = running.workers()
        assert len(workers) == 3
        running.signal(signal.SIGKILL)
        running.wait()
        with server(data_dir, "--workers", "1") as successor:
            assert not any(is_alive(pid) for pid in workers)
            assert successor.get().isdigit()


def test_all_processes_stay_in_the_supervisors_session_and_group(data_dir) -> None:
    with server(data_dir, "--workers", "2") as running:
        supervisor = running.process.pid
        for pid in running.workers():
            assert (os.getsid(pid), os.getpgid(pid)) == (os.getsid(supervisor), os.getpgid(supervisor))


def test_a_worker_that_dies_is_restarted_and_the_rest_goes_on(data_dir) -> None:
    with server(data_dir, "--workers", "2") as running:
        before = running.workers()
        with pytest.raises((HTTPException, ConnectionError)):
            running.get("/exit")
        after = until(lambda: len(found := running.workers()) == 2 and found != before and found)
        assert len(before & after) == 1
        until(lambda: int(running.get()) in after - before)
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
        log = running.log()
        assert 'A process died and is restarted reason="exit code 7" process="strongroom s3" worker=' in log


def test_one_worker_does_the_maintenance_and_its_successor_takes_over(data_dir) -> None:
    def maintainers() -> list[int]:
        return [int(line) for line in (data_dir / "maintained").read_text().split()]

    with server(data_dir, "--workers", "3") as running:
        (first,) = until(maintainers)
        os.kill(first, signal.SIGKILL)
        second = until(lambda: maintainers()[1:])[0]
        assert second in running.workers()
        assert len(maintainers()) == 2


def test_a_worker_that_dies_at_once_is_restarted_ever_more_slowly(data_dir) -> None:
    with server(data_dir, "--workers", "1") as running:
        begun = time.monotonic()
        for _ in range(4):
            (worker,) = until(running.workers)
            os.kill(worker, signal.SIGKILL)
            until(partial(_is_gone, running, worker))
        until(running.workers)
        assert 0.4 + 0.8 < time.monotonic() - begun < 10


def test_a_second_server_on_the_directory_refuses_and_names_the_first(data_dir) -> None:
    with server(data_dir) as running:
        told = refused(data_dir)
        assert told == (
            f"strongroom: Another server (pid {running.process.pid}) uses {data_dir}; "
            "stop it, or choose another --data-dir.\n"
        )
        assert running.get().isdigit()


def test_a_port_in_use_is_one_sentence(data_dir, tmp_path) -> None:
    with server(data_dir) as running:
        told = refused(tmp_path / "other", "--listen", f"127.0.0.1:{running.port}")
    assert told == (
        f"strongroom: 127.0.0.1:{running.port} is in use by another program; "
        "stop it, or choose another address with --listen.\n"
    )


def test_an_unknown_setting_is_one_sentence_and_nothing_is_made(data_dir) -> None:
    told = refused(data_dir, environ={"STRONGROOM_WORKER": "1"})
    assert told.startswith("strongroom: Unknown setting STRONGROOM_WORKER in the environment")
    assert not data_dir.exists()


def test_a_data_directory_that_cannot_be_is_one_sentence(tmp_path) -> None:
    (tmp_path / "file").touch()
    assert refused(tmp_path / "file") == f"strongroom: {tmp_path}/file is a file, and has to be a directory.\n"
    assert (
        refused(Path("/proc/strongroom")) == "strongroom: /proc/strongroom can't be used: No such file or directory.\n"
    )


def test_a_banner_that_cannot_be_written_is_no_reason_to_stop(data_dir) -> None:
    command = [sys.executable, STUB, "serve", "--data-dir", data_dir, "--workers", "1", *ANYWHERE]
    with open("/dev/full", "w") as full, subprocess.Popen(command, stdout=full, stderr=subprocess.PIPE) as started:
        until((data_dir / "maintained").exists)
        os.kill(int((data_dir / "maintained").read_text()), signal.SIGKILL)
        until(lambda: len((data_dir / "maintained").read_text().split()) == 2)
        started.terminate()
        assert started.wait(timeout=20) == 0
        assert started.stderr is not None
        assert started.stderr.read().count(b"\n") == 1  # the worker that died


def test_half_root_credentials_are_refused(data_dir) -> None:
    told = refused(data_dir, environ={"STRONGROOM_ROOT_ACCESS_KEY_ID": "operator"})
    assert "STRONGROOM_ROOT_SECRET_ACCESS_KEY is not set" in told


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("refuse", "the store key is another one"),
        ("refuse-by-the-system", "index.db.lock can't be used: Permission denied."),
        ("refuse-build", "the store is not as it was"),
    ],
)
def test_a_store_that_cannot_be_opened_ends_the_start(data_dir, name, why) -> None:
    data_dir.mkdir(parents=True, mode=0o700)
    (data_dir / name).touch()
    assert why in refused(data_dir)


def test_a_worker_that_cannot_start_again_is_tried_again(data_dir) -> None:
    """What it needs, the key service above all, may be on its way up itself."""
    with server(data_dir, "--workers", "1") as running:
        (data_dir / "refuse-build").touch()
        os.kill(running.workers().pop(), signal.SIGKILL)
        until(lambda: len(list(data_dir.glob("refused.*"))) > 1)
        (data_dir / "refuse-build").unlink()
        assert int(running.get()) in running.workers()
        running.signal(signal.SIGTERM)
        assert running.wait() == 0


def test_a_bad_certificate_of_the_operator_ends_the_start(data_dir, tmp_path) -> None:
    (tmp_path / "c.pem").write_text("garbage")
    (tmp_path / "k.pem").write_text("garbage")
    environ = {
        "STRONGROOM_TLS_CERTIFICATE": str(tmp_path / "c.pem"),
        "STRONGROOM_TLS_KEY": str(tmp_path / "k.pem"),
    }
    assert f"{tmp_path}/c.pem and {tmp_path}/k.pem" in refused(data_dir, environ=environ)


def test_memory_is_nobodys_to_read(data_dir) -> None:
    """No core dumps, and no debugger of the same user (PR_GET_DUMPABLE)."""
    with server(data_dir, "--workers", "1") as running:
        for pid in (running.process.pid, running.kms(), *running.workers()):
            limits = Path(f"/proc/{pid}/limits").read_text()
            assert re.search(r"Max core file size +0 +0 ", limits)
        assert running.get("/dumpable") == b"0"


def test_ps_shows_each_process_as_what_it_is(data_dir) -> None:
    with server(data_dir, "--workers", "2") as running:
        pids = [str(pid) for pid in (running.process.pid, *children(running.process.pid))]
        told = subprocess.run(["ps", "-o", "args=", "-p", ",".join(pids)], capture_output=True, text=True, check=True)
        shown = sorted(line.rstrip() for line in told.stdout.splitlines())
        assert shown == ["strongroom kms", "strongroom s3", "strongroom s3", "strongroom serve"]


def test_sighup_serves_a_renewed_certificate(data_dir) -> None:
    with server(data_dir, "--workers", "2") as running:

        def serial() -> str:
            return ssl.get_server_certificate(("127.0.0.1", running.tls_port), timeout=10)

        before = serial()
        (data_dir / "tls/server.pem").unlink()
        running.signal(signal.SIGHUP)
        until(lambda: serial() != before)
        assert running.get().isdigit()
