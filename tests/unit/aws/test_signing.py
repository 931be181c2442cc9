import hashlib
from datetime import UTC, datetime

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from strongroom.aws.http import Headers
from strongroom.aws.signature_problems import SignatureMismatch
from strongroom.aws.signing import signed
from strongroom.aws.sigv4 import parse_authorization, verify

NOW = datetime(2026, 3, 1, 12, 30, 5, tzinfo=UTC)
GIVEN = {"host": "localhost", "content-type": "application/x-amz-json-1.1", "x-amz-target": "TrentService.Decrypt"}


def sign(headers: dict[str, str] = GIVEN, body: bytes = b"{}") -> dict[str, str]:
    return signed(
        "POST", "/", headers, body, access_key_id="AKID", secret="secret", region="eu-west-1", service="kms", now=NOW
    )


def check(headers: dict[str, str], secret: str = "secret") -> None:
    given = Headers.of(headers.items())
    authorization = parse_authorization("POST", b"/", b"", given)
    assert authorization is not None
    verify(authorization, secret, "POST", b"/", b"", given, now=NOW, region="eu-west-1", service="kms")


def test_what_is_signed_verifies_and_covers_every_header() -> None:
    headers = sign()
    check(headers)
    assert headers["x-amz-content-sha256"] == hashlib.sha256(b"{}").hexdigest()
    assert headers["x-amz-date"] == "20260301T123005Z"
    for name in GIVEN:
        with pytest.raises(SignatureMismatch):
            check({**headers, name: "another"})
    with pytest.raises(SignatureMismatch):
        check(headers, "another")


def test_botocore_signs_the_same() -> None:
    """The AWS tools' own signer, given the same headers, comes to the same signature."""
    headers = sign()
    request = AWSRequest("POST", "https://localhost/", headers={name: GIVEN[name] for name in GIVEN}, data=b"{}")
    request.headers["x-amz-content-sha256"] = headers["x-amz-content-sha256"]
    request.headers["x-amz-date"] = headers["x-amz-date"]
    request.context["timestamp"] = headers["x-amz-date"]
    theirs = SigV4Auth(Credentials("AKID", "secret"), "kms", "eu-west-1")
    string_to_sign = theirs.string_to_sign(request, theirs.canonical_request(request))
    assert headers["authorization"].endswith(f"Signature={theirs.signature(string_to_sign, request)}")
