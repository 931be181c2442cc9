"""Keys that are deleted for real: when the window has passed, by both clocks, with everything of theirs."""

from typing import Any

from tests.key_service import DAY, ROOT, KeyServer, WoundClock, refused, serving


def prepared(server: KeyServer) -> tuple[dict[str, Any], bytes]:
    """A key with an alias and a grant that is to be deleted in a week, and a ciphertext of it."""
    kms = server.client()
    key = kms.create_key()["KeyMetadata"]
    kms.create_alias(AliasName="alias/gone", TargetKeyId=key["KeyId"])
    kms.create_grant(KeyId=key["KeyId"], GranteePrincipal=ROOT, RetiringPrincipal=ROOT, Operations=["Decrypt"])
    kms.rotate_key_on_demand(KeyId=key["KeyId"])
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    kms.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=7)
    return key, blob


def is_there(server: KeyServer, key: dict[str, Any]) -> bool:
    server.maintain()
    return key["KeyId"] in server.opened.kms.state.keys


def test_a_key_is_gone_after_its_window_with_all_that_was_its(own_server: KeyServer) -> None:
    key, blob = prepared(own_server)
    kms, state = own_server.client(), own_server.opened.kms.state
    own_server.clock.wait(days=7, seconds=-60)
    assert is_there(own_server, key)
    own_server.clock.wait(seconds=120)
    assert not is_there(own_server, key)
    assert not (state.keys)
    assert not (state.materials)
    assert not (state.aliases)
    assert not (state.grants)
    assert not (state.usages)
    assert refused(kms.describe_key, KeyId=key["KeyId"]) == (
        "NotFoundException",
        f"Key '{key['Arn']}' does not exist",
    )
    assert refused(kms.describe_key, KeyId="alias/gone")[0] == "NotFoundException"
    assert refused(kms.decrypt, CiphertextBlob=blob)[0] == "AccessDeniedException"
    assert kms.list_retirable_grants(RetiringPrincipal=ROOT)["Grants"] == []
    assert kms.list_aliases()["Aliases"] == kms.list_keys()["Keys"] == []
    [event] = own_server.events("DeleteKey")
    assert event["serviceEventDetails"] == {"keyId": key["Arn"]}


def test_the_wall_clock_alone_deletes_nothing(own_server: KeyServer) -> None:
    key, blob = prepared(own_server)
    own_server.clock.wall += 3650 * DAY
    assert is_there(own_server, key)
    own_server.clock.wall = -3650 * DAY
    assert is_there(own_server, key)
    own_server.clock.boot = 8 * DAY
    assert is_there(own_server, key)
    own_server.clock.wall = 0
    kms = own_server.client()
    kms.cancel_key_deletion(KeyId=key["KeyId"])
    kms.enable_key(KeyId=key["KeyId"])
    assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_a_cancelled_deletion_does_not_come_back(own_server: KeyServer) -> None:
    key, _ = prepared(own_server)
    own_server.client().cancel_key_deletion(KeyId=key["KeyId"])
    own_server.clock.wait(days=100)
    assert is_there(own_server, key)


def test_a_new_window_begins_anew(own_server: KeyServer) -> None:
    key, _ = prepared(own_server)
    kms = own_server.client()
    own_server.clock.wait(days=6)
    kms.cancel_key_deletion(KeyId=key["KeyId"])
    kms.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=7)
    own_server.clock.wait(days=6)
    assert is_there(own_server, key)
    own_server.clock.wait(days=1.1)
    assert not is_there(own_server, key)


def test_a_window_lasts_across_restarts_and_a_reboot(tmp_path: Any) -> None:
    clock = WoundClock()
    with serving(tmp_path / "data", clock) as server:
        key, _ = prepared(server)
    clock.wait(days=5)
    with serving(tmp_path / "data", clock) as server:
        assert is_there(server, key)
    clock.boot_id, clock.boot = "another-boot", 0
    clock.wall += 1 * DAY
    with serving(tmp_path / "data", clock) as server:
        assert is_there(server, key)
    clock.wall += 1.1 * DAY
    with serving(tmp_path / "data", clock) as server:
        assert not is_there(server, key)
    with serving(tmp_path / "data", clock) as server:
        assert server.client().list_keys()["Keys"] == []
        assert len(server.events("DeleteKey")) == 1


def test_what_is_due_is_done_in_its_order(own_server: KeyServer) -> None:
    kms = own_server.client()
    keys = [kms.create_key()["KeyMetadata"] for _ in range(3)]
    kms.schedule_key_deletion(KeyId=keys[0]["KeyId"], PendingWindowInDays=30)
    kms.schedule_key_deletion(KeyId=keys[1]["KeyId"], PendingWindowInDays=7)
    kms.enable_key_rotation(KeyId=keys[2]["KeyId"], RotationPeriodInDays=90)
    own_server.clock.wait(days=100)
    own_server.maintain()
    done = [
        (event["eventName"], event["resources"][0]["ARN"])
        for event in own_server.events()
        if event["eventType"] == "AwsServiceEvent"
    ]
    assert [each for each in done if each[0] in {"DeleteKey", "RotateKey"}] == [
        ("DeleteKey", keys[1]["Arn"]),
        ("DeleteKey", keys[0]["Arn"]),
        ("RotateKey", keys[2]["Arn"]),
    ]
