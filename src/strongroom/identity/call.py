"""The authorised call: the only thing that a handler accepts.

`AuthorizedCall` is made in one place, `edge/authorize.py`, after the request was authenticated and allowed (a test
holds that); whoever has one may act on it. It knows its operation by name and its input by the model's member names,
and nothing of HTTP beyond the headers that checksums need.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from strongroom.aws.http import Headers
from strongroom.identity.policy import Context
from strongroom.identity.requester import Requester
from strongroom.identity.root import Principal


def _no_trailers() -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A payload not yet read. `size`: the plaintext bytes that `chunks` will give, None where only their end tells (a
    form's file); `chunks` raises where it gives another number, as it does for every wrong signature.

    `trailers`: the trailing headers, to be asked for when `chunks` has ended.

    """

    chunks: AsyncIterator[bytes] = field(repr=False)
    size: int | None
    trailers: Callable[[], Mapping[str, str]] = field(default=_no_trailers, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """What a request has to be allowed: an IAM action on the ARN of a resource. `conditions`: the condition keys of this
    action alone, beside those of the whole request.
    """

    action: str
    resource: str
    conditions: Context = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """A request before it is allowed, as the rules of its service see it. `auth_type`: as `s3:authType` says it.
    `signature_age`: of a presigned request or a form. `document_unread`: its XML document is yet to come.
    """

    operation: str
    input: Mapping[str, Any] = field(repr=False)
    headers: Headers
    account_id: str
    auth_type: Literal["REST-HEADER", "REST-QUERY-STRING", "POST"]
    signature_age: timedelta | None = None
    document_unread: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a service wants to have allowed. `conditions`: the keys of the whole request. `permissions`: all that is
    needed; they may come one by one, and the next raise S3Error for what only somebody may hear who was allowed the
    first. None at all: its unread document decides, or its handler.
    """

    conditions: Callable[[Sought], Context]
    permissions: Callable[[Sought], Awaitable[Iterable[Permission]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizedCall:
    """`secret_headers`: the customer-key headers, taken out of `headers` and `input` at the edge, by lower-case name.
    `bucket_url`: where the client finds the bucket, for answers that name an object's URL.
    `denial`: for what only the handler learns of (each key of DeleteObjects): None where it is allowed, else AWS's
    sentence.
    """

    operation: str
    input: Mapping[str, Any] = field(repr=False)
    headers: Headers
    secret_headers: Mapping[str, str] = field(repr=False)
    body: Body | None
    requester: Requester
    bucket_url: str
    denial: Callable[[Permission], str | None] = field(repr=False)

    @property
    def principal(self) -> Principal:
        return self.requester.principal

    @property
    def request_id(self) -> str:
        return self.requester.request_id

    @property
    def secure_transport(self) -> bool:
        return self.requester.secure_transport


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An operation's output by the model's member names; `status` where it is not the model's.

    A `Body` member is bytes or an iterator of exactly `ContentLength` plaintext bytes.
    """

    output: Mapping[str, Any] = field(default_factory=dict)
    status: int | None = None


Handler = Callable[[AuthorizedCall], Awaitable[Answer]]
