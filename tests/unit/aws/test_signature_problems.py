"""Both services have words for every problem of a signature, and neither repeats a secret."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from strongroom.aws import kms_signatures, s3_signatures
from strongroom.aws import signature_problems as problems

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CANARY = "canary7canary"
SCOPE: dict[str, Any] = {"given": "a", "expected": "b", "presigned": False}
EVERY = [
    problems.TwoMechanisms(),
    problems.AnotherMechanism(of_aws=False),
    problems.AnotherMechanism(of_aws=True),
    problems.Malformed("why"),
    problems.Malformed("why", presigned=True),
    problems.BadQueryParameters(),
    problems.BadQueryParameters("why"),
    problems.PayloadHashMissing(),
    problems.PayloadHashInvalid("x"),
    problems.DateMissing(),
    problems.WrongDate(**SCOPE),
    problems.WrongRegion(**SCOPE),
    problems.WrongService(**SCOPE),
    problems.HeadersNotSigned(("x-amz-meta-a",)),
    problems.SignatureMismatch(
        access_key_id="AKIA",
        signature="00",
        string_to_sign="x",
        canonical=f"PUT\n/\n\nx-amz-server-side-encryption-customer-key:{CANARY}".encode(),
    ),
    problems.Skewed(signed_at=NOW, now=NOW + timedelta(hours=1), max_skew=timedelta(minutes=5)),
    problems.Expired(signed_at=NOW, now=NOW, expires=1, expires_at=NOW, is_early=False),
]


def test_the_list_is_complete() -> None:
    def leaves(kind: type) -> set[type]:
        below: list[type] = kind.__subclasses__()
        return {kind} if not below else {leaf for each in below for leaf in leaves(each)}

    assert {type(problem) for problem in EVERY} == leaves(problems.SignatureProblem)


@pytest.mark.parametrize("problem", EVERY, ids=lambda each: type(each).__name__)
def test_a_problem_is_the_clients_mistake_in_both_services(problem) -> None:
    of_s3, of_kms = s3_signatures.signature_error(problem), kms_signatures.signature_error(problem)
    assert 400 <= of_s3.status <= 501
    assert of_s3.status != 500
    assert of_kms.status == 400
    assert of_kms.code in ("IncompleteSignatureException", "InvalidSignatureException")
    assert CANARY not in f"{of_s3} {of_s3.detail} {of_kms} {problem!r}"
