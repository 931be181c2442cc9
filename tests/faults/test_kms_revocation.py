"""What is taken away holds: for the very next request without a bucket key, within the window with one, on every worker
and under load; and what a bucket key has opened for one person it opens for nobody else.
"""

import copy
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from strongroom.identity.users import Users
from tests.faults.kms_clients import ACCOUNT, put
from tests.harness import Reply, Server, new_key, running, unique_bucket, wait_until
from tests.people import allow, new_user, policy, with_users

WINDOW = 2.0
BUSY = 3  # clients
Refusals = set[tuple[int, str]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("revocation")
    with running(directory, environment={"STRONGROOM_BUCKET_KEY_WINDOW": str(WINDOW)}) as started:
        yield started


@pytest.fixture(scope="module")
def kms(server: Server) -> Any:
    return server.kms()


@dataclass
class Person:
    """A user who may do everything on S3, and what `server` asks in their name. `key`: one that they may use."""

    server: Server
    name: str
    key: str
    bucket: str
    bucket_key: bool = False
    grant_id: str = ""

    @property
    def arn(self) -> str:
        return f"arn:aws:iam::{ACCOUNT}:user/{self.name}"

    def get(self, name: str) -> Reply:
        return self.server.send("GET", f"/{self.bucket}/{name}")

    def put(self, name: str) -> Reply:
        return put(self.server, f"/{self.bucket}/{name}", key=self.key, bucket_key=self.bucket_key)

    def change(self, function: Callable[[Users], Any]) -> None:
        with_users(self.server.data_dir, function)


def new_person(server: Server, kms: Any, *, bucket_key: bool = False, by_grant: bool = False) -> Person:
    """With one object for each client."""
    name = unique_bucket()
    signed = new_user(server, allow("s3:*"), name=name)
    person = Person(signed, name, new_key(kms), name, bucket_key)
    if by_grant:
        made = kms.create_grant(
            KeyId=person.key, GranteePrincipal=person.arn, Operations=["GenerateDataKey", "Decrypt"]
        )
        person.grant_id = made["GrantId"]
    else:
        rights = policy(allow(["kms:GenerateDataKey", "kms:Decrypt"], person.key))
        person.change(lambda users: users.put_policy(name, "kms", rights))
    assert person.server.send("PUT", f"/{person.bucket}").status == 200
    wait_until(lambda: person.put("0").status == 200)  # a new grant or policy is there at once, on every worker soon
    for number in range(1, BUSY):
        assert person.put(f"{number}").status == 200
    return person


@dataclass(frozen=True)
class Revocation:
    """`refusals`: status and code of what is asked afterwards."""

    name: str
    take: Callable[[Any, Person], object]
    refusals: Refusals
    by_grant: bool = False


def take_policy(kms: Any, person: Person) -> None:
    nobody = {"Sid": "root", "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}
    denied = {"Sid": "no", "Effect": "Deny", "Principal": {"AWS": person.arn}, "Action": "kms:*", "Resource": "*"}
    document = {"Version": "2012-10-17", "Statement": [{**nobody, "Action": "kms:*", "Resource": "*"}, denied]}
    kms.put_key_policy(KeyId=person.key, PolicyName="default", Policy=json.dumps(document))


def cancel(kms: Any, person: Person) -> None:
    """Back from its deletion a key is Disabled."""
    kms.schedule_key_deletion(KeyId=person.key, PendingWindowInDays=7)
    kms.cancel_key_deletion(KeyId=person.key)


def switch_off(_kms: Any, person: Person) -> None:
    person.change(lambda users: users.set_access_key_active(person.server.access_key_id, active=False))


DENIED: Refusals = {(403, "AccessDenied")}
REVOCATIONS = [
    Revocation("disabled", lambda kms, who: kms.disable_key(KeyId=who.key), {(400, "KMS.DisabledException")}),
    Revocation(
        "scheduled for deletion",
        lambda kms, who: kms.schedule_key_deletion(KeyId=who.key, PendingWindowInDays=7),
        {(400, "KMS.KMSInvalidStateException")},
    ),
    Revocation("deletion cancelled", cancel, {(400, "KMS.DisabledException")}),
    Revocation("key policy changed", take_policy, DENIED),
    Revocation(
        "grant revoked", lambda kms, who: kms.revoke_grant(KeyId=who.key, GrantId=who.grant_id), DENIED, by_grant=True
    ),
    Revocation(
        "policy detached", lambda _, who: who.change(lambda users: users.delete_policy(who.name, "kms")), DENIED
    ),
    Revocation("access key switched off", switch_off, {(403, "InvalidAccessKeyId")}),
    Revocation(
        "user deleted", lambda _, who: who.change(lambda users: users.remove(who.name)), {(403, "InvalidAccessKeyId")}
    ),
]


@dataclass
class Asked:
    """When it began and ended, and what came of it."""

    began: float
    ended: float
    reply: Reply


@dataclass
class Busy:
    """Clients that read and write all the time, each an object of its own: equal questions that are under way together
    are one question to the key service.
    """

    person: Person
    asked: list[Asked] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, number: int) -> None:
        turn = 0
        while not self.stop.is_set():
            turn += 1
            began = time.monotonic()
            reply = self.person.put(f"{number}-{turn}") if turn % 4 == 0 else self.person.get(f"{number}")
            self.asked.append(Asked(began, time.monotonic(), reply))


def told(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.code


@pytest.mark.parametrize("revocation", REVOCATIONS, ids=lambda each: each.name)
def test_without_a_bucket_key_it_holds_for_the_very_next_request(
    server: Server, kms: Any, revocation: Revocation
) -> None:
    person = new_person(server, kms, by_grant=revocation.by_grant)
    busy = Busy(person)
    with ThreadPoolExecutor(BUSY) as pool:
        running_ones = [pool.submit(busy.run, number) for number in range(BUSY)]
        try:
            wait_until(lambda: len(busy.asked) > 2 * BUSY)
            before = time.monotonic()
            revocation.take(kms, person)
            after = time.monotonic()
            enough = len(busy.asked) + 4 * BUSY
            wait_until(lambda: len(busy.asked) > enough)
        finally:
            busy.stop.set()
        for each in running_ones:
            each.result(30)
    assert {each.reply.status for each in busy.asked if each.ended < before} == {200}
    later = [each.reply for each in busy.asked if each.began > after]
    assert len(later) > BUSY
    assert {told(reply) for reply in later} <= revocation.refusals
    assert told(person.get("0")) in revocation.refusals
    assert told(person.put("new")) in revocation.refusals


@pytest.mark.parametrize("revocation", REVOCATIONS, ids=lambda each: each.name)
def test_with_a_bucket_key_it_holds_within_the_window(server: Server, kms: Any, revocation: Revocation) -> None:
    person = new_person(server, kms, bucket_key=True, by_grant=revocation.by_grant)
    for _ in range(4):  # on both workers
        assert person.get("0").body == b"content"
        assert person.put("1").status == 200
    revocation.take(kms, person)
    taken = time.monotonic()
    while (left := taken + WINDOW - time.monotonic()) > 0:
        assert told(person.get("0")) in {(200, ""), *revocation.refusals}
        time.sleep(min(left, 0.2))
    for _ in range(6):
        assert told(person.get("0")) in revocation.refusals
        assert told(person.put("new")) in revocation.refusals


def test_what_a_bucket_key_opens_for_one_it_opens_for_nobody_else(server: Server, kms: Any) -> None:
    """B may do everything on S3, and nothing with the key; 50 at once, while A fills the cache over and over."""
    a = new_person(server, kms, bucket_key=True)
    b = copy.copy(a)
    b.server = new_user(server, allow("s3:*"))
    busy = Busy(a)
    with ThreadPoolExecutor(51) as pool:
        filling = pool.submit(busy.run, 0)
        together = threading.Barrier(50)

        def ask(number: int) -> Reply:
            together.wait(30)
            return b.put(f"b-{number}") if number % 2 else b.get("0")

        try:
            wait_until(lambda: len(busy.asked) > 8)
            replies = list(pool.map(ask, range(50)))
        finally:
            busy.stop.set()
        filling.result(30)
    assert {told(reply) for reply in replies} == DENIED
    assert b"is not authorized to perform: kms:" in replies[0].body
    assert {each.reply.status for each in busy.asked} == {200}


def test_a_key_that_is_enabled_again_is_used_again_at_once(server: Server, kms: Any) -> None:
    for bucket_key in (False, True):
        person = new_person(server, kms, bucket_key=bucket_key)
        kms.disable_key(KeyId=person.key)
        wait_until(lambda who=person: told(who.get("0")) == (400, "KMS.DisabledException"))  # type: ignore[misc]
        kms.enable_key(KeyId=person.key)
        assert person.get("0").body == b"content"
        assert person.put("new").status == 200
