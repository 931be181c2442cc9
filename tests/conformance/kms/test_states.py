"""AWS's table of key states through the API: every operation in every state (tests/unit/kms/state_table.tsv)."""

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from strongroom.kms.state import Put
from tests.conformance.kms.requests import request_for
from tests.key_service import KeyServer

if TYPE_CHECKING:
    from strongroom.kms.records import Key

TABLE = Path(__file__).parents[2] / "unit" / "kms" / "state_table.tsv"
LINES = [line.split("\t") for line in TABLE.read_text().splitlines() if line[0] != "#"]
STATES = LINES[0][1:]
INVALID_STATE = "KMSInvalidStateException"
KINDS = {
    "Sign": ("ECC_NIST_P256", "SIGN_VERIFY"),
    "Verify": ("ECC_NIST_P256", "SIGN_VERIFY"),
    "GetPublicKey": ("ECC_NIST_P256", "SIGN_VERIFY"),
    "GenerateMac": ("HMAC_256", "GENERATE_VERIFY_MAC"),
    "VerifyMac": ("HMAC_256", "GENERATE_VERIFY_MAC"),
    "DeriveSharedSecret": ("ECC_NIST_P256", "KEY_AGREEMENT"),
    "Encapsulate": ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE"),
    "Decapsulate": ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE"),
}
# What may be said of a key in the right state, where nothing about the state is wrong with the request.
BESIDE_THE_POINT = {
    *("InvalidCiphertextException", "KMSInvalidSignatureException", "KMSInvalidMacException", "ValidationException"),
    *("InvalidImportTokenException", "MalformedPolicyDocumentException", "UnsupportedOperationException"),
}


@pytest.fixture
def in_state(key_server: KeyServer, kms: Any) -> Any:
    """Makes a key that is in a state; in the order of its making the key is used before it gets there."""

    def make(operation: str, state: str) -> tuple[dict[str, Any], dict[str, Any]]:
        spec, usage = KINDS.get(operation, ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"))
        imports = state == "PendingImport" or operation in {
            *("GetParametersForImport", "ImportKeyMaterial", "DeleteImportedKeyMaterial"),
        }
        can_import = not spec.startswith("ML_")
        given: dict[str, Any] = {"KeySpec": spec, "KeyUsage": usage}
        made = kms.create_key(**given, Origin="EXTERNAL" if imports and can_import else "AWS_KMS")["KeyMetadata"]
        request = _prepared(kms, operation, made)
        if state == "PendingImport" and not can_import:  # there is no way there: the table is asked all the same
            key_server.run(_put(key_server, made["KeyId"], available=False))
        if imports and state in {"Enabled", "Disabled"}:
            key_server.run(_put(key_server, made["KeyId"], available=True, enabled=state == "Enabled"))
        elif state == "Disabled":
            kms.disable_key(KeyId=made["KeyId"])
        elif state == "PendingDeletion":
            kms.schedule_key_deletion(KeyId=made["KeyId"])
        assert kms.describe_key(KeyId=made["KeyId"])["KeyMetadata"]["KeyState"] == state
        return made, request

    return make


def _prepared(kms: Any, operation: str, made: dict[str, Any]) -> dict[str, Any]:
    """A request about the key that goes through, as far as one exists."""
    key_id, alias = made["KeyId"], f"alias/states/{made['KeyId']}"
    match operation:
        case "ListAliases":
            return {"KeyId": key_id}
        case "CreateAlias":
            return {"AliasName": alias, "TargetKeyId": key_id}
        case "DeleteAlias" | "UpdateAlias":
            target = key_id if operation == "DeleteAlias" else kms.create_key()["KeyMetadata"]["KeyId"]
            kms.create_alias(AliasName=alias, TargetKeyId=target)
            return {"AliasName": alias} | ({} if operation == "DeleteAlias" else {"TargetKeyId": key_id})
        case "RetireGrant" | "RevokeGrant" if made["Origin"] == "AWS_KMS":
            granted = kms.create_grant(
                KeyId=key_id,
                GranteePrincipal=made["Arn"].split(":key")[0].replace("kms:us-east-1", "iam:") + ":root",
                Operations=["DescribeKey"],
            )
            return {"KeyId": made["Arn"], "GrantId": granted["GrantId"]}
        case "RetireGrant":
            return {"KeyId": made["Arn"], "GrantId": "0" * 64}
        case "Decrypt" if made["Origin"] == "AWS_KMS":
            return {"CiphertextBlob": _blob(kms.encrypt(KeyId=key_id, Plaintext=b"x"))}
        case "ReEncrypt" if made["Origin"] == "AWS_KMS":
            return {"CiphertextBlob": _blob(kms.encrypt(KeyId=key_id, Plaintext=b"x")), "DestinationKeyId": key_id}
        case "Decrypt":
            return {"KeyId": key_id, "DryRun": True, "DryRunModifiers": ["IGNORE_CIPHERTEXT"]}
        case "ReEncrypt":
            modifiers = {"DryRun": True, "DryRunModifiers": ["IGNORE_CIPHERTEXT"]}
            return {"SourceKeyId": key_id, "DestinationKeyId": key_id, **modifiers}
        case _:
            return request_for(operation, key_id)


def _blob(encrypted: dict[str, Any]) -> str:
    return base64.b64encode(encrypted["CiphertextBlob"]).decode()


async def _put(server: KeyServer, key_id: str, **fields: Any) -> None:
    from msgspec.structs import replace

    state = server.opened.kms.state
    record: Key = state.keys[key_id]
    state.apply([Put(replace(record, **fields))])


@pytest.mark.parametrize("row", LINES[1:], ids=[row[0] for row in LINES[1:]])
def test_every_state_allows_or_refuses(key_server: KeyServer, in_state: Any, row: list[str]) -> None:
    operation, *verdicts = row
    for state, verdict in zip(STATES, verdicts, strict=True):
        made, request = in_state(operation, state)
        status, document, _ = key_server.post(operation, request)
        match verdict:
            case "1":
                assert document == {"__type": "DisabledException", "message": f"{made['Arn']} is disabled."}
            case "3":
                assert document == {"__type": INVALID_STATE, "message": f"{made['Arn']} is pending deletion."}
            case "4":
                assert document == {"__type": INVALID_STATE, "message": f"{made['Arn']} is not pending deletion."}
            case "5":
                assert document == {"__type": INVALID_STATE, "message": f"{made['Arn']} is pending import."}
            case _:
                assert verdict == "ok"
                assert status == 200 or document["__type"] in BESIDE_THE_POINT | _not_there(made, operation), (
                    state,
                    document,
                )


def _not_there(made: dict[str, Any], operation: str) -> set[str]:
    """A key without material gets no grant, so none of it can be retired or revoked: there is none."""
    no_grant = made["Origin"] == "EXTERNAL" and operation in {"RetireGrant", "RevokeGrant"}
    return {"NotFoundException"} if no_grant or operation == "RevokeGrant" else set()
