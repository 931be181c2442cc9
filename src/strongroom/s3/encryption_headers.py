"""From a call to the pure rules of `encryption`: where a request's encryption headers lie, and the bucket's and the
server's say in them.
"""

from dataclasses import dataclass, field, replace

from strongroom.crypto.secret_key import SecretKey
from strongroom.identity.call import AuthorizedCall
from strongroom.metadata.records import OpenBucket
from strongroom.s3.encryption import (
    Chosen,
    ChosenSseC,
    CustomerHeaders,
    EncryptionHeaders,
    choose,
    customer_key_for_read,
    customer_key_for_write,
    refuse_blocked,
    refuse_kms_headers,
    refuse_sse_header,
)

_KMS_HEADERS = (
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-context",
    "x-amz-server-side-encryption-bucket-key-enabled",
)
KEY_HEADER = "x-amz-server-side-encryption-customer-key"
SOURCE_KEY_HEADER = "x-amz-copy-source-server-side-encryption-customer-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How a write is encrypted, and of a customer's key (to be zeroed by whoever seals with it) what goes back."""

    chosen: Chosen
    customer_key_md5: str | None = field(default=None, repr=False)

    @property
    def customer_key(self) -> SecretKey | None:
        return self.chosen.customer_key if isinstance(self.chosen, ChosenSseC) else None


def choose_encryption(call: AuthorizedCall, bucket: OpenBucket) -> Choice:
    """For a new object or upload. Raises S3Error."""
    customer = _customer(call)
    chosen = choose(
        replace(EncryptionHeaders.of(call.input), customer=customer),
        default=bucket.config.encryption,
        blocks_sse_c=bucket.config.blocks_sse_c,
        secure=call.secure_transport,
        signed=bool(call.requester.access_key_id),
        principal=call.principal.arn,
        bucket=bucket.bucket.name,
        key=call.input["Key"],
    )
    return Choice(chosen=chosen, customer_key_md5=customer.key_md5 if isinstance(chosen, ChosenSseC) else None)


def names_encryption(call: AuthorizedCall) -> bool:
    """Whether the request says anything of the encryption of what it writes."""
    return call.input.get("ServerSideEncryption") is not None or _customer(call).given


def part_customer_key(call: AuthorizedCall, bucket: OpenBucket) -> SecretKey | None:
    """The key of an upload's part. Raises S3Error."""
    customer = _customer(call)
    refuse_blocked(
        customer,
        blocks_sse_c=bucket.config.blocks_sse_c,
        principal=call.principal.arn,
        bucket=bucket.bucket.name,
        key=call.input["Key"],
    )
    return customer_key_for_write(customer, secure=call.secure_transport)


def read_customer_key(call: AuthorizedCall) -> SecretKey | None:
    """The key to open an object with. Raises S3Error for its form only; whether it fits shows when it opens."""
    return customer_key_for_read(_customer(call), secure=call.secure_transport)


def source_customer_key(call: AuthorizedCall) -> SecretKey | None:
    """The key to open a copy's source with. Raises as `read_customer_key`."""
    headers = replace(CustomerHeaders.of(call.input, "CopySource"), key=call.secret_headers.get(SOURCE_KEY_HEADER))
    return customer_key_for_read(headers, secure=call.secure_transport)


def refuse_encryption_headers(call: AuthorizedCall) -> None:
    """For operations that have no x-amz-server-side-encryption and nothing that goes with it. Raises InvalidArgument."""
    refuse_sse_header(call.headers.get("x-amz-server-side-encryption"))
    refuse_kms_headers(named=next((name for name in _KMS_HEADERS if name in call.headers), None))


def _customer(call: AuthorizedCall) -> CustomerHeaders:
    return replace(CustomerHeaders.of(call.input), key=call.secret_headers.get(KEY_HEADER))
