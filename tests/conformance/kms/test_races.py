"""Many clients at once: one key of a name, one owner of an alias, no use of a disabled key after the answer."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.exceptions import ClientError

from tests.key_service import KeyServer, refused

MANY = 24


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """What each returned, or its error's code."""

    def outcome(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except ClientError as error:
            return error.response["Error"]["Code"]

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(outcome, calls))


def test_first_uses_of_aws_s3_make_one_key(own_server: KeyServer) -> None:
    kms = own_server.client()
    answers = at_once([lambda: kms.describe_key(KeyId="alias/aws/s3")] * MANY)
    assert len({answer["KeyMetadata"]["KeyId"] for answer in answers}) == 1
    assert len(kms.list_keys()["Keys"]) == len(kms.list_aliases()["Aliases"]) == 1
    assert len(own_server.events("CreateKey")) == 1


def test_first_uses_by_s3_in_the_name_of_a_user_make_one_key(own_server: KeyServer) -> None:
    service = own_server.for_service(own_server.user())
    given = {"KeyId": "alias/aws/s3", "KeySpec": "AES_256", "EncryptionContext": {"aws:s3:arn": "arn:aws:s3:::b/k"}}
    answers = at_once([lambda: service.generate_data_key(**given)] * MANY)
    assert len({answer["KeyId"] for answer in answers}) == 1
    assert len({answer["Plaintext"] for answer in answers}) == MANY


def test_create_alias__one_wins(kms: Any) -> None:
    keys = [kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(MANY)]
    alias = f"alias/{keys[0]}"
    outcomes = at_once([lambda key=key: kms.create_alias(AliasName=alias, TargetKeyId=key) for key in keys])  # type: ignore[misc]
    losers = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert losers == ["AlreadyExistsException"] * (MANY - 1)
    winner = next(key for key, outcome in zip(keys, outcomes, strict=True) if not isinstance(outcome, str))
    assert kms.describe_key(KeyId=alias)["KeyMetadata"]["KeyId"] == winner


def test_create_key__each_makes_its_own(own_server: KeyServer) -> None:
    kms = own_server.client()
    made = at_once([kms.create_key] * MANY)
    assert len({answer["KeyMetadata"]["KeyId"] for answer in made}) == MANY == len(kms.list_keys()["Keys"])


def test_rotate_key_on_demand__counts_every_rotation(kms: Any, key: dict[str, Any]) -> None:
    outcomes = at_once([lambda: kms.rotate_key_on_demand(KeyId=key["KeyId"])] * 30)
    assert outcomes.count("LimitExceededException") == 5
    assert len(kms.list_key_rotations(KeyId=key["KeyId"])["Rotations"]) == 25


def test_disable_key__no_use_begun_after_its_answer_succeeds(kms: Any, key: dict[str, Any]) -> None:
    def use() -> Any:
        return kms.generate_data_key(KeyId=key["KeyId"], KeySpec="AES_256")

    for _ in range(3):
        with ThreadPoolExecutor(8) as threads:
            uses = [threads.submit(use) for _ in range(20)]
            kms.disable_key(KeyId=key["KeyId"])
            assert refused(use)[0] == "DisabledException"
            for each in uses:
                error = each.exception()
                assert error is None or error.response["Error"]["Code"] == "DisabledException"  # type: ignore[attr-defined]
        kms.enable_key(KeyId=key["KeyId"])
        use()


def test_a_slow_key_pair_holds_nobody_up(kms: Any, key: dict[str, Any]) -> None:
    """RSA keys are searched in threads: others are answered meanwhile."""
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(kms.generate_data_key_pair, KeyId=key["KeyId"], KeyPairSpec="RSA_4096")
        answered = 0
        while not slow.done():
            kms.generate_random(NumberOfBytes=1)
            answered += 1
        assert slow.result()["KeyPairSpec"] == "RSA_4096"
    assert answered >= 1
