"""The state table against AWS's, row by row (state_table.tsv)."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.aws.kms_errors import KmsError
from strongroom.kms.key_states import STATES, check_state
from strongroom.kms.records import DeletionClock, Key

ARN = "arn:aws:kms:us-east-1:000000000000:key/1"
REFUSALS = {
    "1": ("DisabledException", f"{ARN} is disabled."),
    "3": ("KMSInvalidStateException", f"{ARN} is pending deletion."),
    "4": ("KMSInvalidStateException", f"{ARN} is not pending deletion."),
    "5": ("KMSInvalidStateException", f"{ARN} is pending import."),
}
_KEY = Key(key_id="1", created_us=0, spec="SYMMETRIC_DEFAULT", usage="ENCRYPT_DECRYPT", origin="AWS_KMS", policy="{}")
_CLOCK = DeletionClock(boot_id="boot", boottime_us=0, window_us=1)
KEYS = {
    "Enabled": _KEY,
    "Disabled": replace(_KEY, enabled=False),
    "PendingDeletion": replace(_KEY, deletion_us=1, deletion_clock=_CLOCK),
    "PendingImport": replace(_KEY, origin="EXTERNAL", available=False),
}
LINES = [
    line.split("\t") for line in Path(__file__).with_name("state_table.tsv").read_text().splitlines() if line[0] != "#"
]
STATE_NAMES, ROWS = LINES[0][1:], LINES[1:]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_each_operation_allows_a_state_or_refuses_it_as_aws_does(row: list[str]) -> None:
    operation, *expected = row
    for state, verdict in zip(STATE_NAMES, expected, strict=True):
        assert KEYS[state].state == state
        if verdict == "ok":
            check_state(operation, KEYS[state], ARN)
            continue
        with pytest.raises(KmsError) as refused:
            check_state(operation, KEYS[state], ARN)
        assert (refused.value.code, refused.value.message) == REFUSALS[verdict]


def test_the_table_is_of_all_operations_on_keys() -> None:
    assert {row[0] for row in ROWS} == set(STATES)


def test_a_deletion_outlives_every_other_state() -> None:
    for state in ("Disabled", "PendingImport"):
        assert replace(KEYS[state], deletion_us=1).state == "PendingDeletion"
