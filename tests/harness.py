"""The real server for tests: started as a person starts it, spoken to by boto3 or by bytes on a socket.

The signer here is the tests' own, written from AWS's pages, so that a mistake in the server's cannot agree with itself.
"""

import base64
import configparser
import hashlib
import hmac
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import botocore.session
from botocore.config import Config

STRONGROOM = str(Path(sys.executable).with_name("strongroom"))
REGION = "us-east-1"
EMPTY_SHA256 = hashlib.sha256().hexdigest()
_SESSION = botocore.session.get_session()


@dataclass(frozen=True)
class Reply:
    """One HTTP response as it came. `complete`: the body had the length that its head announced."""

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool = True

    @property
    def code(self) -> str:
        """The Code of an error document, or ""."""
        return self.element("Code")

    def element(self, name: str) -> str:
        text = self.body.decode(errors="replace")
        _, found, rest = text.partition(f"<{name}>")
        return rest.partition(f"</{name}>")[0] if found else ""


@dataclass
class Server:
    """A running `strongroom serve`. Its log is in `log`."""

    data_dir: Path
    port: int
    tls_port: int
    metrics_port: int
    kms_port: int
    arguments: tuple[str, ...]
    environment: dict[str, str]
    log: Path
    under: tuple[str, ...] = ()  # the command that runs it
    process: subprocess.Popen[bytes] = field(init=False)
    access_key_id: str = ""
    secret: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        return f"https://localhost:{self.tls_port}"

    @property
    def ca(self) -> Path:
        return self.data_dir / "ca.pem"

    def start(self, *, timeout: float = 30.0) -> "Server":
        """Start it and wait until it is ready."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *self.under,
                    *(STRONGROOM, "serve", "--data-dir", str(self.data_dir)),
                    *("--listen", f"127.0.0.1:{self.port}"),
                    *("--listen-tls", f"127.0.0.1:{self.tls_port}"),
                    *("--listen-metrics", f"127.0.0.1:{self.metrics_port}"),
                    *("--kms-listen", f"127.0.0.1:{self.kms_port}"),
                    *self.arguments,
                ],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )
        deadline = time.monotonic() + timeout
        while not self._is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the server did not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.02)
        parser = configparser.ConfigParser(interpolation=None)
        if "STRONGROOM_ROOT_ACCESS_KEY_ID" in self.environment:
            self.access_key_id = self.environment["STRONGROOM_ROOT_ACCESS_KEY_ID"]
            self.secret = self.environment["STRONGROOM_ROOT_SECRET_ACCESS_KEY"]
        elif parser.read(self.data_dir / "credentials"):
            self.access_key_id = parser["strongroom"]["aws_access_key_id"]
            self.secret = parser["strongroom"]["aws_secret_access_key"]
        return self

    def _is_ready(self) -> bool:
        try:
            return self.send("GET", "/-/ready", sign=False, timeout=1).status == 200
        except OSError:
            return False

    def stop(self, *, timeout: float = 20.0) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self) -> None:
        """SIGKILL to every process of the server at once, as a power cut would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def processes(self) -> dict[int, str]:
        """What runs below the supervisor now, by pid in the order of their start: `strongroom kms`, `strongroom s3`."""
        return children(self.process.pid)

    def workers(self) -> list[int]:
        """The pids of the S3 workers that run now, in the order of their start."""
        return [pid for pid, name in self.processes().items() if name == "strongroom s3"]

    def kms_process(self) -> int:
        """The pid of the key service."""
        (pid,) = [pid for pid, name in self.processes().items() if name == "strongroom kms"]
        return pid

    # --- boto3

    def s3(self, *, tls: bool = False, addressing: str = "path", **config: Any) -> Any:
        """A boto3 client without retries (a test wants the first answer)."""
        settings: dict[str, Any] = {"retries": {"max_attempts": 1, "mode": "standard"}, **config}
        settings["s3"] = {"addressing_style": addressing, **settings.get("s3", {})}
        return boto3.client(
            "s3",
            endpoint_url=self.tls_url if tls else self.url,
            verify=str(self.ca) if tls else None,
            region_name=REGION,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret,
            config=Config(**settings),
        )

    def kms(self, **config: Any) -> Any:
        """A client of the key service (botocore's own, which boto3 hands out), without retries; for many threads."""
        settings: dict[str, Any] = {
            "retries": {"total_max_attempts": 1},
            "max_pool_connections": 50,
            "read_timeout": 20,
        }
        return _SESSION.create_client(
            "kms",
            endpoint_url=f"http://127.0.0.1:{self.kms_port}",
            region_name=REGION,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret,
            config=Config(**{**settings, **config}),
        )

    # --- bytes on a socket

    def send(
        self,
        method: str,
        target: str | bytes,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        sign: bool = True,
        payload: str | None = None,
        tls: bool = False,
        timeout: float = 20.0,
        now: datetime | None = None,
        signed_headers: list[str] | None = None,
    ) -> Reply:
        """One request with exactly this target and these headers. `payload`: x-amz-content-sha256, else the body's hash."""
        head = self.head(
            method,
            target,
            headers=headers,
            body=body,
            sign=sign,
            payload=payload,
            now=now,
            signed_headers=signed_headers,
        )
        with self.connect(tls=tls, timeout=timeout) as connection:
            connection.sendall(head + body)
            return read_reply(connection, method)

    def head(
        self,
        method: str,
        target: str | bytes,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        sign: bool = True,
        payload: str | None = None,
        now: datetime | None = None,
        signed_headers: list[str] | None = None,
    ) -> bytes:
        """The request line and headers of `send`."""
        raw = target.encode() if isinstance(target, str) else target
        given = {"host": f"127.0.0.1:{self.port}", **{name.lower(): value for name, value in (headers or {}).items()}}
        if "content-length" not in given and "transfer-encoding" not in given and (body or method in ("PUT", "POST")):
            given["content-length"] = str(len(body))
        if sign:
            given |= sign_headers(
                method,
                raw,
                given,
                payload=payload or hashlib.sha256(body).hexdigest(),
                access_key_id=self.access_key_id,
                secret=self.secret,
                now=now or datetime.now(UTC),
                signed_headers=signed_headers,
            )
        lines = [method.encode() + b" " + raw + b" HTTP/1.1"]
        lines += [f"{name}: {value}".encode("latin-1") for name, value in given.items()]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    @contextmanager
    def connect(self, *, tls: bool = False, timeout: float = 20.0) -> Iterator[socket.socket]:
        port = self.tls_port if tls else self.port
        with socket.create_connection(("127.0.0.1", port), timeout=timeout) as plain:
            if not tls:
                yield plain
                return
            context = ssl.create_default_context(cafile=str(self.ca))
            with context.wrap_socket(plain, server_hostname="localhost") as wrapped:
                yield wrapped


def children(pid: int) -> dict[int, str]:
    """The names of a process's children, by pid in the order of their start."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):
            found[int(child)] = Path(f"/proc/{child}/comm").read_text().rstrip()
    return found


def sign_headers(
    method: str,
    target: bytes,
    headers: Mapping[str, str],
    *,
    payload: str,
    access_key_id: str,
    secret: str,
    now: datetime,
    signed_headers: list[str] | None = None,
    region: str = REGION,
) -> dict[str, str]:
    """The headers that make a request signed: x-amz-date, x-amz-content-sha256, authorization."""
    timestamp = now.strftime("%Y%m%dT%H%M%SZ")
    given = {**headers, "x-amz-date": timestamp, "x-amz-content-sha256": payload}
    names = sorted(signed_headers if signed_headers is not None else given)
    path, _, query = target.partition(b"?")
    canonical = "\n".join(
        [
            method,
            quote(unquote_bytes(path), safe="/-_.~"),
            canonical_query(query),
            *(f"{name}:{' '.join(given.get(name, '').split(' ')).strip()}" for name in names),
            "",
            ";".join(names),
            payload,
        ]
    )
    scope = f"{timestamp[:8]}/{region}/s3/aws4_request"
    digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
    signature = hmac_hex(signing_key(secret, scope), f"AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{digest}")
    return {
        "x-amz-date": timestamp,
        "x-amz-content-sha256": payload,
        "authorization": f"AWS4-HMAC-SHA256 Credential={access_key_id}/{scope},"
        f"SignedHeaders={';'.join(names)},Signature={signature}",
    }


def signing_key(secret: str, scope: str) -> bytes:
    key = ("AWS4" + secret).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def hmac_hex(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def unquote_bytes(text: bytes) -> bytes:
    from urllib.parse import unquote_to_bytes

    return unquote_to_bytes(text)


def canonical_query(query: bytes) -> str:
    pairs = [part.partition(b"=") for part in query.split(b"&") if part]
    return "&".join(
        f"{name}={value}"
        for name, value in sorted(
            (
                quote(unquote_bytes(name.replace(b"+", b" ")), safe="-_.~"),
                quote(unquote_bytes(value.replace(b"+", b" ")), safe="-_.~"),
            )
            for name, _, value in pairs
        )
    )


def read_reply(connection: socket.socket, method: str = "GET") -> Reply:
    """One response, to the end of its length or of the connection. A 100 (Continue) before it is passed over."""
    data = b""
    while True:
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                raise ConnectionError(f"no response, only {data!r}")
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 100"):
            break
        data = body
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ")[1])
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    length = None if method == "HEAD" or status in (204, 304) else headers.get("content-length")
    wanted = int(length) if length is not None else 0
    chunks, received = [body], len(body)
    while received < wanted:
        try:
            more = connection.recv(1 << 20)
        except (ConnectionError, ssl.SSLError):
            break
        if not more:
            break
        chunks.append(more)
        received += len(more)
    return Reply(status, headers, b"".join(chunks), complete=received == wanted)


def customer_key_headers(key: bytes, *, source: bool = False) -> dict[str, str]:
    """The three headers of SSE-C."""
    prefix = "x-amz-copy-source-" if source else "x-amz-"
    prefix += "server-side-encryption-customer-"
    return {
        f"{prefix}algorithm": "AES256",
        f"{prefix}key": base64.b64encode(key).decode(),
        f"{prefix}key-md5": base64.b64encode(hashlib.md5(key).digest()).decode(),
    }


def customer_key(key: bytes, *, source: bool = False) -> dict[str, str]:
    """The same for boto3, which encodes the key and adds its MD5."""
    prefix = "CopySource" if source else ""
    return {f"{prefix}SSECustomerAlgorithm": "AES256", f"{prefix}SSECustomerKey": key}  # type: ignore[dict-item]


def new_key(kms: Any, **given: Any) -> str:
    """The ARN of a new key, made by CreateKey."""
    arn: str = kms.create_key(**given)["KeyMetadata"]["Arn"]
    return arn


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def new_server(directory: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Server:
    """A server that is not started yet; its data directory is `directory`/data."""
    return Server(
        data_dir=directory / "data",
        port=free_port(),
        tls_port=free_port(),
        metrics_port=free_port(),
        kms_port=free_port(),
        arguments=arguments,
        environment=dict(environment or {}),
        log=directory / "server.log",
    )


@contextmanager
def running(directory: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server of one's own, with two workers unless said otherwise."""
    chosen = arguments if "--workers" in arguments else ("--workers", "2", *arguments)
    server = new_server(directory, *chosen, environment=environment).start()
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


def wait_until(condition: Callable[[], object], *, seconds: float = 20) -> None:
    """Until `condition()` is true, and no longer than that."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.01)


def unique_bucket() -> str:
    return f"test-{secrets.token_hex(8)}"
