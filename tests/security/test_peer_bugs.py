"""Security bugs of other servers, class by class, as far as they concern the key service and objects under its keys:
authorisation (B), cryptography (E), the life of keys (F), secrets in logs and exports (G).

A class that has its test elsewhere is a line of `ELSEWHERE`, which is held true below; the others are here, each named
for its class. A class that speaks of what is not built says so.
"""

import ast
import base64
import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strongroom.aws.kms_model import load_kms_model
from strongroom.config import Settings
from strongroom.identity.files import IdentityFiles, require_key
from strongroom.identity.keys import service_credentials
from strongroom.identity.requester import REQUESTER_HEADER, Requester, encode_requester
from strongroom.identity.root import Credentials, Principal
from strongroom.kms.operations import RULES
from tests.conformance.kms.requests import BY_ANY_NAME, BY_ID, request_for
from tests.harness import Reply, Server, read_reply
from tests.json_serving import head, signed
from tests.key_service import ACCOUNT, ADMINISTRATION, ROOT, KeyServer, User, allow, deny, policy, refused, to
from tests.kms_calls import with_world

TESTS = Path(__file__).parent.parent

ELSEWHERE: dict[str, tuple[str, ...]] = {
    "B1": ("unit/kms/test_authorize.py::test_b1_a_grant_made_by_leave_of_a_grant_is_no_wider",),
    "B3": (
        "security/test_kms_rights.py::test_b3_nothing_is_written_without_the_right_to_generate",
        "conformance/test_users.py::test_a_copy_needs_its_source_and_its_target",
        "conformance/test_users.py::test_a_version_needs_the_right_to_versions",
    ),
    "B4": ("conformance/test_users.py::test_delete_objects_decides_key_by_key",),
    "B5": ("conformance/test_users.py::test_no_condition_is_judged_before_the_right",),
    "B6": (
        "unit/kms/test_condition_context.py::test_b6_nothing_in_a_request_poses_as_another_key",
        "conformance/test_users.py::test_headers_never_speak_for_what_the_server_knows",
    ),
    "B7": (
        "unit/identity/test_policy_conditions.py::test_b7_quantifiers_of_partly_overlapping_sets",
        "unit/identity/test_policy_patterns.py::test_b7_the_value_of_a_variable_is_literal",
        "property/identity/test_policy_properties.py::test_another_allow_never_lifts_a_deny",
    ),
    "B9": ("unit/kms/test_authorize.py::test_decision",),
    "B10": (
        "security/test_kms_rights.py::test_b10_nothing_is_revealed_without_the_right_to_decrypt",
        "security/test_kms_rights.py::test_b10_a_repeated_complete_tells_no_checksum_of_an_object_that_has_a_key_of_its_own_now",
    ),
    "B11": (
        "unit/aws/test_post_policy.py::test_b11_the_bucket_is_the_urls",
        "unit/aws/test_post_policy.py::test_b11_every_field_needs_a_condition",
    ),
    "B12": ("unit/edge/test_json_flow.py::test_a_credential_for_elsewhere",),
    "E1": (
        "faults/test_kms_store_faults.py::test_what_cannot_be_read_now_is_never_made_anew",
        "unit/kms/test_store.py::test_open__a_database_without_its_key_is_never_given_another",
        "unit/kms/test_slots.py::test_a_weak_or_broken_key_is_refused_wherever_it_comes_from",
    ),
    "E2": (
        "unit/crypto/test_kms_sealing.py::test_blob__is_another_one_each_time",
        "matrix/test_blobs.py::test_the_same_bytes_twice_are_different_ciphertext",
    ),
    "E3": ("matrix/test_plaintext_at_rest.py::test_nothing_that_was_stored_can_be_read",),
    "E4": (
        "matrix/test_wrong_bytes.py::test_a_bit_anywhere_in_two_layers",
        "unit/crypto/test_kms_sealing.py::test_blob__any_flipped_missing_or_trailing_byte_is_an_integrity_error",
    ),
    "E5": (
        "unit/crypto/test_segments.py::test_two_key_ciphertext__opens_under_one_key_only",
        "unit/keys/test_bucket_keys.py::test_whoever_a_policy_may_tell_apart_asks_for_themselves",
        "unit/kms/test_condition_context.py::test_what_may_be_judged_of_a_person_behind_a_service_is_their_standing_and_no_more",
    ),
    "E6": ("unit/aws/test_json_1_1.py::test_e6_unknown_members__are_of_no_consequence",),
    "E7": (
        "unit/kms/test_slots.py::test_the_default_parameters_are_in_bounds_and_beyond_the_recommendation",
        "security/test_kms_tampering.py::test_argon2_parameters_are_not_to_be_weakened",
    ),
    "E8": (
        "conformance/kms/test_data_keys.py::test_decrypt__another_context_is_invalid_without_a_word",
        "security/test_kms_splices.py::test_e8_a_data_key_opens_under_its_own_objects_name_only",
    ),
    "E9": ("security/test_secrets_in_logs.py::test_no_secret_is_in_a_file",),
    "F1": (
        "conformance/kms/test_races.py::test_first_uses_of_aws_s3_make_one_key",
        "faults/test_kms_store_faults.py::test_of_many_first_starts_at_once_one_makes_the_store",
    ),
    "F2": ("faults/test_kms_store_faults.py::test_what_cannot_be_read_now_is_never_made_anew",),
    "F3": ("faults/test_kms_store_faults.py::test_killed_at_any_step_nothing_is_lost_and_the_next_start_goes_on",),
    "F4": (
        "conformance/kms/test_key_life.py::test_schedule_key_deletion__window_of_7_to_30_days",
        "conformance/kms/test_deletion.py::test_the_wall_clock_alone_deletes_nothing",
    ),
    "F5": (
        "conformance/kms/test_races.py::test_disable_key__no_use_begun_after_its_answer_succeeds",
        "unit/keys/test_bucket_keys.py::test_a_key_that_is_off_ends_what_anybody_was_allowed_with_it",
    ),
    "F6": ("security/test_kms_fuzz.py::test_f6_the_last_slot_stays_and_every_try_is_recorded",),
    "F7": ("security/test_kms_fuzz.py::test_f7_no_input_of_an_operation_is_a_500",),
    "G1": ("security/test_secrets_in_logs.py::test_g1_no_secret_of_the_key_service_shows_anywhere",),
    "G2": (
        "security/test_users.py::test_a_backup_without_keys_has_the_users_and_not_their_key",
        "security/test_kms_tampering.py::test_nothing_of_a_record_is_readable_but_its_name",
    ),
}
CLASSES = [*(f"B{n}" for n in range(1, 14)), *(f"E{n}" for n in range(1, 10)), *(f"F{n}" for n in range(1, 8))]
CLASSES += ["G1", "G2", "G3"]


def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("number", CLASSES)
def test_every_class_has_a_test(number: str) -> None:
    here = {name for name in functions_of(Path(__file__)) if name.startswith(f"test_{number.lower()}_")}
    for test in ELSEWHERE.get(number, ()):
        path, _, name = test.partition("::")
        assert name in functions_of(TESTS / path), test
    assert here or ELSEWHERE.get(number), number


def test_the_page_of_threats_names_tests_that_exist() -> None:
    page = (TESTS.parent / "docs" / "threat-model.md").read_text()
    named_files = set(re.findall(r"`(tests/[\w/.]+\.py)`", page))
    assert len(named_files) > 25
    assert [name for name in named_files if not (TESTS.parent / name).is_file()] == []
    here = {f"tests/security/{path.name}" for path in Path(__file__).parent.glob("test_*.py")}
    assert here - named_files == set()


# --- bytes, as a stranger sends them


def ask(
    server: KeyServer,
    credentials: Credentials,
    operation: str,
    given: dict[str, Any],
    *,
    port: int | None = None,
    **how: Any,
) -> tuple[int, dict[str, Any]]:
    body = json.dumps(given).encode()
    headers = signed(body, target=f"TrentService.{operation}", credentials=credentials, **how)
    reply = raw(port or server.port, head(headers) + body)
    return reply.status, json.loads(reply.body or b"{}")


def raw(port: int, request: bytes) -> Reply:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        return read_reply(connection, "POST")


def service_of(server: KeyServer) -> Credentials:
    return service_credentials(require_key(IdentityFiles(server.data_dir / "identity")))


def named(user_arn: str) -> str:
    return encode_requester(
        Requester(
            principal=Principal(account_id=ACCOUNT, arn=user_arn),
            access_key_id="AKIA",
            source_ip="192.0.2.7",
            secure_transport=True,
            user_agent="",
            request_id="S3",
        )
    )


@pytest.fixture
def key(key_server: KeyServer) -> str:
    key_id: str = key_server.client().create_key()["KeyMetadata"]["KeyId"]
    return key_id


# --- B: who may


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(range(12)), min_size=1, max_size=8))
def test_b1_no_sequence_of_ones_own_calls_gives_more_than_one_has__minio_ghsa_jjjj(
    key_server: KeyServer, steps: list[int]
) -> None:
    """Somebody who may seal, has a key of their own, and leave to pass the right to seal on, never opens."""
    kms = key_server.client()
    theirs, user = kms.create_key()["KeyMetadata"]["KeyId"], lattice_user(key_server)
    own = own_key(key_server, user)
    context = {"aws:s3:arn": "arn:aws:s3:::b/k"}
    blob = kms.encrypt(KeyId=theirs, Plaintext=b"secret", EncryptionContext=context)["CiphertextBlob"]
    passed_on = ["Encrypt", "CreateGrant", "RetireGrant", "DescribeKey"]
    kms.create_grant(KeyId=theirs, GranteePrincipal=user.arn, Operations=passed_on)
    wide = policy(ADMINISTRATION, allow("kms:*", **to(user.arn)))
    tries = (
        lambda: user.kms.create_grant(KeyId=theirs, GranteePrincipal=user.arn, Operations=["Decrypt"]),
        lambda: user.kms.create_grant(KeyId=theirs, GranteePrincipal=user.arn, Operations=["Encrypt", "CreateGrant"]),
        lambda: user.kms.create_grant(KeyId=theirs, GranteePrincipal=ROOT, Operations=["ReEncryptFrom"]),
        lambda: user.kms.put_key_policy(KeyId=theirs, Policy=wide),
        lambda: user.kms.re_encrypt(
            CiphertextBlob=blob,
            SourceEncryptionContext=context,
            DestinationKeyId=own,
            DestinationEncryptionContext=context,
        ),
        lambda: user.kms.create_alias(AliasName="alias/lattice", TargetKeyId=theirs),
        lambda: user.kms.update_alias(AliasName="alias/lattice", TargetKeyId=theirs),
        lambda: user.kms.tag_resource(KeyId=theirs, Tags=[{"TagKey": "mine", "TagValue": "yes"}]),
        lambda: user.kms.encrypt(KeyId=theirs, Plaintext=b"x", EncryptionContext=context),
        lambda: user.kms.enable_key_rotation(KeyId=theirs),
        lambda: user.kms.create_key(Policy=wide),
        lambda: user.kms.decrypt(KeyId=own, CiphertextBlob=blob, EncryptionContext=context),
    )
    for step in steps:
        try:
            tries[step]()
        except user.kms.exceptions.ClientError:
            continue
    assert refused(user.kms.decrypt, CiphertextBlob=blob, EncryptionContext=context)[0] == "AccessDeniedException"
    given = {"KeyId": theirs, "KeySpec": "AES_256"}
    assert refused(user.kms.generate_data_key, **given)[0] == "AccessDeniedException"


def lattice_user(server: KeyServer) -> User:
    """May make keys, and what the policies of those say."""
    return server.user(allow("kms:CreateKey"), allow("kms:ListKeys"))


def own_key(server: KeyServer, user: User) -> str:
    document = policy(ADMINISTRATION, allow("kms:*", **to(user.arn)))
    key_id: str = server.client().create_key(Policy=document)["KeyMetadata"]["KeyId"]
    return key_id


@pytest.mark.parametrize("operation", sorted(BY_ID | BY_ANY_NAME))
def test_b2_every_operation_needs_exactly_its_own_action__minio_ghsa_cwq8(
    key_server: KeyServer, operation: str
) -> None:
    """Generated from the table of operations: with everything but its action a call is denied, with that alone it is not."""
    target = key_server.client().create_key()["KeyMetadata"]["KeyId"]
    actions = ["kms:ReEncryptFrom", "kms:ReEncryptTo"] if operation == "ReEncrypt" else [f"kms:{operation}"]
    given = request_for(operation, target)
    for action in actions:
        nearly = key_server.user(allow("kms:*"), deny(action))
        _, told = ask(key_server, nearly.credentials, operation, given)
        assert told["__type"] in ("AccessDeniedException", "IncorrectKeyException", "InvalidCiphertextException"), told
        if operation not in ("Decrypt", "ReEncrypt"):  # those look at the ciphertext first, to know the key
            assert told["__type"] == "AccessDeniedException"
            assert action in told["Message"]
    exactly = key_server.user(allow(*actions))
    _, told = ask(key_server, exactly.credentials, operation, given)
    assert told.get("__type") != "AccessDeniedException", told


def test_b2_the_matrix_is_the_table_of_operations() -> None:
    by_no_key = {"CreateKey", "GenerateRandom", "ListAliases", "ListKeys", "ListRetirableGrants"}
    by_alias_or_grant = {"DeleteAlias", "RetireGrant", "UpdateAlias"}
    assert set(RULES) == BY_ID | BY_ANY_NAME | by_no_key | by_alias_or_grant


def test_b3_another_key_for_an_object_needs_rights_on_both_keys__rustfs_ghsa_mx42(
    tmp_path: Path, key_server: KeyServer
) -> None:
    """UpdateObjectEncryption is a copy in place: whoever may not take it from one key brings it under no other."""

    async def work(world: Any) -> None:
        for mode in ("KMS", "bucket key"):
            await world.worker.put("k", b"content", **world.members(mode))
            under = {"SSEKMS": {"KMSKeyArn": world.other_key}}
            change = {"Key": "k", "ObjectEncryption": under}
            for rights in (("GenerateDataKey", "Encrypt", "ReEncryptTo"), ("ReEncryptFrom", "GenerateDataKey")):
                who = (await world.somebody("mallory", *rights)).sending(content_md5="x")
                with pytest.raises(Exception, match=r"AccessDenied|not authorized"):
                    await who("UpdateObjectEncryption", **change)
            assert (await world.worker("HeadObject", Key="k"))["SSEKMSKeyId"] == world.key

    with_world(key_server, tmp_path, work)


def test_b6_no_header_says_where_a_request_comes_from_or_for_whom__rustfs_ghsa_fc6g(
    key_server: KeyServer, key: str
) -> None:
    lies = {
        "x-forwarded-for": "203.0.113.9",
        "x-real-ip": "203.0.113.9",
        "forwarded": "for=203.0.113.9;proto=https",
        "x-amzn-principal-arn": ROOT,
        "aws-sourceip": "203.0.113.9",
        "kms-viaservice": "s3.us-east-1.amazonaws.com",
    }
    elsewhere = {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}
    via = {"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}
    for condition in (elsewhere, via):
        user = key_server.user(allow("kms:*", Condition=condition))
        _, told = ask(key_server, user.credentials, "DescribeKey", {"KeyId": key}, headers=lies)
        assert told["__type"] == "AccessDeniedException"
        assert key_server.events("DescribeKey")[-1]["sourceIPAddress"] == "127.0.0.1"


def test_b6_nobody_but_the_service_on_its_own_socket_asks_in_anothers_name(key_server: KeyServer, key: str) -> None:
    """The header that names a person, from users, from root, from the service on another listener, and unsigned."""
    mallory, service = key_server.user(), service_of(key_server)
    value = {REQUESTER_HEADER: named(ROOT)}
    use = {"KeyId": key, "KeySpec": "AES_256", "EncryptionContext": {"aws:s3:arn": "arn:aws:s3:::b/k"}}
    for who in (mallory.credentials, key_server.root_credentials):
        for port in (key_server.port, key_server.internal_port):
            status, told = ask(key_server, who, "GenerateDataKey", use, port=port, headers=value)
            assert (status, told["__type"]) == (400, "AccessDeniedException")
    for headers in ({}, value):
        _, told = ask(key_server, service, "GenerateDataKey", use, headers=headers)
        assert told["__type"] == "UnrecognizedClientException"
    _, told = ask(key_server, service, "GenerateDataKey", use, port=key_server.internal_port, unsigned=value)
    assert told["__type"] == "AccessDeniedException"


@pytest.mark.parametrize(
    "operation", ["DisableKey", "ScheduleKeyDeletion", "PutKeyPolicy", "CreateGrant", "CreateKey", "ListKeys", "Sign"]
)
def test_b12_the_service_manages_no_key_in_anybodys_name(key_server: KeyServer, key: str, operation: str) -> None:
    """Whoever got hold of its credential, or of a worker, is left with what an object's key needs."""
    given = {} if operation in ("CreateKey", "ListKeys") else request_for(operation, key)
    for headers in ({}, {REQUESTER_HEADER: named(ROOT)}):
        _, told = ask(
            key_server, service_of(key_server), operation, given, port=key_server.internal_port, headers=headers
        )
        assert told["__type"] == "AccessDeniedException"


@pytest.mark.parametrize("name", ["a/../b", "./k", "%2e%2e", "a//b", "ü", "u\u0308", "a\\b", "K", "k ", "...", "a?b#c"])
def test_b8_the_key_service_judges_the_very_name_that_is_stored__versitygw_cd0b4e6d(
    tmp_path: Path, key_server: KeyServer, name: str
) -> None:
    async def work(world: Any) -> None:
        await world.worker.put(name, b"content", **world.members("KMS"))
        assert [each["Key"] for each in (await world.worker("ListObjectsV2"))["Contents"]] == [name]
        assert await world.worker.get(name) == b"content"
        assert {dict(asked.context)["aws:s3:arn"] for asked in world.record.questions} == {
            f"arn:aws:s3:::bucket/{name}"
        }

    with_world(key_server, tmp_path, work)


def test_b13_a_key_policy_for_everybody_is_for_nobody_unsigned__seaweedfs_a7f4b88a6(key_server: KeyServer) -> None:
    everybody = policy(allow("kms:*", Principal="*"))
    key = key_server.client().create_key(Policy=everybody)["KeyMetadata"]["KeyId"]
    stranger = Credentials(access_key_id="AKIASTRANGER", secret_access_key="s" * 40)
    for operation in ("DescribeKey", "PutKeyPolicy", "ScheduleKeyDeletion", "GenerateDataKey"):
        body = json.dumps(request_for(operation, key)).encode()
        headers = signed(body, target=f"TrentService.{operation}")
        del headers["authorization"]
        reply = raw(key_server.port, head(headers) + body)
        assert json.loads(reply.body)["__type"] == "MissingAuthenticationTokenException"
        _, told = ask(key_server, stranger, operation, request_for(operation, key))
        assert told["__type"] == "UnrecognizedClientException"
    assert key_server.client().describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Enabled"


# --- E: how it is sealed


@pytest.mark.parametrize(
    "member", ["Nonce", "nonce", "IV", "Salt", "EncryptionContextNonce", "Material", "KeyMaterial"]
)
def test_e6_nobody_hands_in_a_nonce_or_a_key__vault_ghsa_v84f(key_server: KeyServer, key: str, member: str) -> None:
    """There is no such member, and one that is sent all the same has no effect: two blobs of one text still differ."""
    model = load_kms_model()
    for operation in ("Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "ReEncrypt", "GenerateMac"):
        shape = model.operations[operation].input
        assert shape is not None
        assert member not in shape.members
    given = {"KeyId": key, "Plaintext": "eA==", member: base64.b64encode(bytes(24)).decode()}
    blobs = {ask(key_server, key_server.root_credentials, "Encrypt", given)[1]["CiphertextBlob"] for _ in range(3)}
    assert len(blobs) == 3


def test_e8_the_context_of_an_object_is_not_that_of_a_bucket_or_of_another_object(
    key_server: KeyServer, key: str
) -> None:
    """A person chooses names of buckets and keys, and pairs of the context: none of them makes two bindings one."""
    kms = key_server.client()
    contexts = [
        {"aws:s3:arn": "arn:aws:s3:::b"},
        {"aws:s3:arn": "arn:aws:s3:::b/"},
        {"aws:s3:arn": "arn:aws:s3:::b/k"},
        {"aws:s3:arn": "arn:aws:s3:::b/k/"},
        {"aws:s3:arn": "arn:aws:s3:::b/K"},
        {"aws:s3:arn": "arn:aws:s3:::b/k", "": ""},
        {"aws:s3:arn": "arn:aws:s3:::b/k", "a": "b"},
        {"aws:s3:arn": "arn:aws:s3:::b/ka", "": "b"},
        {"aws:s3:arnarn": ":aws:s3:::b/k"},
        {"Aws:s3:arn": "arn:aws:s3:::b/k"},
        {},
    ]
    blobs = [kms.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext=each)["CiphertextBlob"] for each in contexts]
    for sealed, blob in enumerate(blobs):
        for opening, context in enumerate(contexts):
            if sealed == opening:
                assert kms.decrypt(CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == b"x"
            else:
                told = refused(kms.decrypt, CiphertextBlob=blob, EncryptionContext=context)
                assert told[0] == "InvalidCiphertextException", (contexts[sealed], context)


# --- F: the life of a key


def test_f4_nothing_in_a_request_shortens_the_window__rustfs_3c00ad604(key_server: KeyServer, key: str) -> None:
    """RustFS took a flag in the query."""
    root = key_server.root_credentials
    for days in (0, 6, -30):
        _, told = ask(key_server, root, "ScheduleKeyDeletion", {"KeyId": key, "PendingWindowInDays": days})
        assert told["__type"] == "ValidationException"
    extra = {"force": True, "ForceImmediate": True, "Immediate": "true", "pendingWindowInDays": 1}
    status, told = ask(key_server, root, "ScheduleKeyDeletion", {"KeyId": key, "PendingWindowInDays": 7, **extra})
    assert (status, told["PendingWindowInDays"], told["KeyState"]) == (200, 7, "PendingDeletion")
    _, again = ask(key_server, root, "ScheduleKeyDeletion", {"KeyId": key, "PendingWindowInDays": 7})
    assert again["__type"] == "KMSInvalidStateException"
    body = json.dumps({"KeyId": key, "PendingWindowInDays": 7}).encode()
    headers = signed(body, target="TrentService.ScheduleKeyDeletion", credentials=root)
    assert raw(key_server.port, head(headers, path="/?force=true&immediate") + body).status == 400
    assert key_server.client().describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "PendingDeletion"


# --- G: what gets out


@pytest.mark.parametrize(
    "path", ["/", "/slots", "/env", "/config", "/-/env", "/debug", "/metrics", "/-/config", "/bootstrap"]
)
def test_g2_no_endpoint_tells_the_environment_or_the_settings__minio_cve_2023_28432(server: Server, path: str) -> None:
    request = f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
    told = [raw(server.port, request), raw(server.kms_port, request)]
    for name in ("kms.sock", "kms-admin.sock"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(server.data_dir / "run" / name))
            connection.sendall(request)
            told.append(read_reply(connection))
    for reply in told:
        text = reply.body.decode("latin-1")
        assert "PATH" not in text.replace("path", "")
        assert server.secret not in text
        assert reply.status in (400, 403, 404) or path in ("/", "/slots")


def test_g3_where_the_record_goes_is_nobodys_to_say_over_the_network__openbao_ghsa_xp75() -> None:
    """OpenBao's API could add an audit device: a way to write files. Here it is DIR/audit, and no setting at all."""
    assert not [name for name in Settings.model_fields if "audit" in name]
    assert not [name for name in load_kms_model().operations if "Audit" in name or "Log" in name]
