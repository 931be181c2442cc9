"""The connector to a key service that speaks AWS KMS's JSON API: ours and Amazon's.

A call has ten seconds in all. What may help is tried again twice, after a random pause: no connection, 429, 5xx and
throttling; all five operations may be repeated. Any other refusal is final. When nobody answers, a circuit breaker
tells everybody at once, and one request at a time finds out whether the service is back. Equal questions (Decrypt,
DescribeKey) of one requester that are under way at the same time are asked once, and recorded for the first; a fresh
data key is nobody else's.

What an answer must look like is kms_messages.py's business, how the service is reached kms_endpoint.py's. No key is kept
here, and nothing of a question or an answer gets into a log, a metric or an error.
"""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from strongroom.identity.requester import Requester
from strongroom.keys import kms_messages as messages
from strongroom.keys.breaker import CircuitBreaker
from strongroom.keys.kms_endpoint import KmsEndpoint
from strongroom.keys.kms_session import NoAnswer, new_session, post
from strongroom.keys.provider import (
    DataKey,
    EncryptionContext,
    KeyDescription,
    KeyServiceMisbehaved,
    KeyServiceRefusal,
    KeyServiceUnavailable,
    SealedKey,
)
from strongroom.keys.single_flight import FreshFlight
from strongroom.observe import log, metrics

if TYPE_CHECKING:
    import aiohttp

    from strongroom.keys.provider import KeyProvider
    from strongroom.observe.metrics import KmsOutcome

T = TypeVar("T")

_uniform = secrets.SystemRandom().uniform


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """In seconds, but for the counts. `longest_pause`: before the first retry; before the second twice as much.

    `probe`: what a probe may take, less than a call, for while one hangs nobody notices that the service is back.
    """

    total: float = 10.0
    connect: float = 1.0
    retries: int = 2
    longest_pause: float = 0.2
    connections: int = 128
    open_after: int = 5
    probe_every: float = 1.0
    probe: float = 2.0


LIMITS = Limits()


class _TryAgain(Exception):
    """An attempt failed in a way that may pass; `failure`: what to say when it does not."""

    def __init__(self, failure: messages.Failure) -> None:
        super().__init__()
        self.failure = failure


class AwsKms:
    """One for each process; it belongs to the event loop of its first call."""

    def __init__(self, endpoint: KmsEndpoint, limits: Limits = LIMITS) -> None:
        self._endpoint = endpoint
        self._limits = limits
        self._session: aiohttp.ClientSession | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._decrypting = FreshFlight[DataKey](outage=KeyServiceUnavailable)
        self._describing = FreshFlight[KeyDescription](outage=KeyServiceUnavailable)
        self._breaker = CircuitBreaker(open_after=limits.open_after, probe_every=limits.probe_every, now=time.monotonic)
        metrics.tell_kms_breaker(is_open=False)

    async def close(self) -> None:
        await self._decrypting.close()
        await self._describing.close()
        self._drop_session()
        await asyncio.gather(*self._closing)

    # --- the five questions

    async def generate_data_key(self, key_id: str, context: EncryptionContext, requester: Requester) -> DataKey:
        body = messages.question(context, KeyId=key_id, KeySpec="AES_256")
        return await self._call(
            "GenerateDataKey", body, requester, lambda answer: messages.generated_key(answer, key_id)
        )

    async def decrypt(
        self, key_arn: str, ciphertext_blob: bytes, context: EncryptionContext, requester: Requester
    ) -> DataKey:
        body = messages.question(context, KeyId=key_arn, CiphertextBlob=ciphertext_blob)
        blob = hashlib.sha256(ciphertext_blob).digest()
        return await self._decrypting.do(
            (key_arn, blob, tuple(sorted(context.items())), requester.standing),
            lambda: self._call(
                "Decrypt", body, requester, lambda answer: messages.decrypted_key(answer, key_arn, ciphertext_blob)
            ),
        )

    async def encrypt(
        self, key_id: str, plaintext: bytes, context: EncryptionContext, requester: Requester
    ) -> SealedKey:
        body = messages.question(context, KeyId=key_id, Plaintext=plaintext)
        return await self._call("Encrypt", body, requester, lambda answer: messages.encrypted_key(answer, key_id))

    async def re_encrypt(
        self,
        key_arn: str,
        ciphertext_blob: bytes,
        context: EncryptionContext,
        *,
        to_key_id: str,
        to_context: EncryptionContext,
        requester: Requester,
    ) -> SealedKey:
        body = messages.body(
            {
                "CiphertextBlob": ciphertext_blob,
                "SourceKeyId": key_arn,
                "SourceEncryptionContext": dict(context),
                "DestinationKeyId": to_key_id,
                "DestinationEncryptionContext": dict(to_context),
            }
        )
        return await self._call(
            "ReEncrypt", body, requester, lambda answer: messages.re_encrypted_key(answer, key_arn, to_key_id)
        )

    async def describe_key(self, key_id: str, requester: Requester) -> KeyDescription:
        body = messages.body({"KeyId": key_id})
        return await self._describing.do(
            (key_id, requester.standing),
            lambda: self._call("DescribeKey", body, requester, lambda answer: messages.described_key(answer, key_id)),
        )

    # --- a call

    async def _call(self, operation: str, body: bytes, requester: Requester, understand: Callable[[bytes], T]) -> T:
        started = time.monotonic()
        outcome: KmsOutcome = "cancelled"
        try:
            result = understand(await self._ask(operation, body, requester))
            outcome = "ok"
        except KeyServiceRefusal as refusal:
            outcome = "throttled" if refusal.code == messages.THROTTLING else "refused"
            raise
        except KeyServiceUnavailable:
            outcome = "unavailable"
            raise
        except KeyServiceMisbehaved as error:
            outcome = "misbehaved"
            metrics.count_integrity_error()
            log.failure("The key service misbehaved", operation=operation, reason=str(error))
            raise
        finally:
            metrics.observe_kms_call(operation, outcome, time.monotonic() - started)
        return result

    async def _ask(self, operation: str, body: bytes, requester: Requester) -> bytes:
        """The answer, when it is one of success."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limits.total
        headers = await self._sign(operation, body, requester, deadline)
        longest_pause = self._limits.longest_pause
        for retries_left in range(self._limits.retries, -1, -1):
            try:
                return await self._attempt(headers, body, deadline)
            except _TryAgain as again:
                pause = _uniform(0, longest_pause)  # full jitter
                if not retries_left or loop.time() + pause >= deadline:
                    raise again.failure from None
            metrics.count_kms_retry(operation)
            await asyncio.sleep(pause)
            longest_pause *= 2
        raise AssertionError("unreachable")

    async def _sign(self, operation: str, body: bytes, requester: Requester, deadline: float) -> Mapping[str, str]:
        try:
            async with asyncio.timeout_at(deadline):
                credentials = await self._endpoint.credentials.current()
        except TimeoutError:
            raise KeyServiceUnavailable("the credentials for the key service could not be had in time") from None
        return self._endpoint.headers(operation, body, credentials, requester)

    async def _attempt(self, headers: Mapping[str, str], body: bytes, deadline: float) -> bytes:
        """Raises _TryAgain, and what is final as it is."""
        admission = self._breaker.admit()
        if admission is None:
            raise KeyServiceUnavailable("the key service has not answered lately")
        if admission.is_probe:
            self._drop_session()  # its connections may be as dead as the service that they led to
            deadline = min(deadline, asyncio.get_running_loop().time() + self._limits.probe)
        try:
            status, answer = await self._exchange(headers, body, deadline)
        except NoAnswer as error:
            if self._breaker.failed(admission):
                metrics.tell_kms_breaker(is_open=True)
                log.warning("The key service does not answer; requests that need it are refused", reason=error.reason)
            raise _TryAgain(KeyServiceUnavailable(f"no answer of the key service: {error.reason}")) from None
        except BaseException:  # cancelled, mostly
            self._breaker.abandoned(admission)
            raise
        if self._breaker.succeeded(admission):
            metrics.tell_kms_breaker(is_open=False)
            log.warning("The key service answers again")
        if status == 200:
            return answer
        failure, may_pass = messages.error_of(status, answer)
        raise _TryAgain(failure) if may_pass else failure

    async def _exchange(self, headers: Mapping[str, str], body: bytes, deadline: float) -> tuple[int, bytes]:
        """Raises NoAnswer, KeyServiceMisbehaved."""
        if self._session is None:
            self._session = new_session(
                self._endpoint, connections=self._limits.connections, connect_timeout=self._limits.connect
            )
        try:
            async with asyncio.timeout_at(deadline):
                return await post(self._session, self._endpoint.url, headers, body)
        except TimeoutError:
            raise NoAnswer("TimeoutError") from None

    def _drop_session(self) -> None:
        if self._session is not None:
            closing = asyncio.create_task(self._session.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            self._session = None


if TYPE_CHECKING:

    def _is_key_provider(provider: AwsKms) -> KeyProvider:
        return provider
