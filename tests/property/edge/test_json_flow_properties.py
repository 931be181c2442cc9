"""Whatever comes, KMS's edge answers 400 and never 500; and nothing but a signed request becomes a call."""

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.aws.kms_errors import KmsError
from strongroom.aws.kms_model import load_kms_model
from strongroom.edge.asgi import application
from tests.kms_serving import SERVICE, SmallKms, signed

OPERATIONS = sorted(load_kms_model().operations)
LATIN = st.text(st.characters(max_codepoint=255), max_size=40)
HEADER = st.sampled_from(
    [
        "authorization", "content-length", "content-type", "host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token",
        "x-amz-target", "x-strongroom-requester", "x-amz-anything", "date",
    ]
)  # fmt: skip
VALUES = LATIN | st.sampled_from(
    [
        "AWS4-HMAC-SHA256 Credential=AKIAALICE/20260101/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=00",
        "TrentService.Decrypt",
        "UNSIGNED-PAYLOAD",
        "20260101T000000Z",
    ]
)
DOCUMENT = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=10,
)
BODY = st.binary(max_size=80) | DOCUMENT.map(lambda value: json.dumps(value).encode())


class NeverAnswers(SmallKms):
    async def answer(self, operation, given, caller):
        self.calls.append((operation, given, caller))
        raise KmsError("UnsupportedOperationException")


def ask(kms: SmallKms, method: str, path: bytes, query: bytes, headers: list[tuple[str, str]], body: bytes) -> int:
    start: MutableMapping[str, Any] = {}
    answered = bytearray()

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        start.update(message if message["type"] == "http.response.start" else {})
        answered.extend(message.get("body", b""))

    scope = {
        "type": "http",
        "method": method,
        "scheme": "http",
        "raw_path": path,
        "query_string": query,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
        "client": ("127.0.0.1", 1),
    }

    async def exchange() -> None:
        await application(kms.service())(scope, receive, send)

    asyncio.run(exchange())
    if method != "HEAD":
        assert json.loads(bytes(answered))["__type"]
    return int(start["status"])


@settings(max_examples=300)
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"]),
    path=st.sampled_from([b"/", b"//", b"/-", b"/%00", b"/\xff", b""]),
    query=st.binary(max_size=30) | st.just(b"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a"),
    headers=st.lists(st.tuples(HEADER, VALUES), max_size=8),
    body=BODY,
)
def test_garbage(method, path, query, headers, body) -> None:
    kms = NeverAnswers(internal=True)
    assert ask(kms, method, path, query, headers, body) == 400
    assert kms.calls == []


@settings(max_examples=300)
@given(
    target=st.sampled_from(OPERATIONS).map(lambda name: f"TrentService.{name}") | LATIN.map(str.strip),
    body=BODY,
    extra=st.dictionaries(st.sampled_from(["x-strongroom-requester", "content-encoding", "x-amz-anything"]), LATIN.map(str.strip)),
    is_service=st.booleans(),
)  # fmt: skip
def test_signed_garbage(target, body, extra, is_service) -> None:
    """Every one of them is a call or has its record of a refusal."""
    kms = NeverAnswers(internal=True)
    who = {"credentials": SERVICE} if is_service else {}
    headers = signed(body, target=target, headers=extra, **who)  # type: ignore[arg-type]
    assert ask(kms, "POST", b"/", b"", list(headers.items()), body) == 400
    assert len(kms.calls) + len(kms.refusals) == 1
