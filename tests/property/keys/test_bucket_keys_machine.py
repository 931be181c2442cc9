"""Bucket keys against a model of the key service: nobody is ever served whom it has not allowed that action within the
window, nor after anybody learnt that the key is off, whatever people, keys, rights, clocks and requests do.
"""

import asyncio
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from strongroom.database.migrations import migrate, migrations_of
from strongroom.database.sqlite import SqliteDatabase
from strongroom.identity.requester import Requester
from strongroom.keys.bucket_keys import KmsBucketKeys, OpenBucketKey
from strongroom.keys.keyring import Keyring
from strongroom.keys.provider import KeyServiceRefusal
from strongroom.keys.store_keys import store_key_id
from strongroom.metadata.bucket_keys import get_bucket_key
from strongroom.metadata.records import BucketConfig, OpenBucket
from tests.kms_stub import KEY_ARN, KEY_ID, OTHER_KEY_ARN, person
from tests.unit.keys.fake_provider import Asked, FakeProvider

WINDOW = 300
PEOPLE = [person("anna"), person("bert"), person("anna", source_ip="198.51.100.7")]
KEYS = [KEY_ARN, OTHER_KEY_ARN]
NAMES = [KEY_ARN, KEY_ID, OTHER_KEY_ARN, "alias/mine"]
ACTIONS = ["GenerateDataKey", "Decrypt"]
CONTEXTS: list[dict[str, str]] = [{}, {"team": "x"}]

people = st.sampled_from(PEOPLE)
writes = st.tuples(people, st.sampled_from(NAMES), st.sampled_from(CONTEXTS))


@dataclass(frozen=True)
class Judgement:
    """What the key service said of a question; `refusal`: "" where it allowed it."""

    at: float
    asked: Asked
    refusal: str

    def ends(self, who: Requester, key_arn: str) -> bool:
        """Whether it takes from `who` what they were allowed with the key. Asked for by an alias, only those have to
        know which key it was who had an answer for that alias.
        """
        if self.asked.key_arn != key_arn or self.asked.key_id == "alias/mine":
            return False
        same = self.asked.requester.principal == who.principal
        return self.refusal == "DisabledException" or (self.refusal == "AccessDeniedException" and same)


class BucketKeysMachine(RuleBasedStateMachine):
    made = Bundle("made")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = tempfile.TemporaryDirectory()
        path = Path(self.directory.name) / "index.db"
        migrate(path, migrations_of("index"))
        self.database = SqliteDatabase.open(path, reserve_bytes=0)
        self.now = 0.0
        self.rights: set[tuple[str, str, str]] = set()
        self.off: set[str] = set()
        self.judgements: list[Judgement] = []
        self.provider = FakeProvider(judge=self.judge)

    @initialize()
    def start(self) -> None:
        async def work() -> OpenBucket:
            key = secrets.token_bytes(32)
            await self.database.transact(
                lambda tx: tx.execute("INSERT INTO store VALUES ('primary_store_key_id', ?)", (store_key_id(key),))
            )
            keyring = Keyring(
                self.database, store_id=bytes(16), load=lambda: {store_key_id(key): key}, now_us=lambda: 1
            )
            self.keys = KmsBucketKeys(
                self.database,
                keyring,
                self.provider,
                now_us=lambda: 1,
                window=WINDOW,
                monotonic=lambda: self.now,
            )
            await keyring.create_bucket("bucket", BucketConfig(owner_account="000000000000"))
            bucket = await keyring.open_bucket("bucket")
            assert bucket
            return bucket

        self.bucket = self.loop.run_until_complete(work())
        self.rights = {(who.principal.arn, action, key) for who in PEOPLE for action in ACTIONS for key in KEYS}

    def teardown(self) -> None:
        async def work() -> None:
            await self.keys.close()
            await self.database.close()

        self.loop.run_until_complete(work())
        self.loop.close()
        self.directory.cleanup()

    # --- the key service

    def judge(self, asked: Asked) -> None:
        refusal = ""
        if (asked.requester.principal.arn, asked.action, asked.key_arn) not in self.rights:
            refusal = "AccessDeniedException"
        elif asked.key_arn in self.off:
            refusal = "DisabledException"
        self.judgements.append(Judgement(self.now, asked, refusal))
        if refusal:
            raise KeyServiceRefusal(refusal, "no")

    @rule(who=people, action=st.sampled_from(ACTIONS), key=st.sampled_from(KEYS), allow=st.booleans())
    def change_a_right(self, who: Requester, action: str, key: str, allow: bool) -> None:
        (self.rights.add if allow else self.rights.discard)((who.principal.arn, action, key))

    @rule(key=st.sampled_from(KEYS), on=st.booleans())
    def switch_a_key(self, key: str, on: bool) -> None:
        (self.off.discard if on else self.off.add)(key)

    @rule(key=st.sampled_from(KEYS))
    def point_the_alias(self, key: str) -> None:
        self.provider.aliases["alias/mine"] = key

    @rule(seconds=st.sampled_from([0.5, 1, 100, 149, 299.5, 300]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    # --- S3

    @rule(asked=writes, pauses=st.lists(st.sampled_from([1, 100, 149, 299.5]), max_size=4))
    def go_on_writing(self, asked: tuple[Requester, str, dict[str, str]], pauses: list[float]) -> None:
        self.ask_for_writes([asked])
        for pause in pauses:
            self.now += pause
            self.ask_for_writes([asked])

    @rule(target=made, asked=st.lists(writes, min_size=1, max_size=8))
    def write(self, asked: list[tuple[Requester, str, dict[str, str]]]):
        return multiple(*self.ask_for_writes(asked))

    def ask_for_writes(self, asked: list[tuple[Requester, str, dict[str, str]]]) -> list[OpenBucketKey]:
        """The keys of those who got one."""

        async def work() -> list[OpenBucketKey | BaseException]:
            return await asyncio.gather(
                *(
                    self.keys.for_write(self.bucket, "arn:aws:s3:::bucket", name, context, who)
                    for who, name, context in asked
                ),
                return_exceptions=True,
            )

        since = len(self.judgements)
        answers = self.loop.run_until_complete(work())
        served = []
        for (who, name, context), given in zip(asked, answers, strict=True):
            if answer := self.served(given, who, "GenerateDataKey", since):
                assert name == "alias/mine" or answer.key_arn == self.provider.aliases.get(name, name)
                row = self.loop.run_until_complete(get_bucket_key(self.database, self.bucket, answer.bucket_key_id))
                assert row.context == {"aws:s3:arn": "arn:aws:s3:::bucket", **context}
                assert self.provider.plaintexts[row.ciphertext_blob] == answer.plaintext
                served.append(answer)
        return served

    @rule(asked=st.lists(st.tuples(people, made), min_size=1, max_size=8))
    def read(self, asked: list[tuple[Requester, OpenBucketKey]]) -> None:
        async def work() -> list[OpenBucketKey | BaseException]:
            return await asyncio.gather(
                *(self.keys.for_read(self.bucket, key.bucket_key_id, who) for who, key in asked),
                return_exceptions=True,
            )

        since = len(self.judgements)
        for (who, key), given in zip(asked, self.loop.run_until_complete(work()), strict=True):
            if answer := self.served(given, who, "Decrypt", since):
                assert answer == key

    def served(
        self, answer: OpenBucketKey | BaseException, who: Requester, action: str, since: int
    ) -> OpenBucketKey | None:
        """The key, if one was given, and never without a judgement that holds: since then nobody was told otherwise (but beside
        the request itself), and the window has not ended.
        """
        if isinstance(answer, KeyServiceRefusal):
            return None
        assert isinstance(answer, OpenBucketKey), answer
        for place in range(len(self.judgements) - 1, -1, -1):
            judgement = self.judgements[place]
            asked = judgement.asked
            if place < since and judgement.ends(who, answer.key_arn):
                break
            if (
                not judgement.refusal
                and (asked.action, asked.key_arn) == (action, answer.key_arn)
                and asked.requester.standing == who.standing
                and self.now < judgement.at + WINDOW
            ):
                return answer
        raise AssertionError(f"{who} was served {action} with {answer.key_arn} without having been allowed it")

    @invariant()
    def few_keys_are_asked_for(self) -> None:
        """One data key for each question and window at most: reuse is real."""
        made = [
            (each.asked.key_id, each.asked.key_arn, str(each.asked.context), each.asked.requester.standing)
            for each in self.judgements
            if each.asked.action == "GenerateDataKey" and not each.refusal
        ]
        if not self.off and not any(each.refusal for each in self.judgements):
            windows = self.now // WINDOW + 1
            assert len(made) <= len(set(made)) * 2 * windows


TestBucketKeys = BucketKeysMachine.TestCase
TestBucketKeys.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
