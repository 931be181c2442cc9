"""docs/kms-compatibility.md against the official model and the code: what it says is so."""

import re
from pathlib import Path

from strongroom.aws.kms_model import load_kms_model
from strongroom.kms.key_specs import SPECS
from strongroom.kms.operations import RULES
from tests.conformance.kms.test_errors import ELSEWHERE

PAGE = (Path(__file__).parents[3] / "docs" / "kms-compatibility.md").read_text()
ROWS = re.findall(r"^\| (\w+) \| (\w+) \| .*\|$", PAGE.replace("| |", "|  |"), re.MULTILINE)
STATES = dict(ROWS)


def test_every_operation_of_the_model_has_one_row() -> None:
    names = [name for name, _ in ROWS]
    assert names == sorted(load_kms_model().operations)
    assert len(names) == 56


def test_done_is_what_the_service_does() -> None:
    assert {name for name, state in STATES.items() if state == "done"} == set(RULES)


def test_refused_is_what_it_answers_as_an_unsupported_operation() -> None:
    """`test_errors.py` sends each of them."""
    assert {name for name, state in STATES.items() if state == "refused"} == set(ELSEWHERE)
    assert set(STATES.values()) == {"done", "refused"}


def test_key_specs_are_those_that_can_be_made() -> None:
    section = PAGE.split("## Key specs")[1].split("Refused:")
    named = re.compile(r"\b(?:SYMMETRIC_DEFAULT|(?:HMAC|RSA|ECC|ML_DSA|ML_KEM)_[A-Z0-9_]+|SM2)\b")
    made = {name for name, spec in SPECS.items() if spec.generate is not None}
    assert set(named.findall(section[0])) == made
    assert set(named.findall(section[1].split("(")[0])) == set(SPECS) - made
