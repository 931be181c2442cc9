"""From a call to the pure rules of `encryption`: where a request's encryption headers lie, and the bucket's and the
server's say in them.
"""

from dataclasses import dataclass, field, replace

from strongroom.crypto.customer_key import CustomerKey
from strongroom.identity.call import AuthorizedCall
from strongroom.metadata.records import OpenBucket
from strongroom.s3.encryption import (
    ChosenSseC,
    CustomerHeaders,
    EncryptionHeaders,
    choose,
    customer_key_for_read,
    customer_key_for_write,
    refuse_blocked,
    refuse_sse_header,
)

KEY_HEADER = "x-amz-server-side-encryption-customer-key"
SOURCE_KEY_HEADER = "x-amz-copy-source-server-side-encryption-customer-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How a write is encrypted: under `customer_key` (to be zeroed by whoever seals with it), or under the server's if
    None.
    """

    customer_key: CustomerKey | None = None
    customer_key_md5: str | None = field(default=None, repr=False)


def choose_encryption(call: AuthorizedCall, bucket: OpenBucket) -> Choice:
    """For a new object or upload. Raises S3Error."""
    customer = _customer(call)
    chosen = choose(
        replace(EncryptionHeaders.of(call.input), customer=customer),
        default=bucket.config.encryption,
        blocks_sse_c=bucket.config.blocks_sse_c,
        secure=call.secure_transport,
        principal=call.principal.arn,
        bucket=bucket.bucket.name,
        key=call.input["Key"],
    )
    if isinstance(chosen, ChosenSseC):
        return Choice(customer_key=chosen.customer_key, customer_key_md5=customer.key_md5)
    return Choice()


def names_encryption(call: AuthorizedCall) -> bool:
    """Whether the request says anything of the encryption of what it writes."""
    return call.input.get("ServerSideEncryption") is not None or _customer(call).given


def part_customer_key(call: AuthorizedCall, bucket: OpenBucket) -> CustomerKey | None:
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


def read_customer_key(call: AuthorizedCall) -> CustomerKey | None:
    """The key to open an object with. Raises S3Error for its form only; whether it fits shows when it opens."""
    return customer_key_for_read(_customer(call), secure=call.secure_transport)


def source_customer_key(call: AuthorizedCall) -> CustomerKey | None:
    """The key to open a copy's source with. Raises as `read_customer_key`."""
    headers = replace(CustomerHeaders.of(call.input, "CopySource"), key=call.secret_headers.get(SOURCE_KEY_HEADER))
    return customer_key_for_read(headers, secure=call.secure_transport)


def refuse_encryption_headers(call: AuthorizedCall) -> None:
    """For operations that have no x-amz-server-side-encryption. Raises InvalidArgument."""
    refuse_sse_header(call.headers.get("x-amz-server-side-encryption"))


def _customer(call: AuthorizedCall) -> CustomerHeaders:
    return replace(CustomerHeaders.of(call.input), key=call.secret_headers.get(KEY_HEADER))
