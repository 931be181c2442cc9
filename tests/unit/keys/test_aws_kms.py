import asyncio
import gc
import logging
import os
import secrets
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from strongroom.edge.certificates import ensure_certificates
from strongroom.keys import aws_kms_blocking
from strongroom.keys.aws_kms import LIMITS, AwsKms, Limits
from strongroom.keys.kms_endpoint import (
    FixedCredentials,
    KmsEndpoint,
    ServiceCredentials,
    at_amazon,
    on_this_machine,
)
from strongroom.keys.provider import KeyServiceMisbehaved, KeyServiceRefusal, KeyServiceUnavailable
from strongroom.observe import metrics
from tests.kms_stub import (
    CREDENTIALS,
    KEY_ARN,
    KEY_ID,
    OTHER_KEY_ARN,
    REGION,
    Call,
    Mood,
    Refused,
    StubKms,
    changed,
    cut,
    endless,
    error,
    good,
    listening,
    person,
    raw,
    reset,
    waiting,
)
from tests.unit.observe.test_metrics import samples

QUICK = replace(LIMITS, longest_pause=0.01)
CONTEXT = {"aws:s3:arn": "arn:aws:s3:::bucket/key", "team": "\u00fcber"}
ANNA, BERT = person("anna"), person("bert")


def run(
    work: Callable[[AwsKms, StubKms], Awaitable[None]],
    tmp_path: Path,
    *,
    limits: Limits = QUICK,
    stub: StubKms | None = None,
) -> None:
    """`work` with a connector and the KMS behind its Unix socket."""

    async def opened() -> None:
        kms = stub or StubKms()
        path = tmp_path / "kms.sock"
        provider = AwsKms(on_this_machine(path, CREDENTIALS, region=REGION), limits)
        try:
            async with listening(kms, path):
                await work(provider, kms)
        finally:
            await provider.close()

    asyncio.run(opened())


async def passes(condition: Callable[[], object], *, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the stub knows nothing of events
            await asyncio.sleep(0.005)


def told(before: dict[Any, float] | None = None) -> dict[Any, float]:
    now = samples(metrics.exposition().decode())
    return {key: value - (before or {}).get(key, 0) for key, value in now.items()}


# --- the five questions


def test_all_five_operations(tmp_path) -> None:
    async def work(provider: AwsKms, stub: StubKms) -> None:
        key = await provider.generate_data_key("alias/mine", CONTEXT, ANNA)
        assert (key.sealed.key_arn, len(key.plaintext)) == (KEY_ARN, 32)
        assert key.sealed.material_id == b"\xab" * 32
        assert await provider.decrypt(KEY_ARN, key.sealed.ciphertext_blob, CONTEXT, ANNA) == key
        material = secrets.token_bytes(32)
        sealed = await provider.encrypt(KEY_ID, material, {}, ANNA)
        assert sealed.material_id is None
        moved = await provider.re_encrypt(
            KEY_ARN, sealed.ciphertext_blob, {}, to_key_id=OTHER_KEY_ARN, to_context=CONTEXT, requester=ANNA
        )
        assert moved.key_arn == OTHER_KEY_ARN
        assert (await provider.decrypt(OTHER_KEY_ARN, moved.ciphertext_blob, CONTEXT, ANNA)).plaintext == material
        description = await provider.describe_key(KEY_ID, ANNA)
        assert (description.key_arn, description.key_state) == (KEY_ARN, "Enabled")
        assert stub.requests == len(stub.calls) == 6

    run(work, tmp_path)


def test_two_data_keys_are_never_one(tmp_path) -> None:
    async def work(provider: AwsKms, stub: StubKms) -> None:
        keys = await asyncio.gather(*(provider.generate_data_key(KEY_ARN, CONTEXT, ANNA) for _ in range(20)))
        assert len({key.plaintext for key in keys}) == 20 == stub.seen("GenerateDataKey")

    run(work, tmp_path)


def test_the_person_is_named_to_our_kms_in_the_signed_header(tmp_path) -> None:
    async def work(provider: AwsKms, stub: StubKms) -> None:
        await provider.describe_key(KEY_ARN, ANNA)
        assert stub.calls[0].requester == ANNA

    run(work, tmp_path)


def test_a_refusal_is_final_and_passed_on(tmp_path) -> None:
    def judge(call: Call) -> None:
        if call.requester == BERT:
            raise Refused("AccessDeniedException", "User: bert is not authorized")

    async def work(provider: AwsKms, stub: StubKms) -> None:
        with pytest.raises(KeyServiceRefusal) as refused:
            await provider.generate_data_key(KEY_ARN, CONTEXT, BERT)
        assert (refused.value.code, refused.value.message) == ("AccessDeniedException", "User: bert is not authorized")
        for code in ("DisabledException", "KMSInvalidStateException", "NotFoundException", "LimitExceededException"):
            stub.script.append(error(400, code))
            with pytest.raises(KeyServiceRefusal, match=code):
                await provider.describe_key(KEY_ARN, ANNA)
        stub.script.append(error(400, "InvalidSignatureException"))
        with pytest.raises(KeyServiceUnavailable, match="does not accept this server's credentials"):
            await provider.describe_key(KEY_ARN, ANNA)
        assert stub.requests == 6

    run(work, tmp_path, stub=StubKms(judge=judge))


# --- retries


@pytest.mark.parametrize(
    "mood",
    [
        reset,
        cut,
        error(500, "KMSInternalException"),
        error(503),
        raw(b"<html>", status=502),
        error(429),
        error(400, "ThrottlingException"),
    ],
)
def test_what_may_pass_is_tried_again_and_then_once_more(tmp_path, mood: Mood) -> None:
    async def work(provider: AwsKms, stub: StubKms) -> None:
        before = told()
        stub.script.extend([mood, mood])
        await provider.generate_data_key(KEY_ARN, CONTEXT, ANNA)
        assert stub.requests == 3
        counted = told(before)
        assert counted["strongroom_kms_retries_total", (("operation", "GenerateDataKey"),)] == 2
        ok = (("operation", "GenerateDataKey"), ("outcome", "ok"))
        assert counted["strongroom_kms_calls_total", ok] == 1

    run(work, tmp_path)


@pytest.mark.parametrize(
    ("mood", "expected", "outcome"),
    [
        (reset, KeyServiceUnavailable, "unavailable"),
        (error(503), KeyServiceUnavailable, "unavailable"),
        (error(400, "ThrottlingException", "Rate exceeded"), KeyServiceRefusal, "throttled"),
        (error(429), KeyServiceRefusal, "throttled"),
    ],
)
def test_three_attempts_are_all(tmp_path, mood: Mood, expected: type[Exception], outcome: str) -> None:
    async def work(provider: AwsKms, stub: StubKms) -> None:
        before = told()
        stub.script.extend([mood] * 3)
        with pytest.raises(expected):
            await provider.describe_key(KEY_ARN, ANNA)
        assert stub.requests == 3
        labels = (("operation", "DescribeKey"), ("outcome", outcome))
        assert told(before)["strongroom_kms_calls_total", labels] == 1

    run(work, tmp_path)


@pytest.mark.parametrize(
    "mood",
    [
        changed(KeyId=OTHER_KEY_ARN),
        changed(KeyId=KEY_ID),
        changed(KeyId=None),
        changed(Plaintext="A" * 40 + "AA=="),
        changed(Plaintext=None),
        changed(CiphertextBlob=""),
        changed(KeyMaterialId="x"),
        raw(b"{"),
        raw(b""),
        raw(b"[]"),
        raw(b" " * 70_000),
        endless(),
        raw(b"<html>", status=404),
        error(400),
    ],
)
def test_an_answer_that_cannot_be_right_is_an_alarm_and_asked_for_once(tmp_path, mood: Mood) -> None:
    async def work(provider: AwsKms, stub: StubKms) -> None:
        before = told()
        stub.script.append(mood)
        with pytest.raises(KeyServiceMisbehaved):
            await provider.generate_data_key(KEY_ARN, CONTEXT, ANNA)
        assert stub.requests == 1
        assert told(before)["strongroom_integrity_errors_total", ()] == 1
        await provider.generate_data_key(KEY_ARN, CONTEXT, ANNA)

    run(work, tmp_path)


def test_no_redirect_is_followed(tmp_path) -> None:
    async def redirect(_request: Any, _answer: Any) -> Any:
        from aiohttp import web

        return web.Response(status=307, headers={"location": "http://localhost/elsewhere"})

    async def work(provider: AwsKms, stub: StubKms) -> None:
        stub.script.append(redirect)
        with pytest.raises(KeyServiceMisbehaved):
            await provider.describe_key(KEY_ARN, ANNA)
        assert stub.requests == 1

    run(work, tmp_path)


# --- time


def test_all_attempts_together_keep_to_the_deadline(tmp_path) -> None:
    async def work(provider: AwsKms, stub: StubKms) -> None:
        never = asyncio.Event()
        stub.script.extend([error(503), waiting(never), waiting(never)])
        started = time.monotonic()
        with pytest.raises(KeyServiceUnavailable):
            await provider.generate_data_key(KEY_ARN, CONTEXT, ANNA)
        assert 0.3 <= time.monotonic() - started < 5
        assert stub.requests == 2
        never.set()

    run(work, tmp_path, limits=replace(QUICK, total=0.3))


def test_no_pause_goes_beyond_the_deadline(tmp_path) -> None:
    async def work(provider: AwsKms, stub: StubKms) -> None:
        stub.script.append(error(503))
        started = time.monotonic()
        with pytest.raises(KeyServiceUnavailable, match="answered 503"):
            await provider.describe_key(KEY_ARN, ANNA)
        assert time.monotonic() - started < 5
        assert stub.requests == 1

    run(work, tmp_path, limits=replace(LIMITS, longest_pause=1e9))


def test_the_limits_are_those_of_the_rules() -> None:
    assert (LIMITS.total, LIMITS.connect, LIMITS.retries) == (10.0, 1.0, 2)
    assert LIMITS.probe_every + LIMITS.probe <= 4  # the first success within five seconds, traffic included


# --- the circuit breaker


def test_a_dead_service_costs_milliseconds_and_is_found_again_by_itself(tmp_path) -> None:
    limits = replace(QUICK, open_after=5, probe_every=0.2)

    async def work(provider: AwsKms, stub: StubKms) -> None:
        await provider.describe_key(KEY_ARN, ANNA)

    async def all_of_it() -> None:
        path, stub = tmp_path / "kms.sock", StubKms()
        provider = AwsKms(on_this_machine(path, CREDENTIALS, region=REGION), limits)
        try:
            async with listening(stub, path):
                await work(provider, stub)
            for _ in range(2):  # six attempts
                with pytest.raises(KeyServiceUnavailable):
                    await work(provider, stub)
            assert told()["strongroom_kms_breakers_open", ()] == 1
            started = time.monotonic()
            for _ in range(100):
                with pytest.raises(KeyServiceUnavailable):
                    await provider.generate_data_key(KEY_ARN, CONTEXT, ANNA)
            assert time.monotonic() - started < 5
            async with listening(stub, path):
                back = time.monotonic()

                async def answered() -> bool:
                    try:
                        await work(provider, stub)
                    except KeyServiceUnavailable:
                        return False
                    return True

                while not await answered():  # noqa: ASYNC110 - traffic, as it comes
                    await asyncio.sleep(0.01)
                assert time.monotonic() - back < 5
            assert told()["strongroom_kms_breakers_open", ()] == 0
        finally:
            await provider.close()

    asyncio.run(all_of_it())


def test_a_service_that_hangs_opens_it_and_its_first_answer_closes_it(tmp_path) -> None:
    """It takes connections and says nothing, as a stopped process does; then it goes on."""
    limits = replace(QUICK, total=0.3, retries=0, open_after=5, probe_every=1.0, probe=0.2)

    async def work(provider: AwsKms, stub: StubKms) -> None:
        gate = asyncio.Event()
        stub.script.extend([waiting(gate)] * 1000)
        hanging = [provider.generate_data_key(KEY_ARN, CONTEXT, ANNA) for _ in range(20)]
        failed = await asyncio.gather(*hanging, return_exceptions=True)
        assert {type(each) for each in failed} == {KeyServiceUnavailable}
        with pytest.raises(KeyServiceUnavailable, match="has not answered lately"):
            await provider.generate_data_key(KEY_ARN, CONTEXT, ANNA)
        await asyncio.sleep(limits.probe_every)
        asked = stub.requests
        probes = await asyncio.gather(
            *(provider.generate_data_key(KEY_ARN, CONTEXT, ANNA) for _ in range(20)), return_exceptions=True
        )
        assert {type(each) for each in probes} == {KeyServiceUnavailable}
        assert stub.requests == asked + 1
        gate.set()
        back = time.monotonic()
        while True:
            try:
                await provider.generate_data_key(KEY_ARN, CONTEXT, ANNA)
            except KeyServiceUnavailable:
                await asyncio.sleep(0.01)
            else:
                break
        assert time.monotonic() - back < 5

    run(work, tmp_path, limits=limits)


def test_a_client_that_goes_away_with_the_probe_blocks_nobody(tmp_path) -> None:
    limits = replace(QUICK, total=5, retries=0, open_after=1, probe_every=0.0)

    async def work(provider: AwsKms, stub: StubKms) -> None:
        gate = asyncio.Event()
        stub.script.extend([reset, waiting(gate)])
        with pytest.raises(KeyServiceUnavailable):
            await provider.generate_data_key(KEY_ARN, CONTEXT, ANNA)
        probe = asyncio.create_task(provider.generate_data_key(KEY_ARN, CONTEXT, ANNA))
        await passes(lambda: stub.requests == 2)
        with pytest.raises(KeyServiceUnavailable, match="lately"):
            await provider.generate_data_key(KEY_ARN, CONTEXT, ANNA)
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
        await provider.generate_data_key(KEY_ARN, CONTEXT, ANNA)
        gate.set()

    run(work, tmp_path, limits=limits)


def test_refusals_and_faults_are_answers_and_never_open_it(tmp_path) -> None:
    async def work(provider: AwsKms, stub: StubKms) -> None:
        for mood in [error(500), error(400, "DisabledException"), error(400, "ThrottlingException"), raw(b"{")] * 5:
            stub.script.append(mood)
            with pytest.raises((KeyServiceRefusal, KeyServiceUnavailable, KeyServiceMisbehaved)):
                await provider.describe_key(KEY_ARN, ANNA)
        await provider.describe_key(KEY_ARN, ANNA)

    run(work, tmp_path, limits=replace(QUICK, retries=0, open_after=2))


# --- single flight


def test_equal_questions_of_one_requester_are_asked_once(tmp_path) -> None:
    async def work(provider: AwsKms, stub: StubKms) -> None:
        key = await provider.generate_data_key(KEY_ARN, CONTEXT, ANNA)
        blob, gate = key.sealed.ciphertext_blob, asyncio.Event()
        stub.script.append(waiting(gate))
        asked = [
            asyncio.create_task(provider.decrypt(KEY_ARN, blob, CONTEXT, person("anna", request_id=f"R{number}")))
            for number in range(50)
        ]
        await passes(lambda: stub.seen("Decrypt") == 1)
        asked[0].cancel()  # whoever asked first goes away
        gate.set()
        answers = await asyncio.gather(*asked[1:])
        assert {answer.plaintext for answer in answers} == {key.plaintext}
        assert stub.seen("Decrypt") == 1
        await provider.decrypt(KEY_ARN, blob, CONTEXT, ANNA)
        assert stub.seen("Decrypt") == 2  # nothing is kept

    run(work, tmp_path)


def test_a_right_that_was_taken_away_is_refused_to_the_next_beside_an_answer_under_way(tmp_path) -> None:
    """What the key service allowed before somebody asked isn't for them, though it is the same question."""
    allowed = True

    def judge(call: Call) -> None:
        if call.operation == "Decrypt" and not allowed:
            raise Refused("AccessDeniedException")

    async def work(provider: AwsKms, stub: StubKms) -> None:
        nonlocal allowed
        blob = (await provider.generate_data_key(KEY_ARN, CONTEXT, ANNA)).sealed.ciphertext_blob
        gate = asyncio.Event()
        stub.script.append(waiting(gate))
        before = asyncio.create_task(provider.decrypt(KEY_ARN, blob, CONTEXT, ANNA))
        await passes(lambda: stub.seen("Decrypt") == 1)
        allowed = False
        after = [asyncio.create_task(provider.decrypt(KEY_ARN, blob, CONTEXT, ANNA)) for _ in range(50)]
        await asyncio.sleep(0)
        gate.set()
        answers = await asyncio.gather(before, *after, return_exceptions=True)
        assert {type(answer) for answer in answers[1:]} == {KeyServiceRefusal}
        assert stub.seen("Decrypt") == 2

    run(work, tmp_path, stub=StubKms(judge=judge))


@pytest.mark.parametrize("other", [BERT, person("anna", source_ip="198.51.100.7"), replace(ANNA, access_key_id="SR2")])
def test_an_answer_to_one_requester_serves_no_other(tmp_path, other) -> None:
    """Fifty of each at once: those whom the KMS refuses get nothing, whoever asks beside them."""

    def judge(call: Call) -> None:
        assert call.requester is not None
        if call.operation == "Decrypt" and call.requester.standing != ANNA.standing:
            raise Refused("AccessDeniedException")

    async def work(provider: AwsKms, stub: StubKms) -> None:
        key = await provider.generate_data_key(KEY_ARN, CONTEXT, ANNA)
        asked = [
            provider.decrypt(KEY_ARN, key.sealed.ciphertext_blob, CONTEXT, who)
            for _ in range(50)
            for who in (ANNA, other)
        ]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert {answer.plaintext for answer in answers[::2]} == {key.plaintext}  # type: ignore[union-attr]
        assert {type(answer) for answer in answers[1::2]} == {KeyServiceRefusal}

    run(work, tmp_path, stub=StubKms(judge=judge))


def test_other_questions_are_not_the_same(tmp_path) -> None:
    async def work(provider: AwsKms, stub: StubKms) -> None:
        one, two = [(await provider.generate_data_key(KEY_ARN, CONTEXT, ANNA)).sealed.ciphertext_blob for _ in range(2)]
        answers = await asyncio.gather(
            provider.decrypt(KEY_ARN, one, CONTEXT, ANNA),
            provider.decrypt(KEY_ARN, two, CONTEXT, ANNA),
            provider.decrypt(KEY_ARN, one, {**CONTEXT, "team": "x"}, ANNA),
            provider.decrypt(OTHER_KEY_ARN, one, CONTEXT, ANNA),
            return_exceptions=True,
        )
        assert stub.seen("Decrypt") == 4
        assert [isinstance(each, KeyServiceRefusal) for each in answers] == [False, False, True, True]
        assert answers[0] != answers[1]

    run(work, tmp_path)


# --- transports


def test_the_socket_of_another_user_gets_nothing(tmp_path) -> None:
    async def work() -> None:
        path, stub = tmp_path / "kms.sock", StubKms()
        endpoint = on_this_machine(path, CREDENTIALS, region=REGION, peer_uid=os.getuid() + 1)
        provider = AwsKms(endpoint, QUICK)
        try:
            async with listening(stub, path):
                with pytest.raises(KeyServiceMisbehaved, match="belongs to user"):
                    await provider.generate_data_key(KEY_ARN, CONTEXT, ANNA)
                with pytest.raises(KeyServiceMisbehaved, match="belongs to user"):
                    await asyncio.to_thread(aws_kms_blocking.generate_data_key, endpoint, KEY_ARN, {})
            assert stub.requests == 0
        finally:
            await provider.close()

    asyncio.run(work())


def test_a_socket_deep_in_the_tree_is_reached(tmp_path, monkeypatch) -> None:
    """Longer than a Unix socket's address; the stub binds it by its short name."""
    directory = tmp_path / ("d" * 120)
    directory.mkdir()

    async def work() -> None:
        monkeypatch.chdir(directory)
        endpoint = on_this_machine(directory / "kms.sock", CREDENTIALS, region=REGION)
        provider = AwsKms(endpoint, QUICK)
        try:
            for _ in range(2):  # also when the directory was made anew
                async with listening(StubKms(), Path("kms.sock")):
                    monkeypatch.chdir(tmp_path)
                    await provider.describe_key(KEY_ARN, ANNA)
                    await asyncio.to_thread(aws_kms_blocking.generate_data_key, endpoint, KEY_ARN, {})
                directory.rename(tmp_path / "old")
                directory.mkdir()
                monkeypatch.chdir(directory)
                (tmp_path / "old").rename(tmp_path / secrets.token_hex(4))
        finally:
            await provider.close()

    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))
    asyncio.run(work())
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= descriptors


@asynccontextmanager
async def over_tls(tmp_path: Path, stub: StubKms, make: Callable[[int], KmsEndpoint]):
    ensure_certificates(tmp_path, ["localhost", "127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls" / "server.pem")
    async with listening(stub, tls=context) as port:
        provider = AwsKms(make(port), replace(QUICK, retries=0))
        try:
            yield provider
        finally:
            await provider.close()


def test_over_tls_only_a_ca_of_this_machine_is_believed(tmp_path, monkeypatch) -> None:
    async def work() -> None:
        other = tmp_path / "other"
        other.mkdir()
        ensure_certificates(other, ["localhost"])
        stub = StubKms()

        def believing(ca: Path) -> Callable[[int], KmsEndpoint]:
            monkeypatch.setenv("SSL_CERT_FILE", str(ca))
            return lambda port: at_amazon(f"https://localhost:{port}", FixedCredentials(CREDENTIALS), region=REGION)

        async with over_tls(tmp_path, stub, believing(tmp_path / "ca.pem")) as provider:
            await provider.describe_key(KEY_ARN, ANNA)
            blocking = provider._endpoint
            key = await asyncio.to_thread(aws_kms_blocking.generate_data_key, blocking, KEY_ARN, {})
            assert len(key.plaintext) == 32
        async with over_tls(tmp_path, stub, believing(other / "ca.pem")) as provider:
            with pytest.raises(KeyServiceUnavailable, match="Certificate"):
                await provider.describe_key(KEY_ARN, ANNA)
            with pytest.raises(KeyServiceUnavailable, match="SSLCertVerificationError"):
                await asyncio.to_thread(aws_kms_blocking.generate_data_key, provider._endpoint, KEY_ARN, {})
        assert stub.requests == 2

    asyncio.run(work())


def test_amazon_is_not_told_who_asks_and_gets_the_session_token(tmp_path, monkeypatch) -> None:
    async def work() -> None:
        stub = StubKms()
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        token = FixedCredentials(replace(CREDENTIALS, session_token="TOKEN"))
        ensure_certificates(tmp_path, ["localhost", "127.0.0.1"])

        def amazon(port: int) -> KmsEndpoint:
            return at_amazon(f"https://localhost:{port}", token, region=REGION)

        async def look(request: Any, answer: Any) -> Any:
            headers.update((name.lower(), value) for name, value in request.headers.items())
            return await good(request, answer)

        headers: dict[str, str] = {}
        async with over_tls(tmp_path, stub, amazon) as provider:
            stub.script.append(look)
            await provider.generate_data_key(KEY_ARN, CONTEXT, ANNA)
        assert stub.calls[0].requester is None
        assert headers["x-amz-security-token"] == "TOKEN"
        assert headers["content-type"] == "application/x-amz-json-1.1"
        assert not headers.keys() & {"user-agent", "accept", "accept-encoding", "cookie"}
        assert "x-amz-security-token" in headers["authorization"]

    asyncio.run(work())


@pytest.mark.parametrize(
    "url", ["http://kms.amazonaws.com", "kms.amazonaws.com", "https://", "https://h/x", "https://u@h"]
)
def test_amazon_is_reached_over_https_only(url: str) -> None:
    with pytest.raises(ValueError, match="is no address of a key service"):
        at_amazon(url, FixedCredentials(CREDENTIALS), region=REGION)


# --- the blocking variant


def test_the_service_asks_for_itself_before_there_is_a_loop(tmp_path) -> None:
    async def work(provider: AwsKms, stub: StubKms) -> None:
        endpoint, context = provider._endpoint, {"strongroom:purpose": "store-key"}
        ask = asyncio.to_thread
        key = await ask(aws_kms_blocking.generate_data_key, endpoint, KEY_ARN, context)
        blob = key.sealed.ciphertext_blob
        assert await ask(aws_kms_blocking.decrypt, endpoint, KEY_ARN, blob, context) == key
        assert [call.requester for call in stub.calls] == [None, None]
        with pytest.raises(KeyServiceRefusal, match="InvalidCiphertextException"):
            await ask(aws_kms_blocking.decrypt, endpoint, KEY_ARN, blob, {})
        for mood, expected in (
            (changed(KeyId=OTHER_KEY_ARN), KeyServiceMisbehaved),
            (changed(Plaintext="AAAA"), KeyServiceMisbehaved),
            (raw(b" " * 70_000), KeyServiceMisbehaved),
            (error(500), KeyServiceUnavailable),
            (reset, KeyServiceUnavailable),
            (cut, KeyServiceUnavailable),
        ):
            stub.script.append(mood)
            with pytest.raises(expected):
                await ask(aws_kms_blocking.decrypt, endpoint, KEY_ARN, blob, context)

    run(work, tmp_path)


def test_a_service_that_is_not_there_is_unavailable(tmp_path) -> None:
    endpoint = on_this_machine(tmp_path / "kms.sock", CREDENTIALS, region=REGION)
    with pytest.raises(KeyServiceUnavailable, match="it is not running; `strongroom serve` starts it"):
        aws_kms_blocking.generate_data_key(endpoint, KEY_ARN, {})


# --- secrets


def test_no_secret_shows_in_a_representation_an_error_or_the_log(tmp_path, caplog) -> None:
    credentials = ServiceCredentials(access_key_id="AK", secret_access_key="SECRETKEY", session_token="TOKEN")
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []

    async def work(provider: AwsKms, stub: StubKms) -> None:
        material = secrets.token_bytes(32)
        key = await provider.generate_data_key(KEY_ARN, CONTEXT, ANNA)
        seen.extend([repr(key), repr(provider), repr(provider._endpoint), repr(credentials)])
        for mood in (reset, error(500), raw(b"{"), changed(KeyId="x"), cut, raw(b"x" * 70_000), error(400, "X")):
            stub.script.extend([mood] * 6)
            for asked in (
                provider.encrypt(KEY_ARN, material, CONTEXT, ANNA),
                provider.decrypt(KEY_ARN, key.sealed.ciphertext_blob, CONTEXT, ANNA),
            ):
                with pytest.raises((KeyServiceUnavailable, KeyServiceMisbehaved, KeyServiceRefusal)) as failed:
                    await asked
                seen.append(str(failed.getrepr(style="short")))
            stub.script.clear()
        needles = ["SECRETKEY", "TOKEN", CREDENTIALS.secret_access_key]
        for value in (material, key.plaintext):
            import base64

            needles += [base64.b64encode(value).decode()[:10], value.hex()[:10], repr(value)[2:12]]
        text = "\n".join([*seen, caplog.text, metrics.exposition().decode()])
        assert not [needle for needle in needles if needle in text]

    run(work, tmp_path, limits=replace(QUICK, open_after=10**6))
