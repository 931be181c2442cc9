"""KMS's five questions as bodies, and what its answers must look like before anything of them is believed.

An answer is judged by what was asked: it names the key by its full ARN, the one asked for where an ARN or an id was; a
data key has 32 bytes; a blob is there and not longer than KMS makes them. Whatever is otherwise is
KeyServiceMisbehaved, whose text repeats nothing of the answer. This module does no input or output.
"""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from strongroom.crypto.segments import KEY_SIZE
from strongroom.keys.provider import (
    DataKey,
    EncryptionContext,
    KeyDescription,
    KeyServiceMisbehaved,
    KeyServiceRefusal,
    KeyServiceUnavailable,
    SealedKey,
)

LONGEST_BLOB = 6144  # bytes: CiphertextType of the model
LONGEST_ANSWER = 65_536  # bytes: a dozen times what any of the five needs
_LONGEST_MESSAGE = 4096  # characters of an error's text that are passed on

KEY_ARN = re.compile(r"arn:[a-z0-9-]{1,32}:kms:[a-z0-9-]{1,63}:[0-9]{12}:key/[A-Za-z0-9-]{1,128}")
_MATERIAL_ID = re.compile(r"[0-9a-f]{64}")
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9]{0,99}")

THROTTLING = "ThrottlingException"
# Raised in front of KMS (facts: AWS General Reference, "Common errors"). LimitExceededException is none of them: it is a
# quota, which waiting does not lift, although boto3 retries it.
_THROTTLED = frozenset({THROTTLING, "Throttling", "RequestLimitExceeded", "TooManyRequestsException"})
# These are about this server's credentials or clock, not about the person: to a client they say nothing but "not now".
_OUR_FAULT = frozenset(
    {
        "ExpiredTokenException",
        "IncompleteSignatureException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "OptInRequired",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)

S = TypeVar("S", bound=Struct)
Failure = KeyServiceRefusal | KeyServiceUnavailable | KeyServiceMisbehaved


class _DataKeyAnswer(Struct, rename="pascal"):
    key_id: str
    plaintext: bytes
    ciphertext_blob: bytes = b""  # Decrypt sends none
    key_material_id: str | None = None


class _EncryptAnswer(Struct, rename="pascal"):
    key_id: str
    ciphertext_blob: bytes


class _ReEncryptAnswer(Struct, rename="pascal"):
    key_id: str
    source_key_id: str
    ciphertext_blob: bytes
    destination_key_material_id: str | None = None


class _KeyMetadata(Struct, rename="pascal"):
    arn: str
    key_spec: str
    key_usage: str
    key_state: str
    current_key_material_id: str | None = None


class _DescribeKeyAnswer(Struct, rename="pascal"):
    key_metadata: _KeyMetadata


class _ErrorAnswer(Struct):
    type: str | None = msgspec.field(name="__type", default=None)
    message: str | None = None
    capital: str | None = msgspec.field(name="Message", default=None)


# --- questions


def body(members: Mapping[str, Any]) -> bytes:
    """A request's body. Members that are empty are left out; bytes become base64."""
    return json.dumps(
        {
            name: base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value
            for name, value in members.items()
            if value
        }
    ).encode()


def question(context: EncryptionContext, **members: str | bytes) -> bytes:
    """A body with an encryption context."""
    return body({**members, "EncryptionContext": dict(context)})


# --- answers


def generated_key(answer: bytes, key_id: str) -> DataKey:
    """GenerateDataKey. Raises KeyServiceMisbehaved, as all of these."""
    told = _parsed(answer, _DataKeyAnswer)
    _check_key(told.key_id, key_id)
    return DataKey(
        sealed=_sealed(told.key_id, told.key_material_id, told.ciphertext_blob), plaintext=_key(told.plaintext)
    )


def decrypted_key(answer: bytes, key_arn: str, ciphertext_blob: bytes) -> DataKey:
    """Decrypt."""
    told = _parsed(answer, _DataKeyAnswer)
    _check_key(told.key_id, key_arn)
    return DataKey(sealed=_sealed(told.key_id, told.key_material_id, ciphertext_blob), plaintext=_key(told.plaintext))


def encrypted_key(answer: bytes, key_id: str) -> SealedKey:
    """Encrypt, which does not tell the material."""
    told = _parsed(answer, _EncryptAnswer)
    _check_key(told.key_id, key_id)
    return _sealed(told.key_id, None, told.ciphertext_blob)


def re_encrypted_key(answer: bytes, key_arn: str, to_key_id: str) -> SealedKey:
    """ReEncrypt."""
    told = _parsed(answer, _ReEncryptAnswer)
    _check_key(told.source_key_id, key_arn)
    _check_key(told.key_id, to_key_id)
    return _sealed(told.key_id, told.destination_key_material_id, told.ciphertext_blob)


def described_key(answer: bytes, key_id: str) -> KeyDescription:
    """DescribeKey."""
    told = _parsed(answer, _DescribeKeyAnswer).key_metadata
    _check_key(told.arn, key_id)
    return KeyDescription(
        key_arn=told.arn,
        key_spec=told.key_spec,
        key_usage=told.key_usage,
        key_state=told.key_state,
        current_material_id=_material(told.current_key_material_id),
    )


def error_of(status: int, answer: bytes) -> tuple[Failure, bool]:
    """What an answer of another status than 200 means, and whether asking once more may help."""
    try:
        told = msgspec.json.decode(answer, type=_ErrorAnswer)
    except (msgspec.MsgspecError, UnicodeError):
        told = _ErrorAnswer()
    # "com.amazonaws.kms#NotFoundException" and "NotFoundException:http://..." name the same code.
    code = (told.type or "").partition(":")[0].rpartition("#")[2]
    if not _CODE.fullmatch(code):
        code = ""
    message = "".join(
        each if each.isprintable() else " " for each in (told.message or told.capital or "")[:_LONGEST_MESSAGE]
    )
    if status >= 500:
        return KeyServiceUnavailable(f"the key service answered {status} {code}".rstrip()), True
    if status == 429 or code in _THROTTLED:
        return KeyServiceRefusal(THROTTLING, message), True
    if code in _OUR_FAULT:
        return KeyServiceUnavailable(f"the key service does not accept this server's credentials: {code}"), False
    if status >= 400 and code:
        return KeyServiceRefusal(code, message), False
    return KeyServiceMisbehaved(f"an answer of status {status} is none of KMS's"), False


def _parsed(answer: bytes, shape: type[S]) -> S:
    try:
        return msgspec.json.decode(answer, type=shape)
    except (msgspec.MsgspecError, UnicodeError):
        # Not `from error`: the bytes may hold a plaintext key, and an error's chain goes into logs.
        raise KeyServiceMisbehaved("an answer of the key service is none of KMS's") from None


def _check_key(told: str, asked: str) -> None:
    """`told`: the KeyId of an answer; `asked`: in any of KMS's forms."""
    if KEY_ARN.fullmatch(told) is None:
        raise KeyServiceMisbehaved("the key service named a key by something else than its ARN")
    place, resource = "", asked
    if asked.startswith("arn:"):
        *parts, resource = asked.split(":", 5)
        place = ":".join(parts)
    is_alias = resource.startswith("alias/")
    if place and not told.startswith(f"{place}:"):
        raise KeyServiceMisbehaved("the key service used a key of another account or region than the one asked for")
    # What an alias stands for is the key service's to say.
    if not is_alias and told.rpartition("/")[2] != resource.removeprefix("key/"):
        raise KeyServiceMisbehaved("the key service used another key than the one asked for")


def _sealed(key_arn: str, material_id: str | None, ciphertext_blob: bytes) -> SealedKey:
    if not 1 <= len(ciphertext_blob) <= LONGEST_BLOB:
        raise KeyServiceMisbehaved("the key service sealed a key in a blob of a length that cannot be")
    return SealedKey(key_arn=key_arn, material_id=_material(material_id), ciphertext_blob=ciphertext_blob)


def _material(told: str | None) -> bytes | None:
    if told is None:
        return None
    if _MATERIAL_ID.fullmatch(told) is None:
        raise KeyServiceMisbehaved("the key service named key material by something else than 64 hex digits")
    return bytes.fromhex(told)


def _key(plaintext: bytes) -> bytes:
    if len(plaintext) != KEY_SIZE:
        raise KeyServiceMisbehaved(f"the key service gave a key of {len(plaintext)} bytes and not of {KEY_SIZE}")
    return plaintext
