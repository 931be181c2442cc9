"""KMS's requests on the wire: who is believed, what is answered, and what of it is kept."""

import base64
import hashlib
import json
import os
import select
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as BotocoreCredentials
from botocore.exceptions import ClientError

from strongroom.aws.kms_errors import KmsError
from strongroom.crypto.errors import IntegrityError
from strongroom.database.database import Unavailable
from strongroom.identity.requester import Requester, encode_requester, parse_requester
from strongroom.identity.root import Credentials, Principal
from tests.harness import read_reply
from tests.json_serving import (
    ACCOUNT,
    ALICE,
    CONTENT_TYPE,
    REGION,
    SERVICE,
    Served,
    SmallKms,
    error_of,
    head,
    serving,
    signed,
)

ASK = {"NumberOfBytes": 16}
BODY = json.dumps(ASK).encode()
MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and"
    " signing method. Consult the service documentation for details."
)
BOB = Requester(
    principal=Principal(account_id=ACCOUNT, arn=f"arn:aws:iam::{ACCOUNT}:user/bob"),
    access_key_id="AKIABOB",
    source_ip="192.0.2.7",
    secure_transport=True,
    user_agent="Boto3/1 \u00fc",
    request_id="4442587FB7D0A2F9",
)


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(SmallKms()) as running:
        yield running


@pytest.fixture
def inside() -> Iterator[Served]:
    """As on the Unix socket."""
    with serving(SmallKms(internal=True)) as running:
        yield running


def client(served: Served, credentials: Credentials = ALICE, **config: Any) -> Any:
    return boto3.client(
        "kms",
        endpoint_url=served.url,
        region_name=REGION,
        aws_access_key_id=credentials.access_key_id,
        aws_secret_access_key=credentials.secret_access_key,
        config=Config(retries={"max_attempts": 1, "mode": "standard"}, **config),
    )


def refused(served: Served, code: str, message: str | None, *, operation: str = "", verified: bool = False) -> None:
    """There is one record of a refusal, and no call."""
    (refusal,) = served.kms.refusals
    assert (refusal.error.code, refusal.error.message) == (code, message)
    assert (refusal.operation, refusal.is_verified) == (operation, verified)
    assert refusal.caller.arn == f"arn:aws:iam::{ACCOUNT}:user/alice"
    assert served.kms.calls == []


# --- what is answered


def test_a_signed_request_is_answered(served) -> None:
    reply = served.send(ASK)
    assert (reply.status, reply.headers["content-type"]) == (200, CONTENT_TYPE)
    assert len(base64.b64decode(json.loads(reply.body)["Plaintext"])) == 16
    assert uuid.UUID(reply.headers["x-amzn-requestid"]).version == 4
    assert "x-amz-id-2" not in reply.headers
    ((operation, given, caller),) = served.kms.calls
    assert (operation, given) == ("GenerateRandom", ASK)
    assert caller.request_id == reply.headers["x-amzn-requestid"]
    assert (caller.via_service, caller.is_service) == (None, False)
    assert caller.requester == Requester(
        principal=Principal(account_id=ACCOUNT, arn=f"arn:aws:iam::{ACCOUNT}:user/alice"),
        access_key_id="AKIAALICE",
        source_ip="127.0.0.1",
        secure_transport=True,
        user_agent="",
        request_id="",
    )
    assert served.kms.refusals == []


def test_boto3(served) -> None:
    kms = client(served)
    answer = kms.generate_random(NumberOfBytes=32)
    assert len(answer["Plaintext"]) == 32
    assert uuid.UUID(answer["ResponseMetadata"]["RequestId"])
    described = kms.describe_key(KeyId="alias/a")["KeyMetadata"]
    assert described["CreationDate"] == datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC)
    assert "Description" not in described
    assert kms.enable_key(KeyId="1")["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert served.kms.calls[0][2].requester.user_agent.startswith("Boto3/")
    with pytest.raises(ClientError) as caught:
        kms.generate_random(NumberOfBytes=2000)
    assert caught.value.response["Error"] == {
        "Code": "ValidationException",
        "Message": "1 validation error detected: Value '2000' at 'numberOfBytes' failed to satisfy constraint: "
        "Member must have value less than or equal to 1024",
    }
    with pytest.raises(kms.exceptions.UnsupportedOperationException):
        kms.create_key()


@pytest.mark.parametrize("name", ["list_keys", "create_key", "list_aliases"])
def test_boto3_reaches_every_kind_of_operation(served, name) -> None:
    with pytest.raises(ClientError, match="UnsupportedOperation"):
        getattr(client(served), name)()
    assert len(served.kms.calls) == 1


AWS = Path(".testenv/bin/aws")


@pytest.mark.skipif(not AWS.exists(), reason="aws-cli is not installed")
def test_aws_cli(served, tmp_path) -> None:
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": ALICE.access_key_id,
        "AWS_SECRET_ACCESS_KEY": ALICE.secret_access_key,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL_KMS": served.url,
    }
    command = [str(AWS.absolute()), "kms", "generate-random", "--number-of-bytes", "8", "--output", "json"]
    done = subprocess.run(command, env=environ, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert len(base64.b64decode(json.loads(done.stdout)["Plaintext"])) == 8


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-amz-json-1.0", ""])
def test_any_content_type_will_do(served, content_type) -> None:
    assert served.send(ASK, headers={"content-type": content_type}).status == 200


def test_the_hash_may_be_named_and_must_be_right(served) -> None:
    digest = hashlib.sha256(BODY).hexdigest()
    assert served.send(BODY, headers={"x-amz-content-sha256": digest}).status == 200
    other = hashlib.sha256(b"other").hexdigest()
    for payload in (other, digest):  # signed over either
        reply = served.send(BODY, headers={"x-amz-content-sha256": other}, payload=payload)
        assert error_of(reply) == ("InvalidSignatureException", MISMATCH)


@pytest.mark.parametrize("word", ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "nonsense", ""])
def test_an_unsigned_body_is_refused(served, word) -> None:
    reply = served.send(BODY, headers={"x-amz-content-sha256": word}, payload=word or None)
    assert (reply.status, *error_of(reply)) == (400, "InvalidSignatureException", MISMATCH)
    assert served.kms.calls == []


def test_the_same_connection_answers_again(served) -> None:
    request = head(signed(BODY)) + BODY
    reply = served.raw(request)
    assert reply.status == 200
    assert len(served.kms.calls) == 1


def test_probes_need_no_signature(served) -> None:
    assert served.raw(b"GET /-/live HTTP/1.1\r\nhost: x\r\n\r\n", "GET").body == b"live\n"
    assert served.raw(b"GET /-/ready HTTP/1.1\r\nhost: x\r\n\r\n", "GET").status == 200
    served.kms.is_ready = False
    assert served.raw(b"GET /-/ready HTTP/1.1\r\nhost: x\r\n\r\n", "GET").status == 503


# --- who is not believed


def test_no_credentials(served) -> None:
    request = b"POST / HTTP/1.1\r\nhost: x\r\nx-amz-target: TrentService.ListKeys\r\ncontent-length: 2\r\n\r\n{}"
    reply = served.raw(request)
    assert (reply.status, *error_of(reply)) == (
        400,
        "MissingAuthenticationTokenException",
        "Missing Authentication Token",
    )
    assert json.loads(reply.body)["Message"] == "Missing Authentication Token"
    assert served.kms.refusals == []


def test_an_unknown_access_key_id(served) -> None:
    reply = served.send(ASK, credentials=Credentials(access_key_id="AKIANOBODY", secret_access_key="x"))
    assert error_of(reply) == ("UnrecognizedClientException", "The security token included in the request is invalid.")
    assert reply.status == 400
    assert served.kms.refusals == []


def test_a_wrong_secret(served) -> None:
    reply = served.send(ASK, credentials=Credentials(access_key_id="AKIAALICE", secret_access_key="x"))
    assert error_of(reply) == ("InvalidSignatureException", MISMATCH)
    refused(served, "InvalidSignatureException", MISMATCH)


@pytest.mark.parametrize("changed", ["body", "target", "date"])
def test_anything_that_was_changed_on_the_way(served, changed) -> None:
    headers, body = signed(BODY), BODY
    match changed:
        case "body":
            body = BODY.replace(b"16", b"99")
        case "target":
            headers["x-amz-target"] = "TrentService.ListKeys"
        case "date":
            moment = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            headers["x-amz-date"] = (moment + timedelta(seconds=1)).strftime("%Y%m%dT%H%M%SZ")
    assert error_of(served.raw(head(headers) + body))[0] == "InvalidSignatureException"
    assert served.kms.calls == []


NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "message"),
    [
        (-299, None),
        (299, None),
        (
            -301,
            "Signature expired: 20260102T025904Z is now earlier than 20260102T025905Z (20260102T030405Z - 5 min.)",
        ),
        (
            301,
            "Signature not yet current: 20260102T030906Z is still later than 20260102T030905Z (20260102T030405Z + 5 min.)",
        ),
    ],
)
def test_a_clock_may_be_five_minutes_off(served, seconds, message) -> None:
    served.kms.now = NOW
    reply = served.send(ASK, now=NOW + timedelta(seconds=seconds))
    if message is None:
        assert reply.status == 200
    else:
        assert error_of(reply) == ("InvalidSignatureException", message)
        refused(served, "InvalidSignatureException", message)


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        ("20260102/eu-west-1/kms/aws4_request", "Credential should be scoped to a valid region, not 'eu-west-1'."),
        ("20260102/us-east-1/s3/aws4_request", "Credential should be scoped to correct service: 'kms'."),
        ("20200101/us-east-1/kms/aws4_request", "Date in Credential scope does not match YYYYMMDD"),
    ],
)
def test_a_credential_for_elsewhere(served, scope, message) -> None:
    served.kms.now = NOW
    code, told = error_of(served.send(ASK, scope=scope, now=NOW))
    assert code == "InvalidSignatureException"
    assert told is not None
    assert told.startswith(message)


@pytest.mark.parametrize(
    "authorization",
    [
        "Basic cm9vdDpwYXNzd29yZA==",
        "Bearer token-token",
        "AWS AKIAALICE:signature",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=AKIAALICE",
        "AWS4-HMAC-SHA256 Credential=AKIAALICE/x, SignedHeaders=host, Signature=a",
        "AWS4-HMAC-SHA256 Credential=AKIAALICE/20260102/us-east-1/kms/aws4_request, SignedHeaders=HOST, Signature=a",
        "AWS4-ECDSA-P256-SHA256 Credential=AKIAALICE/20260102/kms/aws4_request, SignedHeaders=host, Signature=a",
    ],
)
def test_an_authorization_that_can_not_be_read(served, authorization) -> None:
    request = head({"host": "x", "authorization": authorization, "content-length": "2"}) + b"{}"
    code, message = error_of(served.raw(request))
    assert code == "IncompleteSignatureException"
    assert message is not None
    assert "cm9v" not in message
    assert "token-token" not in message


def test_an_order_that_is_not_signed(served) -> None:
    """Somebody on the way may add a header or an operation, but then nobody signed them."""
    message = "'x-amz-target' must be a 'SignedHeader' in the AWS Authorization."
    reply = served.send(ASK, target=None, unsigned={"x-amz-target": "TrentService.ScheduleKeyDeletion"})
    assert error_of(reply) == ("InvalidSignatureException", message)
    refused(served, "InvalidSignatureException", message)


def test_a_session_token_opens_nothing(served) -> None:
    reply = served.send(ASK, headers={"x-amz-security-token": "token"})
    assert error_of(reply)[0] == "UnrecognizedClientException"


def test_a_presigned_request_is_refused(served) -> None:
    request = AWSRequest("GET", f"{served.url}/?Action=ListKeys", headers={"host": "x"})
    SigV4QueryAuth(BotocoreCredentials(ALICE.access_key_id, ALICE.secret_access_key), "kms", REGION).add_auth(request)
    target = str(request.url).removeprefix(served.url)
    reply = served.raw(head({"host": "x"}, "GET", target), "GET")
    assert (reply.status, error_of(reply)[0]) == (400, "IncompleteSignatureException")
    assert [each.error.code for each in served.kms.refusals] == ["IncompleteSignatureException"]


# --- what can not be asked


@pytest.mark.parametrize(
    "target", ["TrentService.NoSuchOperation", "TrentService.", "ListKeys", "DynamoDB_20120810.ListKeys", "trentservice.ListKeys", None]
)  # fmt: skip
def test_an_unknown_operation(served, target) -> None:
    reply = served.send(ASK, target=target)
    assert (reply.status, json.loads(reply.body)) == (400, {"__type": "UnknownOperationException"})
    refused(served, "UnknownOperationException", None, verified=True)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("PUT", "/"), ("POST", "/keys"), ("DELETE", "/x/y"), ("HEAD", "/")]
)
def test_no_other_method_or_path(served, method, path) -> None:
    reply = served.send(b"", method=method, path=path, target="TrentService.ListKeys")
    assert reply.status == 400
    refused(served, "UnknownOperationException", None, verified=True)


def test_input_that_breaks_the_model_is_refused_with_its_operation(served) -> None:
    reply = served.send({"NumberOfBytes": 0})
    code, message = error_of(reply)
    assert code == "ValidationException"
    refused(served, code, message, operation="GenerateRandom", verified=True)
    served.kms.refusals.clear()
    reply = served.send(b"{nonsense")
    assert json.loads(reply.body) == {"__type": "SerializationException"}
    refused(served, "SerializationException", None, operation="GenerateRandom", verified=True)


def test_a_body_of_more_than_a_mebibyte(served) -> None:
    body = b" " * (1024 * 1024 - len(BODY)) + BODY
    assert served.send(body).status == 200
    code, message = error_of(served.send(body + b" "))
    assert (code, message) == ("RequestEntityTooLargeException", "The request is longer than 1048576 bytes.")


def test_a_body_that_does_not_come(served) -> None:
    reply = served.raw(head(signed(BODY)) + BODY[:3])
    assert (reply.status, error_of(reply)[0]) == (400, "RequestTimeoutException")


def test_a_body_that_comes_in_drops(served) -> None:
    """Anybody may name an access key id, and its body is read before the signature is looked at."""
    content = BODY + b" " * 200
    with socket.socket() as connection:
        connection.settimeout(10)
        connection.connect(served.address)
        connection.sendall(head(signed(content)))
        started = time.monotonic()
        for at in range(len(content)):
            connection.sendall(content[at : at + 1])
            if select.select([connection], [], [], 0.05)[0]:
                break
        assert time.monotonic() - started < 5
        reply = read_reply(connection, "POST")
    assert (reply.status, error_of(reply)[0]) == (400, "RequestTimeoutException")


# --- what goes wrong here


@pytest.mark.parametrize(
    ("error", "status", "document"),
    [
        (RuntimeError("a secret of the server"), 500, {"__type": "KMSInternalException"}),
        (IntegrityError("record"), 500, {"__type": "KMSInternalException"}),
        (Unavailable("the disk is full"), 503, {"__type": "ServiceUnavailableException"}),
        (KmsError("DisabledException", "x is disabled."), 400, {"__type": "DisabledException", "message": "x is disabled."}),
        (KmsError("AccessDeniedException", "no"), 400, {"__type": "AccessDeniedException", "Message": "no"}),
    ],
)  # fmt: skip
def test_what_an_operation_raises(served, error, status, document) -> None:
    served.kms.raises["GenerateRandom"] = error
    reply = served.send(ASK)
    assert (reply.status, json.loads(reply.body)) == (status, document)
    assert served.kms.refusals == []  # it was a call, and its record is the call's


def test_a_refusal_without_its_record_is_no_answer(served, monkeypatch) -> None:
    async def full(_refusal: Any) -> None:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(served.kms, "refused", full)
    with serving(served.kms) as again:
        reply = again.send({"NumberOfBytes": 0})
        assert (reply.status, error_of(reply)[0]) == (503, "ServiceUnavailableException")


# --- in whose name


NOT_IN_ANOTHERS_NAME = "Nobody but this store's own service may ask in another's name."


def test_the_service_asks_for_itself(inside) -> None:
    assert inside.send(ASK, credentials=SERVICE).status == 200
    caller = inside.kms.calls[0][2]
    assert (caller.is_service, caller.via_service, caller.arn) == (
        True,
        None,
        f"arn:aws:iam::{ACCOUNT}:user/strongroom-s3",
    )


def test_the_service_asks_for_a_person(inside) -> None:
    reply = inside.send(ASK, credentials=SERVICE, headers={"x-strongroom-requester": encode_requester(BOB)})
    assert reply.status == 200
    caller = inside.kms.calls[0][2]
    assert (caller.is_service, caller.via_service) == (False, "s3.us-east-1.amazonaws.com")
    assert caller.requester == BOB
    assert caller.request_id == reply.headers["x-amzn-requestid"]


def test_a_person_inside_is_a_person(inside) -> None:
    for headers in ({}, {"x-forwarded-for": "192.0.2.1"}):  # which makes loopback another's, and the socket not
        assert inside.send(ASK, headers=headers).status == 200
        caller = inside.kms.calls.pop()[2]
        assert (caller.is_service, caller.requester.secure_transport) == (False, True)


def test_the_service_credential_opens_nothing_outside(served) -> None:
    for headers in ({}, {"x-strongroom-requester": encode_requester(BOB)}):
        reply = served.send(ASK, credentials=SERVICE, headers=headers)
        assert error_of(reply)[0] == "UnrecognizedClientException"
    assert served.kms.calls == []


def test_nobody_else_asks_in_anothers_name(served, inside) -> None:
    for where in (served, inside):
        reply = where.send(ASK, headers={"x-strongroom-requester": encode_requester(BOB)})
        assert (reply.status, *error_of(reply)) == (400, "AccessDeniedException", NOT_IN_ANOTHERS_NAME)
        refused(where, "AccessDeniedException", NOT_IN_ANOTHERS_NAME, operation="GenerateRandom", verified=True)


def test_a_name_that_is_not_signed_counts_for_nothing(inside) -> None:
    reply = inside.send(ASK, credentials=SERVICE, unsigned={"x-strongroom-requester": encode_requester(BOB)})
    assert error_of(reply) == ("AccessDeniedException", NOT_IN_ANOTHERS_NAME)
    assert inside.kms.calls == []


def _changed(**members: Any) -> str:
    document = json.loads(base64.urlsafe_b64decode(encode_requester(BOB))) | members
    document = {name: value for name, value in document.items() if value is not ...}
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()


@pytest.mark.parametrize(
    "value",
    [
        "",
        "!",
        "bnVsbA==",
        "e30=",
        base64.urlsafe_b64encode(b"[" * 10_000).decode(),
        _changed(arn=...),
        _changed(arn=5),
        _changed(arn="bob"),
        _changed(account="12"),
        _changed(account="0000000000\u0660\u0660"),
        _changed(secureTransport="true"),
        _changed(isRoot=True),
    ],
    ids=range(12),
)
def test_a_name_that_can_not_be_read(inside, value) -> None:
    reply = inside.send(ASK, credentials=SERVICE, headers={"x-strongroom-requester": value})
    assert error_of(reply) == ("AccessDeniedException", "The person in whose name the service asks can't be read.")
    assert inside.kms.calls == []


def test_a_name_is_read_as_it_was_written() -> None:
    assert parse_requester(encode_requester(BOB)) == BOB
    assert parse_requester(encode_requester(BOB).rstrip("=")) == BOB


# --- the log


def test_the_log_holds_nothing_of_bodies_and_headers(caplog) -> None:
    caplog.set_level("DEBUG", logger="strongroom")
    canary = "canary7canary"
    with serving(SmallKms()) as served:
        served.send({"NumberOfBytes": 16, "CustomKeyStoreId": canary}, headers={"x-amz-note": canary})
        served.send({"NumberOfBytes": canary, "CustomKeyStoreId": canary * 20})
        served.send({"CustomKeyStoreId": canary * 20})
        served.send(canary.encode(), target=f"TrentService.{canary}")
        served.send(BODY, scope=f"{datetime.now(UTC):%Y%m%d}/{canary}/kms/aws4_request")
        served.kms.raises["GenerateRandom"] = RuntimeError("what happened")
        served.send(ASK)
    told = "\n".join(f"{record.getMessage()} {record.__dict__} {record.exc_text}" for record in caplog.records)
    assert "what happened" in str(caplog.records[-1].exc_info)
    assert "GenerateRandom" in told
    assert canary not in told
