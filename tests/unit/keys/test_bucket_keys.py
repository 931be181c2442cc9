import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

import pytest

from strongroom.crypto.errors import IntegrityError
from strongroom.database.database import Unavailable
from strongroom.identity.requester import Requester
from strongroom.keys.bucket_keys import KmsBucketKeys
from strongroom.keys.provider import KeyServiceRefusal, KeyServiceUnavailable
from strongroom.metadata import bucket_keys, buckets
from strongroom.metadata.buckets import StaleBucket
from strongroom.metadata.records import BucketConfig, OpenBucket
from strongroom.observe import metrics
from tests.kms_stub import KEY_ARN, KEY_ID, OTHER_KEY_ARN, person
from tests.unit.keys.fake_provider import FakeProvider, refuse
from tests.unit.metadata.conftest import Index, with_index  # noqa: F401 - a fixture
from tests.unit.observe.test_metrics import samples

ANNA, BERT = person("anna"), person("bert")
BUCKET_ARN = "arn:aws:s3:::bucket"
WINDOW = 300.0


@dataclass
class Worker:
    """One process's bucket keys, with a clock that only the test moves."""

    index: Index
    bucket: OpenBucket
    provider: FakeProvider
    window: float = WINDOW
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.keys = KmsBucketKeys(
            self.index.database,
            self.index.keyring,
            self.provider,
            now_us=lambda: 7,
            window=self.window,
            monotonic=lambda: self.now,
        )

    async def write(self, who: Requester = ANNA, key_id: str = KEY_ARN, **context: str):
        return await self.keys.for_write(self.bucket, BUCKET_ARN, key_id, context, who)

    async def read(self, bucket_key_id: bytes, who: Requester = ANNA):
        return await self.keys.for_read(self.bucket, bucket_key_id, who)


@pytest.fixture
def with_worker(with_index):  # noqa: F811
    def run(work: Callable[[Worker], Awaitable[None]], **given) -> None:
        async def opened(index: Index) -> None:
            worker = Worker(index, await index.bucket(), FakeProvider(), **given)
            try:
                await work(worker)
            finally:
                await worker.keys.close()

        with_index(opened)

    return run


async def refused(asked: Awaitable[object], code: str = "AccessDeniedException") -> None:
    with pytest.raises(KeyServiceRefusal) as refusal:
        await asked
    assert refusal.value.code == code


def test_one_key_serves_the_writes_of_a_requester_for_a_window(with_worker) -> None:
    async def work(worker: Worker) -> None:
        before = samples(metrics.exposition().decode())
        first = await worker.write(team="x")
        assert (first.key_arn, len(first.plaintext), len(first.bucket_key_id)) == (KEY_ARN, 32, 16)
        assert first.plaintext not in repr(first).encode()
        for _ in range(99):
            worker.now += 3
            assert await worker.write(team="x") == first
        assert len(worker.provider.asked) == 1
        assert worker.provider.asked[0].context == {"aws:s3:arn": BUCKET_ARN, "team": "x"}
        worker.now = 1299.99
        assert await worker.write(team="x") == first
        worker.now = 1300.0  # use has not extended it
        assert (await worker.write(team="x")).bucket_key_id != first.bucket_key_id
        after = samples(metrics.exposition().decode())
        for kind, number in (("hit", 100), ("miss", 2)):
            name = "strongroom_bucket_key_lookups_total", (("found", kind), ("operation", "GenerateDataKey"))
            assert after[name] - before.get(name, 0) == number

    with_worker(work)


def test_the_row_is_there_before_anybody_has_the_key(with_worker) -> None:
    async def work(worker: Worker) -> None:
        key = await worker.write()
        row = await bucket_keys.get_bucket_key(worker.index.database, worker.bucket, key.bucket_key_id)
        assert (row.key_arn, row.material_id, row.created_us) == (KEY_ARN, key.material_id, 7)
        assert row.context == {"aws:s3:arn": BUCKET_ARN}
        assert worker.provider.plaintexts[row.ciphertext_blob] == key.plaintext

    with_worker(work)


def test_no_row_no_key(with_worker, monkeypatch) -> None:
    async def work(worker: Worker) -> None:
        async def fails(*_: object, **__: object) -> None:
            raise Unavailable("full")

        with monkeypatch.context() as patched:
            patched.setattr(worker.index.database, "transact", fails)
            with pytest.raises(Unavailable):
                await worker.write()
        await worker.write()
        assert len(worker.provider.asked) == 2

    with_worker(work)


def test_a_client_pair_does_not_pose_as_the_bucket(with_worker) -> None:
    async def work(worker: Worker) -> None:
        await worker.keys.for_write(worker.bucket, BUCKET_ARN, KEY_ARN, {"aws:s3:arn": "arn:aws:s3:::other"}, ANNA)
        assert worker.provider.asked[0].context == {"aws:s3:arn": BUCKET_ARN}

    with_worker(work)


@pytest.mark.parametrize(
    "who",
    [
        BERT,
        replace(ANNA, access_key_id="SR2"),
        replace(ANNA, source_ip="198.51.100.1"),
        replace(ANNA, secure_transport=False),
        replace(ANNA, principal=replace(ANNA.principal, account_id="444455556666")),
    ],
)
def test_whoever_a_policy_may_tell_apart_asks_for_themselves(with_worker, who: Requester) -> None:
    async def work(worker: Worker) -> None:
        key = await worker.write()
        await worker.read(key.bucket_key_id)
        assert (await worker.write(who)).bucket_key_id != key.bucket_key_id
        await worker.read(key.bucket_key_id, who)
        assert [each.action for each in worker.provider.asked] == ["GenerateDataKey", "Decrypt"] * 2

    with_worker(work)


def test_another_request_of_the_same_client_is_served(with_worker) -> None:
    async def work(worker: Worker) -> None:
        key = await worker.write()
        assert await worker.write(replace(ANNA, request_id="another", user_agent="another")) == key

    with_worker(work)


def test_another_key_context_or_bucket_is_another_question(with_worker) -> None:
    async def work(worker: Worker) -> None:
        other = await worker.index.bucket("other")
        keys = [
            await worker.write(),
            await worker.write(team="x"),
            await worker.write(team="y"),
            await worker.write(key_id=OTHER_KEY_ARN),
            await worker.write(key_id="alias/mine"),
            await worker.keys.for_write(other, "arn:aws:s3:::other", KEY_ARN, {}, ANNA),
        ]
        assert len({key.bucket_key_id for key in keys}) == len({key.plaintext for key in keys}) == 6
        assert [key.key_arn for key in keys] == [KEY_ARN] * 3 + [OTHER_KEY_ARN, KEY_ARN, KEY_ARN]

    with_worker(work)


def test_the_right_to_write_is_not_the_right_to_read(with_worker) -> None:
    async def work(worker: Worker) -> None:
        worker.provider.judge = refuse(action="Decrypt")
        key = await worker.write()
        await refused(worker.read(key.bucket_key_id))

    with_worker(work)


def test_a_read_opens_the_key_that_is_named_with_its_own_context(with_worker) -> None:
    async def work(worker: Worker) -> None:
        one, two = await worker.write(team="x"), await worker.write(key_id=OTHER_KEY_ARN)
        for _ in range(3):
            assert await worker.read(one.bucket_key_id, BERT) == one
            assert await worker.read(two.bucket_key_id, BERT) == two
        asked = worker.provider.asked[2:]
        assert [(each.key_id, each.context) for each in asked] == [
            (KEY_ARN, {"aws:s3:arn": BUCKET_ARN, "team": "x"}),
            (OTHER_KEY_ARN, {"aws:s3:arn": BUCKET_ARN}),
        ]
        worker.now += WINDOW
        await worker.read(one.bucket_key_id, BERT)
        assert len(worker.provider.asked) == 5

    with_worker(work)


def test_two_keys_of_one_bucket_are_never_taken_for_each_other(with_worker) -> None:
    """Each requester who writes has one of their own, and so has each window: a reader meets many."""

    async def work(worker: Worker) -> None:
        made = [await worker.write(), await worker.write(BERT)]
        worker.now += WINDOW
        made.append(await worker.write())
        assert len({key.plaintext for key in made}) == 3
        for _ in range(2):
            for key in made:
                assert await worker.read(key.bucket_key_id, BERT) == key
        assert [each.action for each in worker.provider.asked] == ["GenerateDataKey"] * 3 + ["Decrypt"] * 3
        at_once = await asyncio.gather(*(worker.read(key.bucket_key_id) for key in made))
        assert at_once == made

    with_worker(work)


def test_a_row_that_is_missing_or_was_changed_is_damage_even_within_the_window(with_worker) -> None:
    async def work(worker: Worker) -> None:
        key = await worker.write()
        await worker.read(key.bucket_key_id)
        with pytest.raises(IntegrityError, match="does not exist"):
            await worker.read(bytes(16))
        await worker.index.do(lambda tx: tx.execute("UPDATE bucket_keys SET revision = 2"))
        with pytest.raises(IntegrityError):
            await worker.read(key.bucket_key_id)

    with_worker(work)


def test_a_key_sealed_anew_under_another_cmk_is_judged_by_that_one(with_worker) -> None:
    async def work(worker: Worker) -> None:
        key = await worker.write()
        await worker.read(key.bucket_key_id)
        old = await bucket_keys.get_bucket_key(worker.index.database, worker.bucket, key.bucket_key_id)
        moved = await worker.provider.re_encrypt(
            KEY_ARN, old.ciphertext_blob, old.context, to_key_id=OTHER_KEY_ARN, to_context=old.context, requester=BERT
        )
        new = replace(old, key_arn=moved.key_arn, ciphertext_blob=moved.ciphertext_blob)
        await worker.index.do(bucket_keys.update_bucket_key, worker.bucket, old, new)
        worker.provider.judge = refuse(key_arn=OTHER_KEY_ARN)
        await refused(worker.read(key.bucket_key_id))
        worker.provider.judge = None
        read = await worker.read(key.bucket_key_id)
        assert (read.plaintext, read.key_arn) == (key.plaintext, OTHER_KEY_ARN)

    with_worker(work)


# --- who may not


def test_one_who_fills_the_cache_fills_it_for_nobody_else_also_fifty_at_once(with_worker) -> None:
    async def work(worker: Worker) -> None:
        worker.provider.judge = refuse(principal=BERT.principal.arn)
        key = await worker.write()
        await worker.read(key.bucket_key_id)
        worker.now += WINDOW
        worker.provider.gate = asyncio.Event()
        asked = [
            asyncio.create_task(each)
            for _ in range(50)
            for each in (
                worker.write(ANNA),
                worker.write(BERT),
                worker.read(key.bucket_key_id, ANNA),
                worker.read(key.bucket_key_id, BERT),
            )
        ]
        await asyncio.sleep(0)
        worker.provider.gate.set()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert len({answer.bucket_key_id for answer in answers[0::4]}) == 1  # type: ignore[union-attr]
        assert {answer.plaintext for answer in answers[2::4]} == {key.plaintext}  # type: ignore[union-attr]
        for answer in (*answers[1::4], *answers[3::4]):
            assert isinstance(answer, KeyServiceRefusal)
        assert len(worker.provider.asked) == 2 + 4
        await refused(worker.write(BERT))
        assert len(await worker.index.rows("SELECT 1 FROM bucket_keys")) == 2

    with_worker(work)


def test_a_right_taken_away_ends_with_the_window(with_worker) -> None:
    async def work(worker: Worker) -> None:
        key = await worker.write()
        await worker.read(key.bucket_key_id)
        worker.provider.judge = refuse()
        worker.now += 299.9
        await worker.write()
        await worker.read(key.bucket_key_id)
        worker.now += 0.1
        await refused(worker.write())
        await refused(worker.read(key.bucket_key_id))

    with_worker(work)


@pytest.mark.parametrize("code", ["DisabledException", "KMSInvalidStateException", "NotFoundException"])
@pytest.mark.parametrize("named", [KEY_ARN, KEY_ID, "alias/mine"])
def test_a_key_that_is_off_ends_what_anybody_was_allowed_with_it(with_worker, code: str, named: str) -> None:
    async def work(worker: Worker) -> None:
        ids = (KEY_ARN, KEY_ID, "alias/mine")
        keys = {(each, who): await worker.write(who, each) for each in ids for who in (ANNA, BERT)}
        key = keys[KEY_ARN, ANNA]
        await worker.read(key.bucket_key_id)
        spared = await worker.write(key_id=OTHER_KEY_ARN)
        worker.provider.judge = refuse(code, key_arn=KEY_ARN)
        await refused(worker.write(person("carl"), named), code)  # somebody learns of it
        if named == "alias/mine":  # who has never used it cannot know what it stood for
            await refused(worker.write(ANNA, named, team="new"), code)
        for each in ids:
            for who in (ANNA, BERT):
                await refused(worker.write(who, each), code)
        await refused(worker.read(key.bucket_key_id), code)
        worker.provider.judge = None
        assert await worker.write(key_id=OTHER_KEY_ARN) == spared
        for (each, who), before in keys.items():
            assert await worker.write(who, each) != before

    with_worker(work)


def test_access_denied_ends_what_that_person_was_allowed_with_the_key_and_nobody_elses(with_worker) -> None:
    async def work(worker: Worker) -> None:
        annas, berts = await worker.write(ANNA), await worker.write(BERT)
        spared = await worker.write(ANNA, OTHER_KEY_ARN)
        elsewhere = replace(ANNA, source_ip="198.51.100.1")
        await worker.write(elsewhere)
        worker.provider.judge = refuse(principal=ANNA.principal.arn, key_arn=KEY_ARN)
        await refused(worker.read(annas.bucket_key_id, ANNA))
        await refused(worker.write(ANNA))
        await refused(worker.write(elsewhere))
        assert await worker.write(BERT) == berts
        assert await worker.write(ANNA, OTHER_KEY_ARN) == spared

    with_worker(work)


@pytest.mark.parametrize("code", ["InvalidCiphertextException", "ThrottlingException", "ValidationException"])
def test_other_refusals_say_nothing_of_the_key(with_worker, code: str) -> None:
    async def work(worker: Worker) -> None:
        key = await worker.write()
        worker.provider.judge = refuse(code)
        await refused(worker.write(team="new"), code)
        assert await worker.write() == key

    with_worker(work)


def test_what_was_allowed_while_the_key_was_switched_off_is_not_kept(with_worker) -> None:
    """The answer to Anna was judged before, and arrives after, Bert was told that the key is off."""

    async def work(worker: Worker) -> None:
        worker.provider.late = {ANNA.principal.arn: asyncio.Event()}
        early = asyncio.create_task(worker.write(ANNA, "alias/mine"))
        async with asyncio.timeout(60):
            await worker.provider.judged.wait()
        worker.provider.judge = refuse("DisabledException")
        await refused(worker.write(BERT), "DisabledException")
        worker.provider.late.pop(ANNA.principal.arn).set()
        await early
        await refused(worker.write(ANNA, "alias/mine"), "DisabledException")

    with_worker(work)


def test_while_the_key_service_is_away_those_who_were_allowed_go_on_for_the_window(with_worker) -> None:
    async def work(worker: Worker) -> None:
        key = await worker.write()
        worker.provider.error = KeyServiceUnavailable("away")
        worker.now += 299
        assert await worker.write() == key
        with pytest.raises(KeyServiceUnavailable):
            await worker.read(key.bucket_key_id)
        worker.now += 1
        with pytest.raises(KeyServiceUnavailable):
            await worker.write()

    with_worker(work)


def test_the_window_begins_when_the_key_service_is_asked(with_worker) -> None:
    async def work(worker: Worker) -> None:
        worker.provider.gate = asyncio.Event()
        slow = asyncio.create_task(worker.write())
        async with asyncio.timeout(60):
            await worker.provider.asking.wait()
        worker.now += 9
        worker.provider.gate.set()
        key = await slow
        worker.now += 290.9
        assert await worker.write() == key
        worker.now += 0.1
        assert await worker.write() != key

    with_worker(work)


def test_without_a_window_nothing_is_kept(with_worker) -> None:
    async def work(worker: Worker) -> None:
        assert await worker.write() != await worker.write()
        assert not worker.keys._answers

    with_worker(work, window=0.0)


@pytest.mark.parametrize("action", ["write", "read"])
def test_without_a_window_no_answer_is_older_than_its_question(with_worker, action: str) -> None:
    """What was taken away before somebody asked is refused to them, also beside an answer that is under way."""

    async def work(worker: Worker) -> None:
        key = await worker.write()
        ask = worker.write if action == "write" else partial(worker.read, key.bucket_key_id)
        worker.provider.judged.clear()
        worker.provider.late[ANNA.principal.arn] = late = asyncio.Event()
        first = asyncio.ensure_future(ask())
        await worker.provider.judged.wait()
        worker.provider.judge = refuse()
        second = asyncio.ensure_future(ask())
        await asyncio.sleep(0.01)
        late.set()
        assert await first
        await refused(second)

    with_worker(work, window=0.0)


@pytest.mark.parametrize("window", [-1.0, 300.1, float("nan"), float("inf")])
def test_no_window_is_longer_than_five_minutes(window: float) -> None:
    with pytest.raises(ValueError, match="is not between 0 and 300 s"):
        KmsBucketKeys(None, None, None, now_us=lambda: 0, window=window)  # type: ignore[arg-type]


def test_keys_in_clear_are_few_and_gone_soon_after_their_window(with_worker) -> None:
    async def work(worker: Worker) -> None:
        key = await worker.write()
        for number in range(50):
            await worker.write(number=str(number))
        assert len(worker.keys._answers) == 20
        assert await worker.write(number="49") is not None
        assert await worker.write() != key  # the longest unused made room
        worker.now += 3.0
        async with asyncio.timeout(60):
            while worker.keys._answers:  # noqa: ASYNC110 - what is waited for is that nothing is left
                await asyncio.sleep(0.01)
        assert worker.keys._sweeping is None

    from strongroom.keys import bucket_keys as module

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "_REMEMBERED", 20)
        with_worker(work, window=3.0)


# --- the bucket behind it


def test_a_bucket_that_changed_meanwhile_is_opened_again(with_worker) -> None:
    async def work(worker: Worker) -> None:
        config = BucketConfig(owner_account="000000000000", tags=(("a", "b"),))
        await worker.index.do(buckets.update_bucket, worker.bucket, config=config)
        key = await worker.write()
        now = await worker.index.keyring.open_bucket("bucket")
        assert now
        await bucket_keys.get_bucket_key(worker.index.database, now, key.bucket_key_id)

    with_worker(work)


def test_a_bucket_that_went_gets_no_key_nor_does_its_namesake(with_worker) -> None:
    async def work(worker: Worker) -> None:
        await worker.index.do(buckets.delete_bucket, worker.bucket, delete_after_us=1)
        with pytest.raises(StaleBucket):
            await worker.write()
        await worker.index.bucket()
        with pytest.raises(StaleBucket):
            await worker.write()
        assert await worker.index.rows("SELECT 1 FROM bucket_keys") == []

    with_worker(work)


def test_a_client_that_goes_away_takes_the_key_from_nobody(with_worker) -> None:
    async def work(worker: Worker) -> None:
        worker.provider.gate = asyncio.Event()
        first, second = (asyncio.create_task(worker.write()) for _ in range(2))
        async with asyncio.timeout(60):
            await worker.provider.asking.wait()
        first.cancel()
        worker.provider.gate.set()
        assert await second == await worker.write()
        assert len(worker.provider.asked) == 1

    with_worker(work)
