"""A key service in memory for tests of S3: honest, small, and with handles that a test turns.

It seals with AES-256-GCM, bound to key, material and encryption context; it judges every requester by rights of its
own; it counts and remembers every question. What it refuses, it refuses in the words of AWS KMS.
"""

import re
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import uuid4

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strongroom.crypto.context import ctx, text
from strongroom.identity.requester import Requester
from strongroom.keys.provider import (
    DataKey,
    EncryptionContext,
    KeyDescription,
    KeyProvider,
    KeyServiceRefusal,
    KeyServiceUnavailable,
    SealedKey,
)

ACCOUNT, REGION = "000000000000", "us-east-1"
EVERYTHING = frozenset({"GenerateDataKey", "Decrypt", "Encrypt", "ReEncryptFrom", "ReEncryptTo", "DescribeKey"})
_ARN = re.compile(r"arn:aws:kms:([a-z0-9-]+):([0-9]{12}):(key|alias)/(.+)")
_UUID = re.compile(r"[0-9a-f-]{36}")


@dataclass
class MemoryKey:
    arn: str
    materials: dict[bytes, bytes] = field(repr=False)
    state: str = "Enabled"
    usage: str = "ENCRYPT_DECRYPT"

    @property
    def current(self) -> bytes:
        return next(reversed(self.materials))


@dataclass(frozen=True)
class Question:
    """One call as it arrived. `context`: for ReEncrypt, that of the source."""

    action: str
    key_arn: str
    context: Mapping[str, str]
    principal: str


@dataclass
class MemoryKms:
    """`rights`: actions by principal ARN; who is not named may do everything. `down`: nobody gets an answer.
    `throttles`: everybody gets ThrottlingException.
    """

    keys: dict[str, MemoryKey] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    rights: dict[str, frozenset[str]] = field(default_factory=dict)
    questions: list[Question] = field(default_factory=list)
    down: bool = False
    throttles: bool = False

    # --- handles

    def create(self, alias: str | None = None, *, usage: str = "ENCRYPT_DECRYPT", account: str = ACCOUNT) -> str:
        """The ARN of a new key."""
        key_id = str(uuid4())
        arn = f"arn:aws:kms:{REGION}:{account}:key/{key_id}"
        self.keys[arn] = MemoryKey(arn, {}, usage=usage)
        self.rotate(arn)
        if alias:
            self.aliases[alias] = arn
        return arn

    def rotate(self, arn: str) -> bytes:
        """The id of the material that seals from now on."""
        material_id = secrets.token_bytes(32)
        self.keys[arn].materials[material_id] = secrets.token_bytes(32)
        return material_id

    def counts(self) -> dict[str, int]:
        return dict(Counter(question.action for question in self.questions))

    def forget(self) -> None:
        self.questions.clear()

    # --- the key service

    async def generate_data_key(self, key_id: str, context: EncryptionContext, requester: Requester) -> DataKey:
        key = self._key("GenerateDataKey", key_id, context, requester)
        plaintext = secrets.token_bytes(32)
        return DataKey(sealed=_seal(key, plaintext, context), plaintext=plaintext)

    async def decrypt(
        self, key_arn: str, ciphertext_blob: bytes, context: EncryptionContext, requester: Requester
    ) -> DataKey:
        key = self._key("Decrypt", key_arn, context, requester)
        plaintext, material_id = _open(key, ciphertext_blob, context)
        return DataKey(
            sealed=SealedKey(key_arn=key.arn, material_id=material_id, ciphertext_blob=b""), plaintext=plaintext
        )

    async def encrypt(
        self, key_id: str, plaintext: bytes, context: EncryptionContext, requester: Requester
    ) -> SealedKey:
        sealed = _seal(self._key("Encrypt", key_id, context, requester), plaintext, context)
        return SealedKey(key_arn=sealed.key_arn, material_id=None, ciphertext_blob=sealed.ciphertext_blob)

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
        source = self._key("ReEncrypt", key_arn, context, requester, right="ReEncryptFrom")
        target = self._usable(self._found(to_key_id), requester, "ReEncryptTo")
        plaintext, _ = _open(source, ciphertext_blob, context)
        return _seal(target, plaintext, to_context)

    async def describe_key(self, key_id: str, requester: Requester) -> KeyDescription:  # noqa: ARG002
        key = self._found(key_id)
        return KeyDescription(
            key_arn=key.arn,
            key_spec="SYMMETRIC_DEFAULT",
            key_usage=key.usage,
            key_state=key.state,
            current_material_id=key.current,
        )

    # --- what it holds a question against

    def _key(
        self, action: str, key_id: str, context: EncryptionContext, requester: Requester, *, right: str = ""
    ) -> MemoryKey:
        if self.down:
            raise KeyServiceUnavailable("the key service does not answer", retry_after=7)
        if self.throttles:
            raise KeyServiceRefusal("ThrottlingException", "Rate exceeded")
        key = self._found(key_id)
        self.questions.append(Question(action, key.arn, dict(context), requester.principal.arn))
        return self._usable(key, requester, right or action)

    def _usable(self, key: MemoryKey, requester: Requester, right: str) -> MemoryKey:
        who = requester.principal.arn
        if right not in self.rights.get(who, EVERYTHING):
            raise KeyServiceRefusal(
                "AccessDeniedException",
                f"User: {who} is not authorized to perform: kms:{right} on resource: {key.arn} because no identity-based"
                f" policy allows the kms:{right} action",
            )
        if key.state == "Disabled":
            raise KeyServiceRefusal("DisabledException", f"{key.arn} is disabled.")
        if key.state != "Enabled":
            raise KeyServiceRefusal("KMSInvalidStateException", f"{key.arn} is pending deletion.")
        if key.usage != "ENCRYPT_DECRYPT":
            raise KeyServiceRefusal(
                "InvalidKeyUsageException", f"{key.arn} key usage is {key.usage} which is not valid for {right}."
            )
        return key

    def _found(self, key_id: str) -> MemoryKey:
        match = _ARN.fullmatch(key_id)
        if match and match[1] != REGION:
            raise KeyServiceRefusal("NotFoundException", f"Invalid arn {match[1]}")
        alias = match[4] if match and match[3] == "alias" else key_id.removeprefix("alias/")
        if key_id.startswith("alias/") or (match and match[3] == "alias"):
            if alias == "aws/s3" and alias not in self.aliases:
                self.create(alias)
            if alias not in self.aliases:
                raise KeyServiceRefusal(
                    "NotFoundException", f"Alias arn:aws:kms:{REGION}:{ACCOUNT}:alias/{alias} is not found."
                )
            return self.keys[self.aliases[alias]]
        if not match and not _UUID.fullmatch(key_id):
            raise KeyServiceRefusal("NotFoundException", f"Invalid keyId '{key_id}'")
        arn = key_id if match else f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key_id}"
        if arn not in self.keys:
            raise KeyServiceRefusal("NotFoundException", f"Key '{arn}' does not exist")
        return self.keys[arn]


def _bound(key: MemoryKey, material_id: bytes, context: EncryptionContext) -> bytes:
    pairs = [text(part) for pair in sorted(context.items()) for part in pair]
    return ctx("memory-kms", key.arn.encode(), material_id, *pairs)


def _seal(key: MemoryKey, plaintext: bytes, context: EncryptionContext) -> SealedKey:
    nonce, material_id = secrets.token_bytes(12), key.current
    sealed = AESGCM(key.materials[material_id]).encrypt(nonce, plaintext, _bound(key, material_id, context))
    return SealedKey(key_arn=key.arn, material_id=material_id, ciphertext_blob=material_id + nonce + sealed)


def _open(key: MemoryKey, blob: bytes, context: EncryptionContext) -> tuple[bytes, bytes]:
    material_id, nonce, sealed = blob[:32], blob[32:44], blob[44:]
    try:
        return AESGCM(key.materials[material_id]).decrypt(nonce, sealed, _bound(key, material_id, context)), material_id
    except (InvalidTag, KeyError):
        raise KeyServiceRefusal("InvalidCiphertextException", "") from None


if TYPE_CHECKING:
    _: KeyProvider = MemoryKms()
