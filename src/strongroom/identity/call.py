"""The authorised call: the only thing that a handler accepts.

`AuthorizedCall` is made in one place, `edge/authorize.py`, after the request was authenticated and allowed (a test
holds that); whoever has one may act on it. It knows its operation by name and its input by the model's member names,
and nothing of HTTP beyond the headers that checksums need.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from strongroom.aws.http import Headers
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
class AuthorizedCall:
    """`secret_headers`: the customer-key headers, taken out of `headers` and `input` at the edge, by lower-case name.
    `bucket_url`: where the client finds the bucket, for answers that name an object's URL.
    """

    operation: str
    input: Mapping[str, Any] = field(repr=False)
    headers: Headers
    secret_headers: Mapping[str, str] = field(repr=False)
    body: Body | None
    requester: Requester
    bucket_url: str

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
