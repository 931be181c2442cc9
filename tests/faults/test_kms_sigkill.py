"""SIGKILL to the key service, and to the whole server, at random moments of changes to keys and uses of them.

Each client has keys of its own and a ledger of what it was told. A change without an answer may have happened or not;
everything else must be there after every kill, and on record, and S3 goes on with what needs no key.
"""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.faults.kms_clients import ACCOUNT, GONE, ROUNDS, check_record, is_up, put, request_id
from tests.harness import Server, customer_key_headers, new_server, wait_until

CLIENTS = 4
KEYS = 3  # of each client
ROTATIONS = 25
BACK = 5.0  # seconds, after the key service is back, to the first success
SETTINGS = {"STRONGROOM_LOG_LEVEL": "warning"}


@dataclass
class Key:
    """`enabled`: the states that it may be in. `rotations`: that were acknowledged."""

    arn: str
    enabled: set[bool] = field(default_factory=lambda: {True})
    rotations: int = 0
    tries: int = 0
    grants: set[str] = field(default_factory=set)
    data_keys: list[tuple[bytes, bytes]] = field(default_factory=list)


@dataclass
class Client:
    name: str
    kms: Any
    chance: random.Random = field(default_factory=random.Random)
    keys: list[Key] = field(default_factory=list)
    attempts: int = 0
    acknowledged: dict[str, str] = field(default_factory=dict)

    def run(self, stop: threading.Event) -> None:
        """Whatever happens to the key service."""
        while not stop.is_set():
            try:
                self.act()
            except GONE:
                time.sleep(0.02)  # no busy loop while it is away

    def act(self) -> None:
        if len(self.keys) < KEYS:
            return self.create()
        choices: list[Callable[[Key], None]] = [
            *[self.use] * 3,
            *[self.open] * 2,
            *[self.switch, self.rotate, self.grant],
        ]
        self.chance.choice(choices)(self.chance.choice(self.keys))
        return None

    def ask(self, operation: str, **given: Any) -> Any:
        name = "".join(word.capitalize() for word in operation.split("_"))
        try:
            answer = getattr(self.kms, operation)(**given)
        except ClientError as error:
            self.acknowledged[request_id(error.response)] = name
            raise
        self.acknowledged[request_id(answer)] = name
        return answer

    def create(self) -> None:
        self.attempts += 1
        made = self.ask("create_key", Description=f"{self.name}-{self.attempts}")
        self.keys.append(Key(made["KeyMetadata"]["Arn"]))

    def use(self, key: Key) -> None:
        if key.enabled == {True}:
            answer = self.ask("generate_data_key", KeyId=key.arn, KeySpec="AES_256")
            key.data_keys.append((answer["CiphertextBlob"], answer["Plaintext"]))
        else:
            self.open(key)

    def open(self, key: Key) -> None:
        """The newest, in whichever state the key may be."""
        for blob, plaintext in key.data_keys[-1:]:
            try:
                assert self.ask("decrypt", CiphertextBlob=blob)["Plaintext"] == plaintext
                assert True in key.enabled
            except ClientError as error:
                assert error.response["Error"]["Code"] == "DisabledException", error  # noqa: PT017
                assert False in key.enabled

    def switch(self, key: Key) -> None:
        wanted = not any(key.enabled)
        key.enabled |= {wanted}
        self.ask("enable_key" if wanted else "disable_key", KeyId=key.arn)
        key.enabled = {wanted}

    def rotate(self, key: Key) -> None:
        if key.enabled == {True} and key.tries < ROTATIONS:
            key.tries += 1
            self.ask("rotate_key_on_demand", KeyId=key.arn)
            key.rotations += 1

    def grant(self, key: Key) -> None:
        if key.enabled == {True}:
            grantee = f"arn:aws:iam::{ACCOUNT}:root"
            made = self.ask("create_grant", KeyId=key.arn, GranteePrincipal=grantee, Operations=["Decrypt"])
            key.grants.add(made["GrantId"])

    # --- after the kill

    def check(self) -> None:
        for key in self.keys:
            described = self.ask("describe_key", KeyId=key.arn)["KeyMetadata"]
            assert described["Enabled"] in key.enabled
            key.enabled = {described["Enabled"]}
            found = len(self.ask("list_key_rotations", KeyId=key.arn, Limit=1000)["Rotations"])
            assert key.rotations <= found <= key.tries
            key.rotations = key.tries = found
            grants = {grant["GrantId"] for grant in self.ask("list_grants", KeyId=key.arn, Limit=100)["Grants"]}
            assert key.grants <= grants

    def open_everything(self) -> None:
        for key in self.keys:
            if key.enabled != {True}:
                self.ask("enable_key", KeyId=key.arn)
            for blob, plaintext in key.data_keys:
                assert self.ask("decrypt", CiphertextBlob=blob)["Plaintext"] == plaintext


@dataclass
class S3:
    """Asks for everything, over and over: what needs no key must be answered always. `waits`: seconds for objects under
    a key.
    """

    server: Server
    refused: int = 0
    answered: int = 0
    waits: list[float] = field(default_factory=list)

    def prepare(self) -> None:
        assert self.server.send("PUT", "/bucket").status == 200
        assert put(self.server, "/bucket/kms").status == 200
        assert self.server.send("PUT", "/bucket/s3", body=b"content").status == 200
        self.customer = customer_key_headers(os.urandom(32))
        assert self.server.send("PUT", "/bucket/c", body=b"content", headers=self.customer).status == 200

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.turn()

    def turn(self) -> None:
        send = self.server.send
        assert send("GET", "/-/ready", sign=False).status == 200
        assert send("GET", "/bucket/s3").body == b"content"
        assert send("GET", "/bucket/c", headers=self.customer).body == b"content"
        assert send("PUT", "/bucket/gone", body=b"content").status == 200
        assert send("GET", "/bucket?list-type=2").body.count(b"<Key>") >= 3
        assert send("DELETE", "/bucket/gone").status == 204
        assert send("HEAD", "/bucket/kms").status == 200
        self.answered += 7
        began = time.monotonic()
        for reply in (send("GET", "/bucket/kms"), put(self.server, "/bucket/again")):
            assert reply.status in (200, 503), (reply.status, reply.body)
            if reply.status == 503:
                assert reply.code == "ServiceUnavailable"
                assert int(reply.headers["retry-after"]) > 0
                self.refused += 1
        self.waits.append(time.monotonic() - began)

    def is_back(self) -> bool:
        return self.server.send("GET", "/bucket/kms").body == b"content"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, which may end dead."""
    started = new_server(tmp_path, "--workers", "2", environment=SETTINGS).start()
    yield started
    with suppress(ProcessLookupError):
        started.kill()


def check(server: Server, clients: list[Client]) -> None:
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(Client.check, clients))
    acknowledged = {each: name for client in clients for each, name in client.acknowledged.items()}
    check_record(server, acknowledged)


def check_at_the_end(server: Server, clients: list[Client]) -> None:
    """Every data key opens, and no key was made twice."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(Client.open_everything, clients))
    kms = server.kms()
    ids = [each["KeyId"] for each in kms.list_keys(Limit=1000)["Keys"]]
    made = Counter(kms.describe_key(KeyId=each)["KeyMetadata"]["Description"] for each in ids)
    assert [description for description, count in made.items() if count > 1] == []
    assert sum(len(client.acknowledged) for client in clients) > 20 * ROUNDS
    assert " ERROR " not in server.log.read_text()


def test_a_killed_key_service_comes_back_with_all_that_it_has_acknowledged_and_s3_goes_on(server):
    kms, s3, stop = server.kms(), S3(server), threading.Event()
    s3.prepare()
    workers = server.workers()
    clients = [Client(f"client-{number}", kms) for number in range(CLIENTS)]
    with ThreadPoolExecutor(1) as beside:
        asking = beside.submit(s3.run, stop)
        try:
            for _ in range(ROUNDS):
                run_until_killed(server, clients, lambda: os.kill(server.kms_process(), signal.SIGKILL))
                wait_until(lambda: is_up(kms), seconds=30)
                wait_until(s3.is_back, seconds=BACK)
                check(server, clients)
        finally:
            stop.set()
        asking.result(30)
    assert s3.answered > 7 * ROUNDS
    assert max(s3.waits) < 25  # two requests of ten seconds, on a busy machine
    assert server.workers() == workers
    check_at_the_end(server, clients)


def test_a_killed_server_comes_back_with_every_change_to_a_key_that_it_has_acknowledged(server):
    kms = server.kms()
    clients = [Client(f"client-{number}", kms) for number in range(CLIENTS)]
    for _ in range(ROUNDS):
        run_until_killed(server, clients, server.kill)
        server.start()
        check(server, clients)
    check_at_the_end(server, clients)


def run_until_killed(server: Server, clients: list[Client], kill: Callable[[], None]) -> None:
    """All clients at work, `kill` at a random moment, and a little of what comes after it."""
    stop = threading.Event()
    wait_until(lambda: "strongroom kms" in server.processes().values())
    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(client.run, stop) for client in clients]
        try:
            time.sleep(random.uniform(0.1, 0.6))  # a random moment among the calls
            kill()
        finally:
            stop.set()
        for each in running:
            each.result(30)
