"""The state table: which operation a key in which state allows, and what it answers where not.

The rows are AWS KMS's ("Key states of AWS KMS keys" in its Developer Guide); numbers of footnotes are gone, what they
say is in `Refusal`. One table, read here and by its test; operations about origin or kind of a key judge those
themselves, after this.
"""

from collections.abc import Mapping
from typing import Literal

from strongroom.aws.kms_errors import KmsError
from strongroom.kms.records import Key, KeyState

Refusal = Literal["ok", "disabled", "pending deletion", "not pending deletion", "pending import"]

_ALWAYS: Mapping[KeyState, Refusal] = {
    "Enabled": "ok",
    "Disabled": "ok",
    "PendingDeletion": "ok",
    "PendingImport": "ok",
}
_USE: Mapping[KeyState, Refusal] = {
    "Enabled": "ok",
    "Disabled": "disabled",
    "PendingDeletion": "pending deletion",
    "PendingImport": "pending import",
}
_CHANGE: Mapping[KeyState, Refusal] = {**_ALWAYS, "PendingDeletion": "pending deletion"}
_SWITCH: Mapping[KeyState, Refusal] = {**_CHANGE, "PendingImport": "pending import"}
_ROTATION: Mapping[KeyState, Refusal] = {**_USE, "PendingImport": "ok"}  # the origin is judged, and refused, by them
_CANCEL: Mapping[KeyState, Refusal] = {
    "Enabled": "not pending deletion",
    "Disabled": "not pending deletion",
    "PendingDeletion": "ok",
    "PendingImport": "not pending deletion",
}

CRYPTOGRAPHIC = frozenset(
    {
        "Decapsulate",
        "Decrypt",
        "DeriveSharedSecret",
        "Encapsulate",
        "Encrypt",
        "GenerateDataKey",
        "GenerateDataKeyPair",
        "GenerateDataKeyPairWithoutPlaintext",
        "GenerateDataKeyWithoutPlaintext",
        "GenerateMac",
        "ReEncrypt",
        "Sign",
        "Verify",
        "VerifyMac",
    }
)
"""The uses of a key, as GetKeyLastUsage counts them."""

STATES: Mapping[str, Mapping[KeyState, Refusal]] = {
    **dict.fromkeys((*CRYPTOGRAPHIC, "CreateGrant", "GetPublicKey", "RotateKeyOnDemand"), _USE),
    **dict.fromkeys(
        (
            "DeleteAlias",
            "DeleteImportedKeyMaterial",
            "DescribeKey",
            "GetKeyLastUsage",
            "GetKeyPolicy",
            "GetKeyRotationStatus",
            "ListAliases",
            "ListGrants",
            "ListKeyPolicies",
            "ListKeyRotations",
            "ListResourceTags",
            "PutKeyPolicy",
            "RetireGrant",
            "RevokeGrant",
        ),
        _ALWAYS,
    ),
    **dict.fromkeys(
        (
            "CreateAlias",
            "GetParametersForImport",
            "ImportKeyMaterial",
            "ScheduleKeyDeletion",
            "TagResource",
            "UntagResource",
            "UpdateAlias",
            "UpdateKeyDescription",
        ),
        _CHANGE,
    ),
    **dict.fromkeys(("DisableKey", "EnableKey"), _SWITCH),
    **dict.fromkeys(("DisableKeyRotation", "EnableKeyRotation"), _ROTATION),
    "CancelKeyDeletion": _CANCEL,
}


def check_state(operation: str, key: Key, arn: str) -> None:
    """Raises DisabledException and KMSInvalidStateException with AWS's texts."""
    refusal = STATES[operation][key.state]
    if refusal == "disabled":
        raise KmsError("DisabledException", f"{arn} is disabled.")
    if refusal != "ok":
        raise KmsError("KMSInvalidStateException", f"{arn} is {refusal}.")
