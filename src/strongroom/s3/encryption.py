"""Which encryption a request asks for: header values in, a decision or AWS's exact refusal out.

The order of the checks is AWS's, and clients see it: what the bucket blocks, then a clash of methods, then the
algorithm, the key, its MD5, its length. Everything is judged before any key is made or opened.
This module encrypts nothing, and no message of it holds a key or its MD5.
"""

import base64
import binascii
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import md5
from hmac import compare_digest
from typing import Any

from strongroom.aws.errors import S3Error
from strongroom.crypto.secret_key import SecretKey
from strongroom.metadata.records import DefaultEncryption, Dsse, Encryption, SseC, SseKms, SseKmsBucketKey, SseS3, Tags
from strongroom.s3.encryption_context import parse_context

MANAGED_KEY = "alias/aws/s3"  # where nobody names a key

_SSE = "x-amz-server-side-encryption"
_BUCKET_KEY = "x-amz-server-side-encryption-bucket-key-enabled"
_DSSE = "aws:kms:dsse"
_KMS_METHODS = frozenset({"aws:kms", _DSSE})
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerHeaders:
    """The three headers of a customer-provided key, as sent; of the request's object or of a copy's source."""

    algorithm: str | None = None
    key: str | None = field(default=None, repr=False)
    key_md5: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, input: Mapping[str, Any], prefix: str = "") -> "CustomerHeaders":
        """From the members of a parsed request; `prefix` "CopySource" for the source of a copy."""
        return cls(
            algorithm=input.get(f"{prefix}SSECustomerAlgorithm"),
            key=input.get(f"{prefix}SSECustomerKey"),
            key_md5=input.get(f"{prefix}SSECustomerKeyMD5"),
        )

    @property
    def given(self) -> bool:
        return not (self.algorithm is None and self.key is None and self.key_md5 is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptionHeaders:
    """Everything that a write may say of encryption."""

    sse: str | None = None
    kms_key_id: str | None = field(default=None, repr=False)
    context: str | None = field(default=None, repr=False)
    bucket_key_enabled: bool | None = None
    customer: CustomerHeaders = CustomerHeaders()

    @classmethod
    def of(cls, input: Mapping[str, Any]) -> "EncryptionHeaders":
        return cls(
            sse=input.get("ServerSideEncryption"),
            kms_key_id=input.get("SSEKMSKeyId"),
            context=input.get("SSEKMSEncryptionContext"),
            bucket_key_enabled=input.get("BucketKeyEnabled"),
            customer=CustomerHeaders.of(input),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenSseS3:
    """A key managed by this server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenSseC:
    """The key of the request; who seals with it wipes it."""

    customer_key: SecretKey = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenKms:
    """A key of a key service. `key_id`: in any of KMS's forms, as it was given. `context`: the client's pairs."""

    key_id: str = field(repr=False)
    context: Tags = field(default=(), repr=False)
    bucket_key: bool = False
    dsse: bool = False


Chosen = ChosenSseS3 | ChosenSseC | ChosenKms


def choose(
    headers: EncryptionHeaders,
    *,
    default: DefaultEncryption | None,
    blocks_sse_c: bool,
    secure: bool,
    signed: bool,
    principal: str,
    bucket: str,
    key: str,
) -> Chosen:
    """How to encrypt a new object or upload: the request's headers, else the bucket's default, else SSE-S3.

    `secure`: what `edge.secure_connection` says; `signed`: with Signature Version 4, by somebody. Raises AccessDenied
    (blocked), InvalidArgument and InvalidEncryptionAlgorithmError.
    """
    refuse_blocked(headers.customer, blocks_sse_c=blocks_sse_c, principal=principal, bucket=bucket, key=key)
    if headers.customer.given and headers.sse is not None:
        raise _invalid(
            "Server Side Encryption with Customer provided key is incompatible with the encryption method specified",
            headers.sse,
        )
    method = _method(headers)
    customer_key = customer_key_for_write(headers.customer, secure=secure)
    if customer_key is not None:
        return ChosenSseC(customer_key=customer_key)
    if (method or (default.algorithm if default else "AES256")) == "AES256":
        return ChosenSseS3()
    refuse_without_kms_terms(secure=secure, signed=signed)
    return _kms(headers, default)


def refuse_blocked(customer: CustomerHeaders, *, blocks_sse_c: bool, principal: str, bucket: str, key: str) -> None:
    """BlockedEncryptionTypes: for every upload and part, before anybody looks at the key. Raises AccessDenied."""
    if customer.given and blocks_sse_c:
        raise S3Error(
            "AccessDenied",
            f'User: {principal} is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::{bucket}/{key}" '
            "because this bucket has blocked upload requests that specify Server Side Encryption with Customer "
            "provided keys (SSE-C). Please specify a different server-side encryption type",
        )


def customer_key_for_write(customer: CustomerHeaders, *, secure: bool) -> SecretKey | None:
    """The key to seal with (uploads, parts, the target of a copy), None where none was sent.

    Raises InvalidArgument and InvalidEncryptionAlgorithmError.
    """
    if not customer.given:
        return None
    material = _material(customer, secure=secure)
    if len(material) != _KEY_BYTES:
        raise _invalid("The secret key was invalid for the specified algorithm.")
    return SecretKey(material)


def customer_key_for_read(customer: CustomerHeaders, *, secure: bool) -> SecretKey | None:
    """The key to open with (reads, the source of a copy), None where none was sent. Raises as `customer_key_for_write`.

    On a read S3 calls a key of the wrong length simply the wrong key, and says so only once it knows that the object
    exists and wants one. A random key takes its place: it opens nothing, and no later step needs to know.
    """
    if not customer.given:
        return None
    material = _material(customer, secure=secure)
    return SecretKey(material if len(material) == _KEY_BYTES else bytearray(secrets.token_bytes(_KEY_BYTES)))


def refuse_sse_header(sse: str | None) -> None:
    """For operations without x-amz-server-side-encryption (parts, Complete, reads, lists). Raises InvalidArgument."""
    if sse is not None:
        raise _invalid(f"{_SSE} header is not supported for this operation.", sse)


def refuse_kms_headers(*, named: str | None) -> None:
    """The same for the headers that go with it, whose values are nobody's business. Raises InvalidArgument."""
    if named is not None:
        raise S3Error("InvalidArgument", f"{named} header is not supported for this operation.", ArgumentName=named)


def refuse_without_kms_terms(*, secure: bool, signed: bool) -> None:
    """What S3 demands of every request that uses a key of a KMS, on the way in and on the way out. Raises
    InvalidArgument.
    """
    if not signed:
        raise S3Error(
            "InvalidArgument",
            "Requests specifying Server Side Encryption with AWS KMS managed keys require AWS Signature Version 4.",
            ArgumentName="Authorization",
            ArgumentValue="null",
        )
    if not secure:
        raise S3Error(
            "InvalidArgument",
            "Requests specifying Server Side Encryption with AWS KMS managed keys must be made over a secure connection.",
            setting="trusted_proxies",
            ArgumentName=_SSE,
        )


def response_members(encryption: Encryption, customer_key_md5: str | None = None) -> dict[str, Any]:
    """The output members that tell how an object is encrypted; `customer_key_md5` goes back as the request sent it.

    A KMS key is told as its full ARN, whatever form it was given in; a bucket key where there is one; the client's
    context pairs never.
    """
    match encryption:
        case SseS3():
            return {"ServerSideEncryption": "AES256"}
        case SseC():
            told = {"SSECustomerAlgorithm": "AES256"}
            return told if customer_key_md5 is None else told | {"SSECustomerKeyMD5": customer_key_md5}
        case SseKms(key_arn=arn):
            return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": arn}
        case SseKmsBucketKey(key_arn=arn):
            return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": arn, "BucketKeyEnabled": True}
        case Dsse(inner=inner):
            return {"ServerSideEncryption": _DSSE, "SSEKMSKeyId": inner.key_arn}


def _method(headers: EncryptionHeaders) -> str | None:
    """The method that the request names for keys of this server or of a KMS, None where it names none."""
    if headers.sse is not None and headers.sse != "AES256" and headers.sse not in _KMS_METHODS:
        raise _invalid("The encryption method specified is not supported", headers.sse)
    names_kms = headers.kms_key_id is not None or headers.context is not None
    if names_kms and headers.sse not in _KMS_METHODS:
        raise _invalid(f"Server Side Encryption with AWS KMS managed key requires HTTP header {_SSE} : aws:kms")
    return headers.sse


def _kms(headers: EncryptionHeaders, default: DefaultEncryption | None) -> ChosenKms:
    """A method that the request names comes with its own key, or with the managed one, even where the bucket's default
    names another; whether with a bucket key, the bucket decides unless the request does.
    """
    if headers.sse is None:
        assert default is not None
        key_id, method = default.kms_key_id, default.algorithm
    else:
        key_id, method = headers.kms_key_id or "", headers.sse
    context, dsse = parse_context(headers.context), method == _DSSE
    if dsse and headers.bucket_key_enabled:
        raise S3Error(
            "InvalidArgument",
            "S3 Bucket Keys are not supported for dual-layer server-side encryption with AWS KMS keys (DSSE-KMS).",
            ArgumentName=_BUCKET_KEY,
            ArgumentValue="true",
        )
    inherited = default is not None and default.bucket_key_enabled
    asked = inherited if headers.bucket_key_enabled is None else headers.bucket_key_enabled
    return ChosenKms(key_id=key_id or MANAGED_KEY, context=context, bucket_key=asked and not dsse, dsse=dsse)


def _material(customer: CustomerHeaders, *, secure: bool) -> bytearray:
    """The key's bytes, of any length, after every check but that of the length."""
    if not secure:
        raise S3Error(
            "InvalidArgument",
            "Requests specifying Server Side Encryption with Customer provided keys must be made over a secure "
            "connection.",
            setting="trusted_proxies",
            ArgumentName=_SSE,
        )
    if customer.algorithm is None:
        raise _requires("a valid encryption algorithm")
    if customer.algorithm != "AES256":
        raise S3Error("InvalidEncryptionAlgorithmError", ArgumentName=_SSE, ArgumentValue=customer.algorithm)
    if customer.key is None:
        raise _requires("an appropriate secret key")
    if customer.key_md5 is None:
        raise _requires("the client calculated MD5 of the secret key")
    try:
        material = bytearray(base64.b64decode(customer.key, validate=True))
    except (binascii.Error, ValueError):
        # The cause is left out: it belongs to a traceback that holds the key.
        raise _invalid("The secret key was invalid for the specified algorithm.") from None
    digest = base64.b64encode(md5(material, usedforsecurity=False).digest())
    if not compare_digest(digest, customer.key_md5.encode(errors="replace")):
        raise _invalid("The calculated MD5 hash of the key did not match the hash that was provided.")
    return material


def _requires(what: str) -> S3Error:
    return _invalid(f"Requests specifying Server Side Encryption with Customer provided keys must provide {what}.")


def _invalid(message: str, value: str | None = None) -> S3Error:
    # S3 names this header whichever one was wrong, and tells a value only where it is not a key's.
    if value is None:
        return S3Error("InvalidArgument", message, ArgumentName=_SSE)
    return S3Error("InvalidArgument", message, ArgumentName=_SSE, ArgumentValue=value)
