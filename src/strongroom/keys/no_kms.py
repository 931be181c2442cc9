# ruff: noqa: ARG002 - what is asked makes no difference
"""The key service of a server that has none: everything under a KMS is unavailable, and nothing falls back."""

from typing import TYPE_CHECKING, NoReturn

from strongroom.identity.requester import Requester
from strongroom.keys.provider import (
    DataKey,
    EncryptionContext,
    KeyDescription,
    KeyProvider,
    KeyServiceUnavailable,
    SealedKey,
)

_RETRY_AFTER = 60  # seconds: somebody has to configure one first


def _unavailable() -> NoReturn:
    raise KeyServiceUnavailable("no key service is configured", retry_after=_RETRY_AFTER)


class NoKeyService:
    """Answers every question with KeyServiceUnavailable."""

    async def generate_data_key(self, key_id: str, context: EncryptionContext, requester: Requester) -> DataKey:
        _unavailable()

    async def decrypt(
        self, key_arn: str, ciphertext_blob: bytes, context: EncryptionContext, requester: Requester
    ) -> DataKey:
        _unavailable()

    async def encrypt(
        self, key_id: str, plaintext: bytes, context: EncryptionContext, requester: Requester
    ) -> SealedKey:
        _unavailable()

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
        _unavailable()

    async def describe_key(self, key_id: str, requester: Requester) -> KeyDescription:
        _unavailable()


class NoBucketKeys:
    """The same for bucket keys."""

    async def for_write(
        self, bucket: object, bucket_arn: str, key_id: str, client_context: EncryptionContext, requester: Requester
    ) -> NoReturn:
        _unavailable()

    async def for_read(self, bucket: object, bucket_key_id: bytes, requester: Requester) -> NoReturn:
        _unavailable()


if TYPE_CHECKING:
    _: KeyProvider = NoKeyService()
