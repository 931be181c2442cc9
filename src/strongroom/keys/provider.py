"""What S3 asks of a key service: five questions, the same to our own KMS as to anybody else's.

The names and meanings are AWS KMS's. Every question names its requester, on whose behalf the key is used and who is
judged there. An implementation holds no rule of S3; it keeps no plaintext key longer than its answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from strongroom.identity.requester import Requester

EncryptionContext = Mapping[str, str]

ARN_PAIR = "aws:s3:arn"
"""The pair of the encryption context that names what a key is for: an object, or the bucket of a bucket key."""


class KeyServiceRefusal(Exception):
    """The key service understood and said no: `code` and `message` are its own (AWS KMS's names)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class KeyServiceUnavailable(Exception):
    """No answer could be had just now. `retry_after`: seconds after which asking again makes sense."""

    def __init__(self, reason: str, *, retry_after: int = 1) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class KeyServiceMisbehaved(Exception):
    """An answer that cannot be right: another key than the one asked for, or a data key of another length. Nothing of
    it may be used.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedKey:
    """A key as a key service sealed it. `key_arn`: always the full ARN of the key, never an alias. `material_id`: 32
    raw bytes; None where the service did not tell.
    """

    key_arn: str
    material_id: bytes | None
    ciphertext_blob: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataKey:
    """The same with its plaintext, 32 bytes."""

    sealed: SealedKey
    plaintext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDescription:
    """What DescribeKey says, as far as S3 wants to know it."""

    key_arn: str
    key_spec: str
    key_usage: str
    key_state: str
    current_material_id: bytes | None


class KeyProvider(Protocol):
    """All of these raise KeyServiceRefusal, KeyServiceUnavailable and KeyServiceMisbehaved. `key_id`: in any of KMS's
    forms (id, ARN, alias, alias ARN); `key_arn`: the full ARN.
    """

    async def generate_data_key(self, key_id: str, context: EncryptionContext, requester: Requester) -> DataKey:
        """A fresh key of 32 bytes under the newest material of `key_id`."""

    async def decrypt(
        self, key_arn: str, ciphertext_blob: bytes, context: EncryptionContext, requester: Requester
    ) -> DataKey:
        """The key that was sealed, 32 bytes. The key is named, so that nobody can have another one opened."""

    async def encrypt(
        self, key_id: str, plaintext: bytes, context: EncryptionContext, requester: Requester
    ) -> SealedKey:
        """A key made elsewhere, sealed."""

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
        """The same key, sealed under another one or another context, without being seen here."""

    async def describe_key(self, key_id: str, requester: Requester) -> KeyDescription: ...
