"""EnableKeyRotation, DisableKeyRotation, GetKeyRotationStatus, RotateKeyOnDemand, ListKeyRotations; and rotation by itself."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.key_service import DAY, KeyServer, refused, serving


def status(kms: Any, key: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = kms.get_key_rotation_status(KeyId=key["KeyId"])
    del answer["ResponseMetadata"]
    assert answer.pop("KeyId") == key["Arn"]
    return answer


def materials(kms: Any, key: dict[str, Any]) -> list[str]:
    listed = kms.list_key_rotations(KeyId=key["KeyId"], IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]
    return [each["KeyMaterialId"] for each in listed]


def test_get_key_rotation_status__its_two_forms(kms: Any, key: dict[str, Any]) -> None:
    assert status(kms, key) == {"KeyRotationEnabled": False}
    for given, days in (
        ({}, 365),
        ({"RotationPeriodInDays": 90}, 90),
        ({"RotationPeriodInDays": 2560}, 2560),
        ({}, 365),
    ):
        kms.enable_key_rotation(KeyId=key["KeyId"], **given)
        shown = status(kms, key)
        due = shown.pop("NextRotationDate")
        assert shown == {"KeyRotationEnabled": True, "RotationPeriodInDays": days}
        assert abs(due - datetime.now(UTC) - timedelta(days=days)) < timedelta(minutes=1)
    kms.disable_key_rotation(KeyId=key["KeyId"])
    kms.disable_key_rotation(KeyId=key["KeyId"])
    assert status(kms, key) == {"KeyRotationEnabled": False}


@pytest.mark.parametrize(("days", "bound"), [(89, "greater than or equal to 90"), (2561, "less than or equal to 2560")])
def test_enable_key_rotation__period_of_90_to_2560_days(kms: Any, key: dict[str, Any], days: int, bound: str) -> None:
    message = (
        f"1 validation error detected: Value '{days}' at 'rotationPeriodInDays' failed to satisfy constraint: Member must"
        f" have value {bound}"
    )
    assert refused(kms.enable_key_rotation, KeyId=key["KeyId"], RotationPeriodInDays=days) == (
        "ValidationException",
        message,
    )


def test_rotation_status__false_while_deletion_is_pending(kms: Any, key: dict[str, Any]) -> None:
    kms.enable_key_rotation(KeyId=key["KeyId"])
    before = status(kms, key)
    kms.schedule_key_deletion(KeyId=key["KeyId"])
    assert status(kms, key) == {"KeyRotationEnabled": False}
    kms.cancel_key_deletion(KeyId=key["KeyId"])
    assert status(kms, key) == before


@pytest.mark.parametrize(
    ("spec", "usage"),
    [("HMAC_256", "GENERATE_VERIFY_MAC"), ("ECC_NIST_P256", "SIGN_VERIFY"), ("RSA_2048", "SIGN_VERIFY")],
)
def test_keys_without_rotation__terraform_reads_false(kms: Any, spec: str, usage: str) -> None:
    made = kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]
    assert status(kms, made) == {"KeyRotationEnabled": False}
    kms.disable_key_rotation(KeyId=made["KeyId"])
    for change in (kms.enable_key_rotation, kms.rotate_key_on_demand, kms.list_key_rotations):
        assert refused(change, KeyId=made["KeyId"]) == ("UnsupportedOperationException", "")


def test_imported_keys__have_no_automatic_rotation(kms: Any) -> None:
    made = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]
    error = (
        "UnsupportedOperationException",
        f"{made['Arn']} origin is EXTERNAL which is not valid for this operation.",
    )
    for change in (kms.enable_key_rotation, kms.disable_key_rotation, kms.get_key_rotation_status):
        assert refused(change, KeyId=made["KeyId"]) == error
    assert refused(kms.rotate_key_on_demand, KeyId=made["KeyId"]) == (
        "KMSInvalidStateException",
        f"{made['Arn']} is pending import.",
    )


def test_rotate_key_on_demand__every_ciphertext_opens_and_new_ones_have_the_newest_material(
    kms: Any, key: dict[str, Any]
) -> None:
    kms.enable_key_rotation(KeyId=key["KeyId"])
    due = status(kms, key)
    blobs, used = [], []
    for _ in range(5):
        blobs.append(kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x", EncryptionContext={"a": "b"})["CiphertextBlob"])
        made = kms.generate_data_key(KeyId=key["KeyId"], KeySpec="AES_256", EncryptionContext={"a": "b"})
        assert made["KeyMaterialId"] == kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["CurrentKeyMaterialId"]
        used.append(made["KeyMaterialId"])
        assert kms.rotate_key_on_demand(KeyId=key["KeyId"])["KeyId"] == key["Arn"]
    opened = [kms.decrypt(CiphertextBlob=blob, EncryptionContext={"a": "b"})["KeyMaterialId"] for blob in blobs]
    assert opened == used == materials(kms, key)[:-1]
    assert len(set(used)) == 5
    assert status(kms, key) == due
    changed = kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]
    assert {**changed, "CurrentKeyMaterialId": key["CurrentKeyMaterialId"]} == key


def test_rotate_key_on_demand__25_times(kms: Any, key: dict[str, Any]) -> None:
    for _ in range(25):
        kms.rotate_key_on_demand(KeyId=key["KeyId"])
    message = (
        "The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations can be performed"
        f" for this key: {key['Arn']}"
    )
    assert refused(kms.rotate_key_on_demand, KeyId=key["KeyId"]) == ("LimitExceededException", message)
    assert len(materials(kms, key)) == 26


def test_list_key_rotations__both_forms(kms: Any, key: dict[str, Any]) -> None:
    assert kms.list_key_rotations(KeyId=key["KeyId"])["Rotations"] == []
    [first] = kms.list_key_rotations(KeyId=key["KeyId"], IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]
    assert first == {
        "KeyId": key["KeyId"],
        "KeyMaterialId": key["CurrentKeyMaterialId"],
        "KeyMaterialState": "CURRENT",
    }
    kms.rotate_key_on_demand(KeyId=key["KeyId"])
    current = kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["CurrentKeyMaterialId"]
    [rotation] = kms.list_key_rotations(KeyId=key["KeyId"], IncludeKeyMaterial="ROTATIONS_ONLY")["Rotations"]
    assert abs(rotation.pop("RotationDate") - datetime.now(UTC)) < timedelta(minutes=1)
    assert rotation == {
        "KeyId": key["KeyId"],
        "KeyMaterialId": current,
        "KeyMaterialState": "CURRENT",
        "RotationType": "ON_DEMAND",
    }
    both = kms.list_key_rotations(KeyId=key["KeyId"], IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]
    assert [(each["KeyMaterialId"], each["KeyMaterialState"]) for each in both] == [
        (key["CurrentKeyMaterialId"], "NON_CURRENT"),
        (current, "CURRENT"),
    ]


# --- by itself


def test_automatic_rotation__once_when_it_is_due(own_server: KeyServer) -> None:
    kms, clock = own_server.client(), own_server.clock
    key = kms.create_key()["KeyMetadata"]
    kms.enable_key_rotation(KeyId=key["KeyId"], RotationPeriodInDays=90)
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    due = status(kms, key)["NextRotationDate"]
    clock.wait(days=89.9)
    own_server.maintain()
    assert len(materials(kms, key)) == 1
    clock.wait(days=0.2)
    for _ in range(3):
        own_server.maintain()
    assert len(materials(kms, key)) == 2
    [rotation] = kms.list_key_rotations(KeyId=key["KeyId"])["Rotations"]
    assert rotation["RotationType"] == "AUTOMATIC"
    assert status(kms, key)["NextRotationDate"] == due + timedelta(days=90)
    assert kms.decrypt(CiphertextBlob=blob)["KeyMaterialId"] == key["CurrentKeyMaterialId"]
    assert kms.generate_data_key(KeyId=key["KeyId"], KeySpec="AES_256")["KeyMaterialId"] == rotation["KeyMaterialId"]
    [event] = own_server.events("RotateKey")
    assert event["serviceEventDetails"] == {"keyId": key["Arn"]}
    assert event["additionalEventData"] == {"keyMaterialId": rotation["KeyMaterialId"], "rotationType": "AUTOMATIC"}


def test_automatic_rotation__one_for_all_that_were_missed(own_server: KeyServer) -> None:
    kms = own_server.client()
    key = kms.create_key()["KeyMetadata"]
    kms.enable_key_rotation(KeyId=key["KeyId"], RotationPeriodInDays=90)
    own_server.clock.wait(days=1000)
    own_server.maintain()
    assert len(materials(kms, key)) == 2
    own_server.clock.wait(days=89)
    own_server.maintain()
    assert len(materials(kms, key)) == 2


def test_automatic_rotation__not_while_the_key_is_disabled_and_at_once_after(own_server: KeyServer) -> None:
    kms = own_server.client()
    key = kms.create_key()["KeyMetadata"]
    kms.enable_key_rotation(KeyId=key["KeyId"], RotationPeriodInDays=90)
    kms.disable_key(KeyId=key["KeyId"])
    own_server.clock.wait(days=100)
    own_server.maintain()
    assert len(own_server.opened.kms.state.materials) == 1
    kms.enable_key(KeyId=key["KeyId"])
    own_server.maintain()
    assert len(materials(kms, key)) == 2


def test_automatic_rotation__the_clock_back_and_forth_repeats_none(own_server: KeyServer) -> None:
    kms, clock = own_server.client(), own_server.clock
    key = kms.create_key()["KeyMetadata"]
    kms.enable_key_rotation(KeyId=key["KeyId"], RotationPeriodInDays=90)
    clock.wait(days=91)
    own_server.maintain()
    for days in (-200, 150, 60, -30, 30, 50):  # at last: 151 days after the start, and the next is due at 180
        clock.wall += days * DAY
        own_server.maintain()
    assert len(materials(kms, key)) == 2


def test_automatic_rotation__across_a_restart(tmp_path: Any) -> None:
    with serving(tmp_path / "data") as server:
        kms = server.client()
        key = kms.create_key()["KeyMetadata"]
        kms.enable_key_rotation(KeyId=key["KeyId"], RotationPeriodInDays=90)
        blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
        clock = server.clock
    clock.wait(days=91)
    for _ in range(2):
        with serving(tmp_path / "data", clock) as server:
            kms = server.client()
            server.maintain()
            assert len(materials(kms, key)) == 2
            assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_rotate_key_on_demand__not_when_an_automatic_one_is_due(own_server: KeyServer) -> None:
    kms = own_server.client()
    key = kms.create_key()["KeyMetadata"]
    kms.enable_key_rotation(KeyId=key["KeyId"], RotationPeriodInDays=90)
    own_server.clock.wait(days=90, seconds=-19 * 60)
    assert refused(kms.rotate_key_on_demand, KeyId=key["KeyId"])[0] == "ConflictException"
    own_server.clock.wait(seconds=20 * 60)
    own_server.maintain()
    kms.rotate_key_on_demand(KeyId=key["KeyId"])
    kinds = [each["RotationType"] for each in kms.list_key_rotations(KeyId=key["KeyId"])["Rotations"]]
    assert kinds == ["AUTOMATIC", "ON_DEMAND"]


def test_managed_keys_rotate_every_year(own_server: KeyServer) -> None:
    kms = own_server.client()
    key = kms.describe_key(KeyId="alias/aws/s3")["KeyMetadata"]
    own_server.clock.wait(days=366)
    own_server.maintain()
    assert len(materials(kms, key)) == 2
