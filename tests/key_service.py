"""The whole key service on sockets, in a thread of this process: its real store, log and people, and a clock to be wound.

What a test has of it is what clients have: boto3 clients for the root user and for users, and bytes on a socket.
"""

import asyncio
import configparser
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import uvloop
from botocore.config import Config
from botocore.exceptions import ClientError

from strongroom.config import Settings
from strongroom.edge import listener, unix_socket
from strongroom.edge.asgi import application
from strongroom.identity.files import open_identity_store, require_key
from strongroom.identity.keys import service_credentials
from strongroom.identity.requester import REQUESTER_HEADER, Requester, encode_requester
from strongroom.identity.root import Credentials, Principal
from strongroom.identity.users import Users
from strongroom.kms import clock
from strongroom.kms.clock import Moment
from strongroom.server.kms import OpenKeyService, _json_service, open_key_service
from strongroom.server.paths import Paths
from strongroom.server.store import initialise
from tests.harness import Reply, read_reply
from tests.json_serving import head, signed

ACCOUNT, REGION = "000000000000", "us-east-1"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
DAY = 24 * 3600
_SESSION = botocore.session.get_session()
_NUMBERS = count(1)


@dataclass
class WoundClock:
    """The real clocks, and what tests have turned them by (seconds)."""

    wall: float = 0
    boot: float = 0
    boot_id: str | None = None

    def now(self) -> Moment:
        real = clock.now()
        return Moment(
            us=real.us + int(self.wall * 1e6),
            boot_id=self.boot_id or real.boot_id,
            boottime_us=real.boottime_us + int(self.boot * 1e6),
        )

    def wait(self, *, days: float = 0, seconds: float = 0) -> None:
        """Time that passes by both clocks."""
        self.wall += days * DAY + seconds
        self.boot += days * DAY + seconds


@dataclass(frozen=True)
class User:
    name: str
    arn: str
    credentials: Credentials
    kms: Any


@dataclass
class KeyServer:
    data_dir: Path
    clock: WoundClock = field(default_factory=WoundClock)
    port: int = 0
    internal_port: int = 0
    opened: OpenKeyService = field(init=False)
    loop: asyncio.AbstractEventLoop = field(init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def root_credentials(self) -> Credentials:
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(self.data_dir / "credentials")
        profile = parser["strongroom"]
        return Credentials(
            access_key_id=profile["aws_access_key_id"], secret_access_key=profile["aws_secret_access_key"]
        )

    def client(self, credentials: Credentials | None = None, *, internal: bool = False) -> Any:
        """boto3's client (botocore's own, which boto3 hands out), without retries and without checks of its own: the
        server has to do them.
        """
        credentials = credentials or self.root_credentials
        return _SESSION.create_client(
            "kms",
            region_name=REGION,
            endpoint_url=f"http://127.0.0.1:{self.internal_port if internal else self.port}",
            aws_access_key_id=credentials.access_key_id,
            aws_secret_access_key=credentials.secret_access_key,
            config=Config(
                retries={"total_max_attempts": 1}, parameter_validation=False, max_pool_connections=50, read_timeout=60
            ),
        )

    def for_service(self, user: User | None = None) -> Any:
        """S3's client on the internal listener: for itself, or in a user's name."""
        client = self.client(service_credentials(require_key(Paths(self.data_dir).identity)), internal=True)
        if user is not None:
            value = encode_requester(
                Requester(
                    principal=Principal(account_id=ACCOUNT, arn=user.arn),
                    access_key_id=user.credentials.access_key_id,
                    source_ip="192.0.2.7",
                    secure_transport=True,
                    user_agent="somebody",
                    request_id="S3REQUEST",
                )
            )

            def name_requester(request: Any, **_: Any) -> None:
                request.headers[REQUESTER_HEADER] = value

            client.meta.events.register("before-sign.kms.*", name_requester)
        return client

    # --- people

    def user(self, *statements: Mapping[str, Any], name: str | None = None) -> User:
        """A new user with these statements as identity policy, and a client of theirs."""
        name = name or f"user-{next(_NUMBERS)}"

        async def make(users: Users) -> Credentials:
            await users.create(name)
            if statements:
                await users.put_policy(name, "p", policy(*statements))
            return await users.create_access_key(name)

        credentials = self.change_users(make)
        return User(name, f"arn:aws:iam::{ACCOUNT}:user/{name}", credentials, self.client(credentials))

    def change_users(self, change: Callable[[Users], Coroutine[Any, Any, Any]]) -> Any:
        """As the command line does it: beside the running service."""

        async def run() -> Any:
            opened = await open_identity_store(Paths(self.data_dir).identity)
            try:
                users = Users(
                    opened.database, opened.sealing, account_id=ACCOUNT, now_us=lambda: time.time_ns() // 1000
                )
                return await change(users)
            finally:
                await opened.database.close()

        return asyncio.run(run())

    # --- inside

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """On the service's own event loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def maintain(self) -> None:
        """What the service does by itself every half minute, once."""
        self.run(self.opened.service.do_what_is_due())

    def events(self, name: str | None = None, *, since: Mapping[Path, int] | None = None) -> list[dict[str, Any]]:
        """The audit log's events, in order. `since`: those after this `mark`."""
        found = []
        for path in self._logs():
            with path.open("rb") as log:
                log.seek((since or {}).get(path, 0))
                found += [json.loads(line)["event"] for line in log]
        return [event for event in found if name is None or event["eventName"] == name]

    def mark(self) -> Mapping[Path, int]:
        """Where the audit log ends now."""
        return {path: path.stat().st_size for path in self._logs()}

    def _logs(self) -> list[Path]:
        return sorted((self.data_dir / "audit").glob("*.jsonl"))

    # --- bytes

    def post(self, operation: str, given: Mapping[str, Any] | bytes) -> tuple[int, Any, Mapping[str, str]]:
        """Status, document (None for an empty body), headers: as they are, no SDK between."""
        body = given if isinstance(given, bytes) else json.dumps(given).encode()
        headers = signed(body, target=f"TrentService.{operation}", credentials=self.root_credentials)
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(head(headers) + body)
            reply: Reply = read_reply(connection, "POST")
        return reply.status, json.loads(reply.body) if reply.body else None, reply.headers


def policy(*statements: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(*actions: str, resource: str = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": resource, **more}


def deny(*actions: str, resource: str = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Deny", "Action": list(actions), "Resource": resource, **more}


def to(*arns: str, **more: Any) -> dict[str, Any]:
    """A principal, for a statement of a key policy."""
    return {"Principal": {"AWS": list(arns)}, **more}


ADMINISTRATION = allow("kms:*", **to(ROOT))
"""The statement of the default key policy: the account decides."""


def refused(call: Callable[..., Any], **given: Any) -> tuple[str, str]:
    """Code and message of the error that a call must end in; the message is "" where there is none."""
    with pytest.raises(ClientError) as raised:
        call(**given)
    error = raised.value.response
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 400, error
    return error["Error"]["Code"], error["Error"]["Message"]


@contextmanager
def serving(data_dir: Path, wound: WoundClock | None = None, *, for_s3: bool = False) -> Iterator[KeyServer]:
    """A key service in `data_dir`, made where there is none. It does by itself what is due only when a test says so.

    `for_s3`: also on the Unix socket where S3's connector looks for it.
    """
    initialise(data_dir, Settings())
    server = KeyServer(data_dir, wound or WoundClock())
    kms_socket = Paths(data_dir).kms_socket
    started, failures = threading.Event(), list[BaseException]()
    stop: list[Callable[[], object]] = []

    async def serve() -> None:
        settings = Settings()
        server.opened = await open_key_service(settings, data_dir, now=server.clock.now)
        server.loop, told, up = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        endpoints = []
        for internal in (False, True):
            opened = listener.open_socket("127.0.0.1", 0, flag="--kms-listen")
            service = replace(_json_service(settings, server.opened, internal=internal), stall_timeout=5.0)
            endpoints.append(listener.Endpoint(listener=opened, application=application(service), tls=None))
        server.port, server.internal_port = (each.listener.getsockname()[1] for each in endpoints)
        if for_s3:
            opened = unix_socket.open_unix_socket(kms_socket)
            endpoints.append(replace(endpoints[-1], listener=opened, peers=frozenset({os.geteuid()})))

        async def tell() -> None:
            await up.wait()
            stop.append(lambda: server.loop.call_soon_threadsafe(told.set))
            started.set()

        telling = asyncio.create_task(tell())
        try:
            await listener.serve(endpoints, stop=told, started=up, stall_timeout=5, shutdown_grace=5)
        finally:
            telling.cancel()
            await server.opened.close()
            kms_socket.unlink(missing_ok=True)

    def work() -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(serve())
        except BaseException as error:  # noqa: BLE001 - told by the thread that waits
            failures.append(error)
            started.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert started.wait(20)
        if failures:
            raise failures[0]
        yield server
    finally:
        if stop:
            stop[0]()
        thread.join(30)
        assert not thread.is_alive()
    assert not failures, failures
