"""The key service: every call goes through here, in one order, and none leaves without its record.

Find the keys that a call names, judge whether the caller may, look at the state of the keys, do it; make what it changes
durable, write the record of the call, and only then answer. Whatever fails on the way is recorded as well. Calls that
change something are done one after the other; the others run between them, each on the state as it finds it.

This module knows no HTTP and no file. What an operation does is in its own module (operations.py).
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

from strongroom.audit.log import AuditUnavailable
from strongroom.aws.kms_errors import KmsError
from strongroom.crypto.errors import IntegrityError
from strongroom.database.database import Unavailable
from strongroom.identity.policy import Policy
from strongroom.identity.requester import Caller
from strongroom.identity.store import Person, UnknownPrincipal
from strongroom.kms.authorize import Permission, authorize, authorize_account, authorize_retirement
from strongroom.kms.call import Kms, KmsCall, Outcome
from strongroom.kms.grants import grant_of_token
from strongroom.kms.key_ids import alias_of
from strongroom.kms.key_specs import is_slow
from strongroom.kms.key_states import CRYPTOGRAPHIC, check_state
from strongroom.kms.key_use import stop_dry_run
from strongroom.kms.maintenance import first_due
from strongroom.kms.managed_keys import S3_ALIAS, STORE_ALIAS, managed_key
from strongroom.kms.operations import RULES, Rule, Target
from strongroom.kms.recording import Event, call_event, service_event
from strongroom.kms.records import Key, LastUsage
from strongroom.kms.state import Change, Put
from strongroom.observe import log
from strongroom.observe.metrics import count_integrity_error

T = TypeVar("T")

# What a service may ask, for itself or for a person: what an object's key needs, and nothing that manages keys.
SERVICE_OPERATIONS = frozenset({"Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey", "ReEncrypt"})
_MAKES_MANAGED_KEYS = SERVICE_OPERATIONS | {"GenerateDataKeyWithoutPlaintext"}
_OBJECT = "aws:s3:arn"
MOST_OF_A_CONTEXT, MOST_PAIRS = 8192, 100  # bytes of names and values together
_CONTEXTS = ("EncryptionContext", "SourceEncryptionContext", "DestinationEncryptionContext")
_TICK = 30.0  # seconds between two looks at what is due


class Durable(Protocol):
    """What the service asks of its store (kms/store.py). `writing`: held from before changes are computed until they are
    applied.
    """

    writing: asyncio.Lock

    async def commit(self, changes: Sequence[Change], events: Sequence[Event] = ()) -> int:
        """All of it durable, or nothing. Raises Unavailable."""
        ...

    async def pending_events(self) -> list[tuple[int, Event]]:
        """Events that are not known to be in the log, by number, in order. Raises Unavailable, IntegrityError."""
        ...

    def forget_events(self, through: int) -> None:
        """Events up to this number are in the log."""
        ...


class Log(Protocol):
    """What it asks of the record (audit/log.py)."""

    async def append(self, event: Event) -> object:
        """Returns when the record is durable. Raises AuditUnavailable."""
        ...


class Identities(Protocol):
    """What it asks about people (identity/store.py)."""

    def person(self, arn: str) -> Person:
        """Raises UnknownPrincipal."""
        ...


@dataclass(slots=True)
class _Trace:
    """What the record of a call will say, as far as the call has come. `is_kept`: it went into the store with the changes
    that it tells of, and from there reaches the log.
    """

    call: KmsCall
    targets: tuple[Target, ...] = ()
    allowed: tuple[Permission, ...] = ()
    outcome: Outcome = field(default_factory=Outcome)
    error: KmsError | None = None
    is_kept: bool = False


class KeyService:
    def __init__(self, kms: Kms, store: Durable, record: Log, *, identities: Identities, threads: Executor) -> None:
        """`kms.state` is this service's alone to change. `threads`: for what takes long (RSA keys)."""
        self._kms = kms
        self._store = store
        self._record = record
        self._identities = identities
        self._threads = threads
        self._recording = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._commits, self._recorded = 1, 0  # how many there were, of how many the events are in the log
        self._used: set[str] = set()

    async def answer(self, operation: str, input: Mapping[str, Any], caller: Caller) -> Mapping[str, Any]:
        """The output of one call, its record durable. Raises KmsError, whose record is durable as well.

        A client that goes away stops nothing: what was begun is done, and recorded.
        """
        trace = _Trace(KmsCall(operation=operation, input=input, caller=caller, moment=self._kms.clock()))
        await self._to_its_end(self._answer(trace))
        if trace.error is not None:
            raise trace.error
        return trace.outcome.output

    async def refused(self, event: Event) -> None:
        """The record of a call that was refused before it came here, by somebody who is known (a wrong signature)."""
        await self._append(event)

    async def maintain(self) -> None:
        """Rotate, delete and expire what is due, for ever. Never returns."""
        while True:
            try:
                await self.do_what_is_due()
            except (IntegrityError, KmsError, Unavailable) as error:
                if isinstance(error, IntegrityError):
                    count_integrity_error()
                log.failure("What was due could not be done; it will be tried again", error)
            await asyncio.sleep(_TICK)

    async def do_what_is_due(self) -> None:
        """All that is due now, in the order in which it was. Raises IntegrityError, KmsError, Unavailable."""
        await self._to_its_end(self._do_what_is_due())

    async def finish(self) -> None:
        """Calls whose clients have gone, to their end: before the store is closed."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    # --- one call

    async def _answer(self, trace: _Trace) -> None:
        """Leaves in `trace` what the call came to, recorded. Raises KmsError where it can't be recorded."""
        try:
            await self._catch_up()
            rule = _rule(trace.call.operation)
            _refuse_attestation(trace.call.input)
            _check_tokens(trace.call.input)
            _check_contexts(trace.call.input)
            await self._make_managed_key(trace.call)
            await (self._change(rule, trace) if rule.mutates else self._read(rule, trace))
        except KmsError as error:
            trace.error = error
        except IntegrityError as error:
            count_integrity_error()
            log.failure("The key service found damage", error, operation=trace.call.operation)
            trace.error = _internal(str(error))
        except Unavailable as error:
            trace.error = _internal(str(error))
        except Exception as error:  # noqa: BLE001 - a mistake of ours is answered and recorded like any other refusal
            log.failure("A call could not be served", error, operation=trace.call.operation)
            trace.error = _internal(type(error).__name__)
        if not trace.is_kept:
            event = self._event(trace)
            await self._append(event)
            self._note_use(trace, event)

    async def _read(self, rule: Rule, trace: _Trace) -> None:
        """What the call comes to, which changes nothing. Raises KmsError."""
        keys = self._judge(rule, trace)
        work = partial(rule.function, trace.call, self._kms, *keys)
        trace.outcome = await self._in_thread(work) if is_slow(trace.call.operation, trace.call.input) else work()
        stop_dry_run(trace.call)

    async def _change(self, rule: Rule, trace: _Trace) -> None:
        """Alone, but for what takes long and can be made ahead: nothing of it shows before it is durable, together with
        its record. Raises KmsError.
        """
        made = []
        if rule.ahead is not None and is_slow(trace.call.operation, trace.call.input):
            self._judge(rule, trace)  # nobody sets the service to work who may not
            made.append(await self._in_thread(partial(rule.ahead, trace.call)))
        async with self._store.writing:
            keys = self._judge(rule, trace)
            trace.outcome = rule.function(trace.call, self._kms, *keys, *made)
            stop_dry_run(trace.call)
            if trace.outcome.changes:
                await self._commit(trace.outcome.changes, self._event(trace), trace)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _to_its_end(self, work: Coroutine[Any, Any, None]) -> None:
        """Whoever waits for it may be cancelled: memory, store and record must not part."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_look_at)
        await asyncio.shield(task)

    def _judge(self, rule: Rule, trace: _Trace) -> list[Key]:
        """The keys that the call is about, once the caller may and their states allow it. Raises KmsError."""
        kms, call = self._kms, trace.call
        trace.targets = rule.targets(call, kms)
        _check_service(call, trace.targets)
        trace.allowed = self._authorize(rule, call, trace.targets)
        for target in trace.targets:
            if target.in_any_state:
                continue
            check_state(call.operation, target.key, kms.key_arn(target.key.key_id))
        return [target.key for target in trace.targets]

    def _authorize(self, rule: Rule, call: KmsCall, targets: Sequence[Target]) -> tuple[Permission, ...]:
        """Why each right is there. Raises AccessDeniedException."""
        kms = self._kms
        policies, user_id = self._person(call.caller)
        allowed = []
        if rule.on_account:
            alias = call.input.get("AliasName")
            resource = "*" if alias is None else kms.alias_arn(alias)
            allowed.append(authorize_account(call, kms, policies=policies, resource=resource, user_id=user_id))
            if call.operation == "CreateKey" and call.input.get("Tags"):
                allowed.append(
                    authorize_account(call, kms, policies=policies, action="kms:TagResource", user_id=user_id)
                )
        on_same_key = targets[0].key == targets[1].key if call.operation == "ReEncrypt" else None
        for target in targets:
            if target.grant is not None:
                allowed.append(
                    authorize_retirement(call, kms, target.key, target.grant, policies=policies, user_id=user_id)
                )
            elif not target.is_filter:
                allowed.append(
                    authorize(
                        call,
                        kms,
                        target.key,
                        policies=policies,
                        action=f"kms:{target.action}",
                        encryption_context=target.context if call.operation != "CreateGrant" else None,
                        request_alias=target.alias,
                        on_same_key=on_same_key,
                        user_id=user_id,
                        refusal=target.refusal,
                    )
                )
        return tuple(allowed)

    def _person(self, caller: Caller) -> tuple[tuple[Policy, ...], str | None]:
        """Policies and unique id of whom this is for. Raises AccessDeniedException where it is nobody any more."""
        if caller.is_service:
            return (), None
        try:
            person = self._identities.person(caller.arn)
        except UnknownPrincipal:
            raise KmsError("AccessDeniedException", f"User: {caller.arn} does not exist.") from None
        return person.policies, person.user_id

    async def _make_managed_key(self, call: KmsCall) -> None:
        """A managed key exists from the first time that somebody names it; the store's, when the store does."""
        if call.operation not in _MAKES_MANAGED_KEYS:
            return
        given = call.input.get("KeyId") or call.input.get("DestinationKeyId")
        alias = alias_of(self._kms, given) if given is not None else None
        if alias not in (S3_ALIAS, STORE_ALIAS) or (alias == STORE_ALIAS and not call.caller.is_service):
            return
        if alias in self._kms.state.aliases:
            return
        async with self._store.writing:
            if alias not in self._kms.state.aliases:
                key, changes = managed_key(self._kms, alias)
                await self._commit(changes, service_event(self._kms, "CreateKey", key.key_id, {"aliasName": alias}))

    # --- changes and records

    async def _commit(self, changes: Sequence[Change], event: Event, trace: _Trace | None = None) -> None:
        """Durable with its event, then true, then recorded. Only under the lock. Raises Unavailable, KmsError."""
        await self._store.commit(changes, [event])
        self._kms.state.apply(changes)
        if trace is not None:
            trace.is_kept = True
        await self.record_pending()

    async def record_pending(self) -> None:
        """Write the records that were committed with their changes. Raises KmsError, Unavailable, IntegrityError."""
        self._commits += 1
        await self._catch_up()

    async def _catch_up(self) -> None:
        """Changes whose record could not be written come first: until it is, nothing is answered. Raises KmsError."""
        if self._recorded == self._commits:
            return
        async with self._recording:
            commits = self._commits
            if self._recorded == commits:  # somebody else did it meanwhile
                return
            for number, event in await self._store.pending_events():
                await self._append(event)
                self._store.forget_events(number)
            self._recorded = commits

    async def _append(self, event: Event) -> None:
        try:
            await self._record.append(event)
        except AuditUnavailable as error:
            raise KmsError(
                "KMSInternalException", "The service can't record the request.", reason=str(error)
            ) from error

    def _event(self, trace: _Trace) -> Event:
        return call_event(
            self._kms,
            trace.call,
            [target.key.key_id for target in trace.targets],
            allowed=trace.allowed,
            outcome=trace.outcome,
            error=trace.error,
        )

    # --- by itself

    async def _do_what_is_due(self) -> None:
        await self._catch_up()
        while await self._do_first_due():
            pass
        await self._write_usage()

    async def _do_first_due(self) -> bool:
        async with self._store.writing:
            due = first_due(self._kms, self._kms.clock())
            if due is None:
                return False
            await self._commit(due.changes, service_event(self._kms, due.event, due.key_id, due.facts))
            return True

    def _note_use(self, trace: _Trace, event: Event) -> None:
        """In memory; written down by `_write_usage`, since an fsync for each use would halve what the service can do."""
        if trace.error is not None or trace.call.operation not in CRYPTOGRAPHIC:
            return
        for target in trace.targets:
            if target.key.key_id not in self._kms.state.keys:  # deleted while the record was written
                continue
            used = LastUsage(
                key_id=target.key.key_id,
                operation=trace.call.operation,
                used_us=trace.call.now_us,
                event_id=event["eventID"],
                request_id=trace.call.caller.request_id,
            )
            self._kms.state.apply((Put(used),))
            self._used.add(target.key.key_id)

    async def _write_usage(self) -> None:
        if not self._used:
            return
        async with self._store.writing:
            used, usages = set(self._used), self._kms.state.usages
            await self._store.commit([Put(usages[key_id]) for key_id in sorted(used) if key_id in usages])
            self._used -= used


def _look_at(task: asyncio.Task[None]) -> None:
    """What a task raised whose client has gone is recorded already, and nobody's to handle."""
    if not task.cancelled():
        task.exception()


def _internal(reason: str) -> KmsError:
    return KmsError("KMSInternalException", "The service can't process the request.", reason=reason)


def _rule(operation: str) -> Rule:
    if operation not in RULES:
        raise KmsError("UnsupportedOperationException", f"{operation} is not supported.")
    return RULES[operation]


def _refuse_attestation(input: Mapping[str, Any]) -> None:
    """Who asks for an answer to an enclave must not get one in clear."""
    if input.get("Recipient") is not None:
        raise KmsError("UnsupportedOperationException", "Recipient is not supported: there are no enclaves here.")


def _check_tokens(input: Mapping[str, Any]) -> None:
    for token in input.get("GrantTokens") or ():
        grant_of_token(token)


def _check_contexts(input: Mapping[str, Any]) -> None:
    """AWS names no limit. Ours keeps one call from holding all patterns of a key policy against a megabyte, while everybody
    waits. Raises ValidationException.
    """
    for member in _CONTEXTS:
        pairs = input.get(member) or {}
        if len(pairs) > MOST_PAIRS:
            raise KmsError("ValidationException", f"The encryption context has more than {MOST_PAIRS} pairs.")
        if sum(len(text.encode()) for pair in pairs.items() for text in pair) > MOST_OF_A_CONTEXT:
            raise KmsError("ValidationException", f"The encryption context is longer than {MOST_OF_A_CONTEXT} bytes.")


def _check_service(call: KmsCall, targets: Sequence[Target]) -> None:
    """The credential of S3 is good for objects' keys and for the store key, whoever got hold of it."""
    if not call.caller.is_service and call.caller.via_service is None:
        return
    allowed = call.operation in SERVICE_OPERATIONS and all(
        target.key.service == call.caller.is_service and (call.operation == "DescribeKey" or _OBJECT in target.context)
        for target in targets
    )
    if not allowed:
        raise KmsError(
            "AccessDeniedException",
            f"The service is not authorized to perform: kms:{call.operation} in this way.",
        )
