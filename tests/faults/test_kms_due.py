"""What the key service does by itself, rotations and deletions that are due: once each, in order, whatever restarts and
clocks do meanwhile.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.harness import new_key
from tests.key_service import KeyServer, WoundClock, refused, serving


def told(server: KeyServer, *names: str) -> list[tuple[str, str]]:
    """The service's own events of these names, and the keys that they are about."""
    return [
        (event["eventName"], event["resources"][0]["ARN"])
        for event in server.events()
        if event["eventName"] in names and event["eventType"] == "AwsServiceEvent"
    ]


def rotations(kms: Any, key: str) -> Sequence[Any]:
    found: Sequence[Any] = kms.list_key_rotations(KeyId=key)["Rotations"]
    return found


def test_a_rotation_that_is_due_is_done_once_across_restarts_and_old_ciphertext_opens(tmp_path: Path) -> None:
    clock = WoundClock()
    with serving(tmp_path, clock) as server:
        kms = server.client()
        key, other = new_key(kms), new_key(kms)
        kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=90)
        blob = kms.encrypt(KeyId=key, Plaintext=b"text")["CiphertextBlob"]
        clock.wait(days=89)
        server.maintain()
        assert told(server, "RotateKey") == []
    clock.wait(days=2)
    for _ in range(3):
        with serving(tmp_path, clock) as server:
            server.maintain()
            server.maintain()
            kms = server.client()
            assert len(rotations(kms, key)) == 1
            assert rotations(kms, other) == []
            assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"text"
            assert told(server, "RotateKey") == [("RotateKey", key)]


def test_rotations_that_were_missed_while_it_was_off_become_one(tmp_path: Path) -> None:
    clock = WoundClock()
    with serving(tmp_path, clock) as server:
        key = new_key(server.client())
        server.client().enable_key_rotation(KeyId=key, RotationPeriodInDays=90)
    clock.wait(days=1000)
    with serving(tmp_path, clock) as server:
        server.maintain()
        assert len(rotations(server.client(), key)) == 1
        clock.wait(days=89)
        server.maintain()
        assert len(rotations(server.client(), key)) == 1
        clock.wait(days=2)
        server.maintain()
        assert len(rotations(server.client(), key)) == 2


def test_a_wall_clock_that_is_turned_back_and_forth_rotates_nothing_twice(tmp_path: Path) -> None:
    clock = WoundClock()
    with serving(tmp_path, clock) as server:
        kms = server.client()
        key = new_key(kms)
        kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=90)
        clock.wait(days=91)
        server.maintain()
        for days in (-5, 5, -91, 91):
            clock.wall += days * 24 * 3600
            server.maintain()
        assert len(rotations(kms, key)) == 1


def test_a_deletion_waits_for_its_window_across_restarts_and_is_done_once(tmp_path: Path) -> None:
    clock = WoundClock()
    with serving(tmp_path, clock) as server:
        kms = server.client()
        key, other = new_key(kms), new_key(kms)
        kms.create_alias(AliasName="alias/app", TargetKeyId=key)
        blob = kms.encrypt(KeyId=key, Plaintext=b"text")["CiphertextBlob"]
        kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
        clock.wait(days=6)
        server.maintain()
        assert kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "PendingDeletion"
    clock.wait(days=2)
    for _ in range(2):
        with serving(tmp_path, clock) as server:
            server.maintain()
            kms = server.client()
            assert refused(kms.describe_key, KeyId=key)[0] == "NotFoundException"
            assert refused(kms.describe_key, KeyId="alias/app")[0] == "NotFoundException"
            assert refused(kms.decrypt, CiphertextBlob=blob)[0] == "AccessDeniedException"
            assert [each["KeyArn"] for each in kms.list_keys()["Keys"]] == [other]
            assert told(server, "DeleteKey") == [("DeleteKey", key)]


def test_a_wall_clock_turned_forward_deletes_no_key_early_after_a_restart_of_the_service_either(tmp_path: Path) -> None:
    clock = WoundClock()
    with serving(tmp_path, clock) as server:
        key = new_key(server.client())
        server.client().schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    clock.wall += 30 * 24 * 3600
    with serving(tmp_path, clock) as server:
        server.maintain()
        kms = server.client()
        kms.cancel_key_deletion(KeyId=key)
        kms.enable_key(KeyId=key)
        kms.generate_data_key(KeyId=key, KeySpec="AES_256")


@pytest.mark.parametrize("state", ["disabled", "cancelled", "scheduled"])
def test_a_key_that_is_off_is_not_rotated_and_one_that_is_back_is(tmp_path: Path, state: str) -> None:
    clock = WoundClock()
    with serving(tmp_path, clock) as server:
        kms = server.client()
        key = new_key(kms)
        kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=90)
        clock.wait(days=88)
        if state == "disabled":
            kms.disable_key(KeyId=key)
        else:
            kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=30)
        if state == "cancelled":
            kms.cancel_key_deletion(KeyId=key)
        clock.wait(days=5)
        server.maintain()
        assert told(server, "RotateKey") == []
        if state == "scheduled":
            kms.cancel_key_deletion(KeyId=key)
        kms.enable_key(KeyId=key)
        server.maintain()
        assert len(rotations(kms, key)) == 1


def test_what_was_due_at_once_is_done_in_the_order_in_which_it_was(tmp_path: Path) -> None:
    clock = WoundClock()
    with serving(tmp_path, clock) as server:
        kms = server.client()
        deleted, late, early = new_key(kms), new_key(kms), new_key(kms)
        kms.enable_key_rotation(KeyId=late, RotationPeriodInDays=100)
        kms.enable_key_rotation(KeyId=early, RotationPeriodInDays=91)
        kms.schedule_key_deletion(KeyId=deleted, PendingWindowInDays=30)
    clock.wait(days=150)
    with serving(tmp_path, clock) as server:
        server.maintain()
        assert told(server, "RotateKey", "DeleteKey") == [
            ("DeleteKey", deleted),
            ("RotateKey", early),
            ("RotateKey", late),
        ]


def test_killed_between_a_change_that_was_due_and_its_record_it_is_done_and_recorded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are copied when the change is durable and its record is not: what a crash leaves."""
    clock = WoundClock()
    with serving(tmp_path / "data", clock) as server:
        kms = server.client()
        key, gone = new_key(kms), new_key(kms)
        kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=90)
        kms.schedule_key_deletion(KeyId=gone, PendingWindowInDays=30)
        clock.wait(days=91)
        record_pending = server.opened.service.record_pending
        copies: list[Path] = []

        async def copied_before() -> None:
            copies.append(tmp_path / f"copy-{len(copies)}")
            shutil.copytree(tmp_path / "data", copies[-1])
            await record_pending()

        monkeypatch.setattr(server.opened.service, "record_pending", copied_before)
        server.maintain()
    assert len(copies) == 2
    for copy in copies:
        with serving(copy, clock) as server:
            server.maintain()
            assert told(server, "RotateKey", "DeleteKey") == [("DeleteKey", gone), ("RotateKey", key)]
            kms = server.client()
            assert len(rotations(kms, key)) == 1
            with pytest.raises(ClientError, match="NotFoundException"):
                kms.describe_key(KeyId=gone)
