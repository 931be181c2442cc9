"""KMS bucket keys as S3 uses them: one data key of the key service for many objects of a bucket, for a while.

For a write the key service makes a data key for (bucket, CMK, context, requester); its row is durable before anybody
gets the key, and it serves that requester's further writes for `window` seconds. For a read the key that an object
names is opened in the reader's name, and serves that reader for as long. So the key service has said yes to everybody
who is served, within the window, to this very action: the answer to one requester serves no other, nor another action.
The window begins when the key service is asked and is never extended; an answer that says that the key is off, gone or
forbidden ends it at once, also for answers that were under way, and whether a bucket key was asked for or one object's
key (`hearing`). Other workers learn of that when their window ends.

An alias counts as what it stood for when it was asked: pointed elsewhere, it is followed when the window ends.

What is served lives here, in this process, for the window; the index never holds it in clear.
"""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NamedTuple

from strongroom.database.database import Connection, Database
from strongroom.identity.requester import Requester
from strongroom.keys.keyring import Keyring
from strongroom.keys.provider import ARN_PAIR, DataKey, KeyProvider, KeyServiceRefusal
from strongroom.keys.single_flight import SingleFlight
from strongroom.metadata.bucket_keys import KmsBucketKey, get_bucket_key, insert_bucket_key
from strongroom.metadata.buckets import StaleBucket, check_unchanged
from strongroom.metadata.records import OpenBucket
from strongroom.observe import metrics

LONGEST_WINDOW = 300.0  # seconds
_REMEMBERED = 4096  # keys in clear, at most
_SWEEPS = 30  # in a window: keys that nobody may use any more go that soon

_KEY_IS_OFF = frozenset({"DisabledException", "KMSInvalidStateException", "NotFoundException"})
_FORBIDDEN = "AccessDeniedException"

Action = Literal["GenerateDataKey", "Decrypt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenBucketKey:
    """A bucket key in clear. `key_arn`, `material_id`: of the CMK that sealed it."""

    bucket_key_id: bytes
    key_arn: str
    material_id: bytes | None
    plaintext: bytes = field(repr=False)


class _Question(NamedTuple):
    """What an answer may be used for again. `asked`: the key as it was named to the key service; `bucket_key`: its id
    and its blob, for a read.
    """

    action: Action
    bucket_id: bytes
    asked: str
    bucket_key: tuple[bytes, bytes] | None
    context: tuple[tuple[str, str], ...]
    standing: tuple[str, str, str, str, bool]


@dataclass(frozen=True, slots=True)
class _Answer:
    key: OpenBucketKey
    asked_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusal:
    """The key service said no: `names` are those of the key, as asked and as ARN; `principal` None: to everybody."""

    names: frozenset[str]
    principal: str | None

    def ends(self, question: _Question, answer: _Answer) -> bool:
        if self.principal is not None and question.standing[1] != self.principal:
            return False
        key_arn = answer.key.key_arn
        return bool(self.names & {question.asked, key_arn, key_arn.rpartition("/")[2]})


class KmsBucketKeys:
    """One for each process; it belongs to the event loop of its first use."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        provider: KeyProvider,
        *,
        now_us: Callable[[], int],
        window: float = LONGEST_WINDOW,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`window`: seconds; 0 asks the key service every time. Raises ValueError outside 0..300."""
        if not 0 <= window <= LONGEST_WINDOW:
            raise ValueError(f"a window of {window} s is not between 0 and {LONGEST_WINDOW:g} s")
        self._database = database
        self._keyring = keyring
        self._provider = provider
        self._now_us = now_us
        self._window = window
        self._monotonic = monotonic
        self._answers: OrderedDict[_Question, _Answer] = OrderedDict()
        self._flights = SingleFlight[OpenBucketKey]()
        self._refusals: dict[_Question, set[_Refusal]] = {}  # of what is under way: those that came meanwhile
        self._sweeping: asyncio.TimerHandle | None = None

    async def close(self) -> None:
        await self._flights.close()
        self._answers.clear()
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None

    async def for_write(
        self,
        bucket: OpenBucket,
        bucket_arn: str,
        key_id: str,
        client_context: Mapping[str, str],
        requester: Requester,
    ) -> OpenBucketKey:
        """A key to seal new objects with. `key_id`: in any of KMS's forms; `client_context`: the pairs that the client
        sent, of which none may pose as the bucket's.

        Raises what the provider raises, Unavailable, and StaleBucket where the bucket went meanwhile.
        """
        context = {**client_context, ARN_PAIR: bucket_arn}
        question = _Question(
            "GenerateDataKey", bucket.bucket_id, key_id, None, tuple(sorted(context.items())), requester.standing
        )
        return await self._answer(question, partial(self._generate, bucket, key_id, context, requester))

    async def for_read(self, bucket: OpenBucket, bucket_key_id: bytes, requester: Requester) -> OpenBucketKey:
        """The key that an object or an upload names, opened in the reader's name.

        Raises what the provider raises, Unavailable, and IntegrityError where its row is missing or was changed.
        """
        # Read each time: a row that was sealed anew under another CMK is another question to the key service.
        row = await get_bucket_key(self._database, bucket, bucket_key_id)
        question = _Question(
            "Decrypt",
            bucket.bucket_id,
            row.key_arn,
            (bucket_key_id, row.ciphertext_blob),
            tuple(sorted(row.context.items())),
            requester.standing,
        )
        return await self._answer(question, partial(self._decrypt, row, requester))

    # --- asking once, and remembering

    async def _answer(self, question: _Question, ask: Callable[[], Awaitable[OpenBucketKey]]) -> OpenBucketKey:
        if not self._window:  # nobody is served what was answered to another question, be it under way
            metrics.count_bucket_key_lookup(question.action, "miss")
            return await ask()
        answer = self._answers.get(question)
        if answer is not None and self._holds(answer):
            self._answers.move_to_end(question)
            metrics.count_bucket_key_lookup(question.action, "hit")
            return answer.key
        shared = self._flights.is_under_way(question)
        metrics.count_bucket_key_lookup(question.action, "shared" if shared else "miss")
        return await self._flights.do(question, partial(self._ask, question, ask))

    async def _ask(self, question: _Question, ask: Callable[[], Awaitable[OpenBucketKey]]) -> OpenBucketKey:
        asked_at = self._monotonic()
        refusals = self._refusals[question] = set()
        try:
            with self.hearing(question.standing[1], question.asked):
                key = await ask()
        finally:
            del self._refusals[question]
        answer = _Answer(key, asked_at)
        if self._holds(answer) and not any(refusal.ends(question, answer) for refusal in refusals):
            self._remember(question, answer)
        return key

    def _remember(self, question: _Question, answer: _Answer) -> None:
        self._answers[question] = answer
        self._answers.move_to_end(question)
        if len(self._answers) > _REMEMBERED:
            self._answers.popitem(last=False)
        if self._sweeping is None:
            self._sweep_later()

    def _holds(self, answer: _Answer) -> bool:
        return self._monotonic() < answer.asked_at + self._window

    def _sweep_later(self) -> None:
        """A key in clear is not kept for the case that somebody asks again."""
        pause = max(self._window / _SWEEPS, 0.1)
        self._sweeping = asyncio.get_running_loop().call_later(pause, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        for each in [each for each, answer in self._answers.items() if not self._holds(answer)]:
            del self._answers[each]
        if self._answers:
            self._sweep_later()

    @contextmanager
    def hearing(self, principal: str, *asked: str) -> Iterator[None]:
        """Around whatever is asked of the key service: what it refuses of these keys, or of them and the one who asks,
        ends what was allowed before. `principal`: whose ARN; `asked`: keys as they are named to the key service.
        """
        try:
            yield
        except KeyServiceRefusal as refusal:
            if refusal.code in _KEY_IS_OFF or refusal.code == _FORBIDDEN:
                self._end(asked, principal if refusal.code == _FORBIDDEN else None)
            raise

    def _end(self, asked: Collection[str], principal: str | None) -> None:
        # What was asked for by an alias is refused as the key that the alias was found to stand for, too.
        known_as = {answer.key.key_arn for each, answer in self._answers.items() if each.asked in asked}
        ended = _Refusal(names=frozenset({*asked, *known_as}), principal=principal)
        for each in [each for each, answer in self._answers.items() if ended.ends(each, answer)]:
            del self._answers[each]
        for meanwhile in self._refusals.values():
            meanwhile.add(ended)

    # --- the key service

    async def _generate(
        self, bucket: OpenBucket, key_id: str, context: Mapping[str, str], requester: Requester
    ) -> OpenBucketKey:
        data_key = await self._provider.generate_data_key(key_id, context, requester)
        row = KmsBucketKey(
            bucket_key_id=secrets.token_bytes(16),
            key_arn=data_key.sealed.key_arn,
            material_id=data_key.sealed.material_id,
            created_us=self._now_us(),
            ciphertext_blob=data_key.sealed.ciphertext_blob,
            context=context,
        )
        await self._store(bucket, row)
        return _open(row, data_key)

    async def _decrypt(self, row: KmsBucketKey, requester: Requester) -> OpenBucketKey:
        return _open(row, await self._provider.decrypt(row.key_arn, row.ciphertext_blob, row.context, requester))

    async def _store(self, bucket: OpenBucket, row: KmsBucketKey) -> None:
        while True:

            def insert(tx: Connection, bucket: OpenBucket = bucket) -> None:
                check_unchanged(tx, bucket)
                insert_bucket_key(tx, bucket, row)

            try:
                return await self._database.transact(insert)
            except StaleBucket:
                again = await self._keyring.open_bucket(bucket.bucket.name)
                if again is None or again.bucket_id != bucket.bucket_id:
                    raise
                bucket = again


def _open(row: KmsBucketKey, data_key: DataKey) -> OpenBucketKey:
    return OpenBucketKey(
        bucket_key_id=row.bucket_key_id,
        key_arn=row.key_arn,
        material_id=row.material_id,
        plaintext=data_key.plaintext,
    )
