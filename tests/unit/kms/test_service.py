"""strongroom.kms.service: nothing leaves before its record, nothing shows before it is durable, nobody is left half done."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from strongroom.audit.log import AuditUnavailable
from strongroom.aws.kms_errors import KmsError
from strongroom.database.database import Unavailable
from strongroom.identity.store import Person, UnknownPrincipal
from strongroom.kms.call import Kms
from strongroom.kms.key_specs import generate_material
from strongroom.kms.policies import default_policy
from strongroom.kms.recording import Event
from strongroom.kms.service import KeyService
from strongroom.kms.state import Change
from tests.kms_values import ACCOUNT, call, new_kms
from tests.serving import run

ALLOW = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}]}'


@dataclass
class Store:
    """Keeps what is committed. `fails`: the next commits do. `held`: a commit waits for it. `reached`: one has begun."""

    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    commits: list[tuple[Sequence[Change], Sequence[Event]]] = field(default_factory=list)
    fails: bool = False
    held: asyncio.Event | None = None
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    forgotten: int = 0

    async def pending_events(self) -> list[tuple[int, Event]]:
        events = [event for _, events in self.commits for event in events]
        return list(enumerate(events, 1))[self.forgotten :]

    async def commit(self, changes: Sequence[Change], events: Sequence[Event] = ()) -> int:
        assert self.writing.locked()
        self.reached.set()
        if self.held is not None:
            await self.held.wait()
        if self.fails:
            raise Unavailable("no space")
        self.commits.append((changes, events))
        return len(self.commits)

    def forget_events(self, through: int) -> None:
        self.forgotten = through


@dataclass
class Log:
    """`fails`: until it is False again; `fails_once`: the next append does."""

    events: list[Event] = field(default_factory=list)
    fails: bool = False
    fails_once: bool = False
    held: asyncio.Event | None = None

    async def append(self, event: Event) -> object:
        if self.held is not None:
            await self.held.wait()
        if self.fails or self.fails_once:
            self.fails_once = False
            raise AuditUnavailable("no space")
        self.events.append(event)
        return None

    @property
    def names(self) -> list[str]:
        return [event["eventName"] for event in self.events]


@dataclass
class Everybody:
    """The root user, and nobody else."""

    root_exists: bool = True

    def person(self, arn: str) -> Person:
        if not arn.endswith(":root") or not self.root_exists:
            raise UnknownPrincipal(arn)
        return Person(ACCOUNT, ())


@dataclass
class Bench:
    kms: Kms
    store: Store
    log: Log
    people: Everybody
    service: KeyService

    async def ask(self, operation: str, **given: Any) -> Mapping[str, Any]:
        return await self.service.answer(operation, given, call(operation).caller)

    async def key(self) -> str:
        made: str = (await self.ask("CreateKey"))["KeyMetadata"]["KeyId"]
        return made

    async def refused(self, operation: str, **given: Any) -> KmsError:
        with pytest.raises(KmsError) as raised:
            await self.ask(operation, **given)
        return raised.value


def on_bench(test: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    async def body() -> None:
        kms, store, log, people = new_kms(), Store(), Log(), Everybody()
        with ThreadPoolExecutor(1) as threads:
            service = KeyService(kms, store, log, identities=people, threads=threads)
            await test(Bench(kms, store, log, people, service))
            await service.finish()

    run(body())


def test_a_call_that_cannot_be_recorded_is_refused_and_its_plaintext_stays() -> None:
    async def test(bench: Bench) -> None:
        key = await bench.key()
        blob = (await bench.ask("Encrypt", KeyId=key, Plaintext=b"secret"))["CiphertextBlob"]
        bench.log.fails = True
        for operation, given in (
            ("GenerateDataKey", {"KeyId": key, "KeySpec": "AES_256"}),
            ("Decrypt", {"CiphertextBlob": blob}),
            ("DescribeKey", {"KeyId": key}),
            ("DescribeKey", {"KeyId": "unknown"}),
            ("ReplicateKey", {}),
        ):
            error = await bench.refused(operation, **given)
            assert (error.code, error.status) == ("KMSInternalException", 500)
            assert b"secret" not in repr(error).encode()
        assert bench.log.names == ["CreateKey", "Encrypt"]
        bench.log.fails = False
        assert (await bench.ask("Decrypt", CiphertextBlob=blob))["Plaintext"] == b"secret"

    on_bench(test)


def test_a_change_whose_record_waits_is_recorded_before_anything_else_is_answered() -> None:
    async def test(bench: Bench) -> None:
        key = await bench.key()
        bench.log.fails = True
        assert (await bench.refused("DisableKey", KeyId=key)).code == "KMSInternalException"
        assert bench.kms.state.keys[key].state == "Disabled"  # it was durable, its event with it
        assert [event["eventName"] for event in bench.store.commits[-1][1]] == ["DisableKey"]
        assert (await bench.refused("DescribeKey", KeyId=key)).code == "KMSInternalException"
        assert bench.store.forgotten == 1
        bench.log.fails = False
        await bench.ask("DescribeKey", KeyId=key)
        assert bench.log.names == ["CreateKey", "DisableKey", "DescribeKey"]
        assert bench.store.forgotten == 2

    on_bench(test)


def test_a_call_that_comes_while_a_change_is_being_recorded_is_recorded_after_it() -> None:
    async def test(bench: Bench) -> None:
        key = await bench.key()
        bench.log.held, bench.log.fails_once = asyncio.Event(), True
        disabling = asyncio.create_task(bench.ask("DisableKey", KeyId=key))
        while len(bench.store.commits) < 2:  # noqa: ASYNC110 - nobody else tells
            await asyncio.sleep(0)
        looking = asyncio.create_task(bench.ask("DescribeKey", KeyId=key))
        for _ in range(10):
            await asyncio.sleep(0)
        bench.log.held.set()
        with pytest.raises(KmsError):
            await disabling
        assert (await looking)["KeyMetadata"]["KeyState"] == "Disabled"
        assert bench.log.names == ["CreateKey", "DisableKey", "DescribeKey"]

    on_bench(test)


def test_many_waiting_calls_record_a_change_once() -> None:
    async def test(bench: Bench) -> None:
        key = await bench.key()
        bench.log.fails = True
        await bench.refused("DisableKey", KeyId=key)
        bench.log.fails = False
        await asyncio.gather(*(bench.ask("DescribeKey", KeyId=key) for _ in range(10)))
        assert bench.log.names == ["CreateKey", "DisableKey", *["DescribeKey"] * 10]

    on_bench(test)


def test_a_failed_commit_changes_nothing_and_is_recorded_as_a_failure() -> None:
    async def test(bench: Bench) -> None:
        key = await bench.key()
        before = dict(bench.kms.state.keys)
        bench.store.fails = True
        for operation, given in (
            ("DisableKey", {"KeyId": key}),
            ("CreateKey", {}),
            ("CreateAlias", {"AliasName": "alias/x", "TargetKeyId": key}),
            ("ScheduleKeyDeletion", {"KeyId": key}),
        ):
            error = await bench.refused(operation, **given)
            assert (error.code, error.status) == ("KMSInternalException", 500)
            assert bench.log.events[-1]["eventName"] == operation
            assert bench.log.events[-1]["errorCode"].startswith("KMSInternal")
        assert (bench.kms.state.keys, bench.kms.state.aliases) == (before, {})
        bench.store.fails = False
        await bench.ask("DisableKey", KeyId=key)
        assert bench.kms.state.keys[key].state == "Disabled"

    on_bench(test)


async def held_commit(bench: Bench, operation: str, **given: Any) -> tuple[asyncio.Task[Any], asyncio.Event]:
    """A change that is under way, its commit begun; and what lets the commit end."""
    durable = bench.store.held = asyncio.Event()
    bench.store.reached.clear()
    changing = asyncio.create_task(bench.ask(operation, **given))
    await bench.store.reached.wait()
    return changing, durable


def test_nothing_of_a_change_shows_before_it_is_durable() -> None:
    async def test(bench: Bench) -> None:
        key = await bench.key()
        disabling, durable = await held_commit(bench, "DisableKey", KeyId=key)
        assert (await bench.ask("DescribeKey", KeyId=key))["KeyMetadata"]["KeyState"] == "Enabled"
        durable.set()
        await disabling
        assert (await bench.ask("DescribeKey", KeyId=key))["KeyMetadata"]["KeyState"] == "Disabled"

    on_bench(test)


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """RSA keys take until it is set."""
    done = threading.Event()

    def generate(spec: str) -> tuple[bytes, bytes]:
        if spec.startswith("RSA"):
            assert done.wait(10)
            return b"private", b"public"
        return generate_material(spec)

    monkeypatch.setattr("strongroom.kms.keys.generate_material", generate)
    yield done
    done.set()


RSA = {"KeySpec": "RSA_4096", "KeyUsage": "SIGN_VERIFY"}


def test_while_an_rsa_key_is_made_others_make_their_changes(slowly: threading.Event) -> None:
    async def test(bench: Bench) -> None:
        making = asyncio.create_task(bench.ask("CreateKey", **RSA))
        await asyncio.sleep(0.01)
        key = await asyncio.wait_for(bench.key(), 5)
        await bench.ask("DisableKey", KeyId=key)
        assert not making.done()
        slowly.set()
        made = (await making)["KeyMetadata"]
        assert (made["KeySpec"], made["KeyState"]) == ("RSA_4096", "Enabled")
        (material,) = bench.kms.state.materials_of(bench.kms.state.keys[made["KeyId"]])
        assert material.public_key == b"public"
        assert bench.log.names == ["CreateKey", "DisableKey", "CreateKey"]

    on_bench(test)


def test_a_right_that_was_taken_away_while_an_rsa_key_was_made_is_gone(slowly: threading.Event) -> None:
    async def test(bench: Bench) -> None:
        making = asyncio.create_task(bench.refused("CreateKey", **RSA))
        await asyncio.sleep(0.01)
        bench.people.root_exists = False
        slowly.set()
        assert (await making).code == "AccessDeniedException"
        assert bench.kms.state.keys == {}

    on_bench(test)


def test_nobody_sets_the_service_to_work_who_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def generate(_spec: str) -> tuple[bytes, bytes]:
        raise AssertionError

    async def test(bench: Bench) -> None:
        monkeypatch.setattr("strongroom.kms.keys.generate_material", generate)
        bench.people.root_exists = False
        assert (await bench.refused("CreateKey", **RSA)).code == "AccessDeniedException"

    on_bench(test)


def test_a_client_that_goes_away_during_a_commit_leaves_memory_and_store_together() -> None:
    async def test(bench: Bench) -> None:
        key = await bench.key()
        disabling, durable = await held_commit(bench, "DisableKey", KeyId=key)
        disabling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await disabling
        durable.set()
        await bench.service.finish()
        assert bench.kms.state.keys[key].state == "Disabled"
        assert bench.log.names == ["CreateKey", "DisableKey"]

    on_bench(test)


def test_a_client_that_goes_away_is_recorded_all_the_same() -> None:
    async def test(bench: Bench) -> None:
        key = await bench.key()
        bench.log.held = asyncio.Event()
        tasks = [
            asyncio.create_task(bench.ask("GenerateDataKey", KeyId=key, KeySpec="AES_256")),
            asyncio.create_task(bench.ask("DescribeKey", KeyId="unknown")),
        ]
        for _ in range(10):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert bench.log.names == ["CreateKey"]
        bench.log.held.set()
        await bench.service.finish()
        assert sorted(bench.log.names) == ["CreateKey", "DescribeKey", "GenerateDataKey"]

    on_bench(test)


def test_a_mistake_of_ours_is_answered_and_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(_given: str) -> str:
        raise ZeroDivisionError

    async def test(bench: Bench) -> None:
        monkeypatch.setattr("strongroom.kms.service.grant_of_token", breaks)
        error = await bench.refused("DescribeKey", KeyId="x", GrantTokens=["x"])
        assert (error.code, error.status, error.reason) == ("KMSInternalException", 500, "ZeroDivisionError")
        assert bench.log.events[-1]["errorCode"].startswith("KMSInternal")

    on_bench(test)


def test_concurrent_first_uses_make_one_managed_key() -> None:
    async def test(bench: Bench) -> None:
        asked = [bench.ask("DescribeKey", KeyId="alias/aws/s3") for _ in range(20)]
        answers = await asyncio.gather(*asked)
        assert len({answer["KeyMetadata"]["KeyId"] for answer in answers}) == 1
        assert len(bench.store.commits) == 1
        assert bench.log.names == ["CreateKey", *["DescribeKey"] * 20]

    on_bench(test)


def test_last_uses_are_written_now_and_then_and_again_where_that_failed() -> None:
    async def test(bench: Bench) -> None:
        key = await bench.key()
        await bench.ask("Encrypt", KeyId=key, Plaintext=b"x")
        await bench.ask("Encrypt", KeyId=key, Plaintext=b"x")
        assert len(bench.store.commits) == 1
        bench.store.fails = True
        with pytest.raises(Unavailable):
            await bench.service.do_what_is_due()
        bench.store.fails = False
        for _ in range(2):
            await bench.service.do_what_is_due()
        assert len(bench.store.commits) == 2
        assert len(bench.store.commits[-1][0]) == 1

    on_bench(test)


def test_maintenance_outlives_what_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(bench: Bench) -> None:
        monkeypatch.setattr("strongroom.kms.service._TICK", 0.0)
        key = await bench.key()
        await bench.ask("Encrypt", KeyId=key, Plaintext=b"x")
        bench.store.fails = True
        maintaining = asyncio.create_task(bench.service.maintain())
        for _ in range(50):
            await asyncio.sleep(0)
        bench.store.fails = False
        bench.store.reached.clear()
        await bench.store.reached.wait()
        maintaining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await maintaining

    on_bench(test)


def test_a_caller_who_is_nobody_any_more_is_denied() -> None:
    async def test(bench: Bench) -> None:
        from dataclasses import replace

        from strongroom.identity.root import Principal

        caller = call("DescribeKey").caller
        gone = replace(
            caller,
            requester=replace(
                caller.requester, principal=Principal(account_id=ACCOUNT, arn=f"arn:aws:iam::{ACCOUNT}:user/gone")
            ),
        )
        key = await bench.key()
        with pytest.raises(KmsError) as raised:
            await bench.service.answer("DescribeKey", {"KeyId": key}, gone)
        assert raised.value.code == "AccessDeniedException"
        assert bench.kms.state.keys[key].policy == default_policy(bench.kms)

    on_bench(test)
