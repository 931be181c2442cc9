"""A KeyProvider without a network, for tests of what uses one: it remembers what it was asked, and judges as it is told."""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.identity.requester import Requester
from strongroom.keys.provider import DataKey, EncryptionContext, KeyDescription, KeyServiceRefusal, SealedKey
from tests.kms_stub import KEY_ARN, KEY_ID

if TYPE_CHECKING:
    from strongroom.keys.provider import KeyProvider


@dataclass(frozen=True)
class Asked:
    action: str
    key_id: str
    key_arn: str
    context: Mapping[str, str]
    requester: Requester


Judge = Callable[[Asked], None]


def refuse(
    code: str = "AccessDeniedException",
    *,
    action: str | None = None,
    key_arn: str | None = None,
    principal: str | None = None,
) -> Judge:
    """Refuses all that is as named."""

    def judge(asked: Asked) -> None:
        if (
            action in (None, asked.action)
            and key_arn in (None, asked.key_arn)
            and principal in (None, asked.requester.principal.arn)
        ):
            raise KeyServiceRefusal(code, "no")

    return judge


@dataclass
class FakeProvider:
    """`gate`: all wait for it before they are judged. `late`: by principal, what to wait for after the judgement."""

    judge: Judge | None = None
    error: Exception | None = None
    gate: asyncio.Event | None = None
    late: dict[str, asyncio.Event] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=lambda: {"alias/mine": KEY_ARN, KEY_ID: KEY_ARN})
    asked: list[Asked] = field(default_factory=list)
    plaintexts: dict[bytes, bytes] = field(default_factory=dict)
    contexts: dict[bytes, tuple[str, Mapping[str, str]]] = field(default_factory=dict)
    asking: asyncio.Event = field(default_factory=asyncio.Event)
    judged: asyncio.Event = field(default_factory=asyncio.Event)

    async def _judge(self, action: str, key_id: str, context: EncryptionContext, requester: Requester) -> str:
        asked = Asked(action, key_id, self.aliases.get(key_id, key_id), dict(context), requester)
        self.asked.append(asked)
        self.asking.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        if self.judge is not None:
            self.judge(asked)
        self.judged.set()
        if (late := self.late.get(requester.principal.arn)) is not None:
            await late.wait()
        return asked.key_arn

    def _seal(self, key_arn: str, plaintext: bytes, context: EncryptionContext) -> SealedKey:
        blob = secrets.token_bytes(64)
        self.plaintexts[blob], self.contexts[blob] = plaintext, (key_arn, dict(context))
        return SealedKey(key_arn=key_arn, material_id=b"\xab" * 32, ciphertext_blob=blob)

    async def generate_data_key(self, key_id: str, context: EncryptionContext, requester: Requester) -> DataKey:
        key_arn, plaintext = await self._judge("GenerateDataKey", key_id, context, requester), secrets.token_bytes(32)
        return DataKey(sealed=self._seal(key_arn, plaintext, context), plaintext=plaintext)

    async def decrypt(
        self, key_arn: str, ciphertext_blob: bytes, context: EncryptionContext, requester: Requester
    ) -> DataKey:
        await self._judge("Decrypt", key_arn, context, requester)
        if self.contexts[ciphertext_blob] != (key_arn, dict(context)):
            raise KeyServiceRefusal("InvalidCiphertextException", "")
        sealed = SealedKey(key_arn=key_arn, material_id=b"\xab" * 32, ciphertext_blob=ciphertext_blob)
        return DataKey(sealed=sealed, plaintext=self.plaintexts[ciphertext_blob])

    async def encrypt(
        self, key_id: str, plaintext: bytes, context: EncryptionContext, requester: Requester
    ) -> SealedKey:
        return self._seal(await self._judge("Encrypt", key_id, context, requester), plaintext, context)

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
        await self._judge("ReEncryptFrom", key_arn, context, requester)
        to_arn = await self._judge("ReEncryptTo", to_key_id, to_context, requester)
        return self._seal(to_arn, self.plaintexts[ciphertext_blob], to_context)

    async def describe_key(self, key_id: str, requester: Requester) -> KeyDescription:
        key_arn = await self._judge("DescribeKey", key_id, {}, requester)
        return KeyDescription(
            key_arn=key_arn,
            key_spec="SYMMETRIC_DEFAULT",
            key_usage="ENCRYPT_DECRYPT",
            key_state="Enabled",
            current_material_id=b"\xab" * 32,
        )


if TYPE_CHECKING:

    def _is_key_provider(provider: FakeProvider) -> KeyProvider:
        return provider
