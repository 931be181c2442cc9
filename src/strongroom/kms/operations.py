"""The operations as one table: which function, on which keys, with which rights, and whether it changes anything.

A *target* is a key that a call is about, with the right that it needs there. Finding the targets is all that differs
between operations before they are allowed; what they do is in the modules named here. What is not here is
UnsupportedOperationException.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from strongroom.aws.kms_errors import KmsError
from strongroom.crypto.kms_sealing import raw_key_id
from strongroom.kms import (
    aliases,
    asymmetric,
    grants,
    imports,
    key_pairs,
    keys,
    mac,
    policies,
    rotation,
    symmetric,
    tags,
)
from strongroom.kms.authorize import UNKNOWN_KEY_OF_CIPHERTEXT
from strongroom.kms.blob import parse_blob
from strongroom.kms.call import Kms, KmsCall, Outcome
from strongroom.kms.key_ids import resolve
from strongroom.kms.key_specs import SYMMETRIC
from strongroom.kms.records import Grant, Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`action`: without `kms:`. `context`: the encryption context that conditions look at. `refusal`: what a caller is
    told who may not, in place of the truth. `grant`: the one to be retired. `is_filter`: asked for by nobody's right.
    `in_any_state`: the state table is not about this key.
    """

    key: Key
    action: str
    alias: str | None = None
    context: Mapping[str, str] = field(default_factory=dict)
    refusal: str | None = None
    grant: Grant | None = None
    is_filter: bool = False
    in_any_state: bool = False


Targets = Callable[[KmsCall, Kms], tuple[Target, ...]]


def _none(call: KmsCall, kms: Kms) -> tuple[Target, ...]:
    del call, kms
    return ()


def _by_id(call: KmsCall, kms: Kms, *, aliases: bool = False, member: str = "KeyId") -> tuple[Target, ...]:
    named = resolve(call, kms, call.input[member], aliases=aliases)
    context = call.input.get("EncryptionContext") or {}
    return (Target(key=named.key, action=call.operation, alias=named.alias, context=context),)


_by_any_name = partial(_by_id, aliases=True)


def _to_decrypt(call: KmsCall, kms: Kms) -> tuple[Target, ...]:
    key, alias, refusal = _sealing_key(call, kms, "Decrypt", "KeyId", "EncryptionAlgorithm")
    context = call.input.get("EncryptionContext") or {}
    return (Target(key=key, action="Decrypt", alias=alias, context=context, refusal=refusal),)


def _to_re_encrypt(call: KmsCall, kms: Kms) -> tuple[Target, ...]:
    key, alias, refusal = _sealing_key(call, kms, "ReEncryptFrom", "SourceKeyId", "SourceEncryptionAlgorithm")
    to = resolve(call, kms, call.input["DestinationKeyId"], aliases=True, action="ReEncryptTo")
    opens = call.input.get("SourceEncryptionContext") or {}
    seals = call.input.get("DestinationEncryptionContext") or {}
    return (
        Target(key=key, action="ReEncryptFrom", alias=alias, context=opens, refusal=refusal),
        Target(key=to.key, action="ReEncryptTo", alias=to.alias, context=seals),
    )


def _sealing_key(
    call: KmsCall, kms: Kms, action: str, member: str, algorithm: str
) -> tuple[Key, str | None, str | None]:
    """The key under which a ciphertext was sealed, the alias that named it, and what to say where it is not allowed.

    A symmetric blob names its key, and a key id only confirms it; any other ciphertext needs the id.
    """
    given, blob = call.input.get(member), call.input.get("CiphertextBlob")
    if call.input.get("DryRun") and "IGNORE_CIPHERTEXT" in (call.input.get("DryRunModifiers") or ()):
        if given is None:
            raise KmsError("ValidationException", f"{member} is required where the ciphertext is ignored.")
        named = resolve(call, kms, given, aliases=True, action=action)
        return named.key, named.alias, None
    if blob is None:
        raise KmsError(
            "ValidationException",
            "1 validation error detected: Value null at 'ciphertextBlob' failed to satisfy constraint: Member must not"
            " be null",
        )
    if call.input.get(algorithm, SYMMETRIC) != SYMMETRIC:
        if given is None:
            raise KmsError("ValidationException", f"{member} is required for asymmetric keys.")
        named = resolve(call, kms, given, aliases=True, action=action)
        return named.key, named.alias, None
    if given is None:
        key = kms.state.keys.get(_named_by(blob))
        if key is None:
            raise KmsError("AccessDeniedException", UNKNOWN_KEY_OF_CIPHERTEXT)
        return key, None, UNKNOWN_KEY_OF_CIPHERTEXT
    named = resolve(call, kms, given, aliases=True, action=action)
    if named.key.spec != SYMMETRIC or parse_blob(blob).key_id != raw_key_id(named.key.key_id):
        raise KmsError(
            "IncorrectKeyException",
            "The key ID in the request does not identify a CMK that can perform this operation.",
        )
    return named.key, named.alias, None


def _named_by(blob: bytes) -> str:
    """The key id in a symmetric blob. Raises InvalidCiphertextException."""
    return str(uuid.UUID(bytes=parse_blob(blob).key_id))


def _to_create_alias(call: KmsCall, kms: Kms) -> tuple[Target, ...]:
    aliases.check_new_alias(call.input["AliasName"])
    return (_alias_target(call, kms),)


def _alias_target(call: KmsCall, kms: Kms) -> Target:
    target = call.input["TargetKeyId"]
    if target.startswith("alias/") or ":alias/" in target:
        raise KmsError("ValidationException", "Aliases must refer to keys. Not aliases")
    return Target(key=resolve(call, kms, target, aliases=False).key, action=call.operation)


def _to_update_alias(call: KmsCall, kms: Kms) -> tuple[Target, ...]:
    aliases.check_new_alias(call.input["AliasName"])
    before = resolve(call, kms, call.input["AliasName"], aliases=True)
    return (_alias_target(call, kms), Target(key=before.key, action="UpdateAlias", in_any_state=True))


def _to_delete_alias(call: KmsCall, kms: Kms) -> tuple[Target, ...]:
    aliases.check_new_alias(call.input["AliasName"])
    return (Target(key=resolve(call, kms, call.input["AliasName"], aliases=True).key, action="DeleteAlias"),)


def _to_retire(call: KmsCall, kms: Kms) -> tuple[Target, ...]:
    named = None if (given := call.input.get("KeyId")) is None else resolve(call, kms, given, aliases=False).key
    grant = grants.named_grant(call, kms)
    if named is not None and named.key_id != grant.key_id:
        raise grants.no_such_grant(grant.grant_id)
    return (Target(key=kms.state.keys[grant.key_id], action="RetireGrant", grant=grant),)


def _filtered(call: KmsCall, kms: Kms) -> tuple[Target, ...]:
    """ListAliases of one key: a filter, no use of the key."""
    if (given := call.input.get("KeyId")) is None:
        return ()
    return (Target(key=resolve(call, kms, given, aliases=False).key, action="ListAliases", is_filter=True),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`on_account`: rights that only identity policies can give, because no key is asked for or beside the key's.
    `mutates`: one at a time. `ahead`: makes, of the call alone and where that is slow, what `function` takes as its last
    argument, before the call's turn has come.
    """

    function: Callable[..., Outcome]
    targets: Targets = _none
    on_account: bool = False
    mutates: bool = False
    ahead: Callable[[KmsCall], object] | None = None


def _reads(function: Callable[..., Outcome], targets: Targets = _by_id) -> Rule:
    return Rule(function=function, targets=targets)


def _writes(function: Callable[..., Outcome], targets: Targets = _by_id, *, on_account: bool = False) -> Rule:
    return Rule(function=function, targets=targets, mutates=True, on_account=on_account)


RULES: Mapping[str, Rule] = {
    "CancelKeyDeletion": _writes(keys.cancel_key_deletion),
    "CreateAlias": _writes(aliases.create_alias, _to_create_alias, on_account=True),
    "CreateGrant": _writes(grants.create_grant),
    "CreateKey": Rule(function=keys.create_key, on_account=True, mutates=True, ahead=keys.make_material),
    "Decapsulate": _reads(asymmetric.decapsulate, _by_any_name),
    "Decrypt": _reads(symmetric.decrypt, _to_decrypt),
    "DeleteAlias": _writes(aliases.delete_alias, _to_delete_alias, on_account=True),
    "DeleteImportedKeyMaterial": _writes(imports.delete_imported_key_material),
    "DeriveSharedSecret": _reads(asymmetric.derive_shared_secret, _by_any_name),
    "DescribeKey": _reads(keys.describe_key, _by_any_name),
    "DisableKey": _writes(keys.disable_key),
    "DisableKeyRotation": _writes(rotation.disable_key_rotation),
    "EnableKey": _writes(keys.enable_key),
    "EnableKeyRotation": _writes(rotation.enable_key_rotation),
    "Encapsulate": _reads(asymmetric.encapsulate, _by_any_name),
    "Encrypt": _reads(symmetric.encrypt, _by_any_name),
    "GenerateDataKey": _reads(symmetric.generate_data_key, _by_any_name),
    "GenerateDataKeyPair": _reads(key_pairs.generate_data_key_pair, _by_any_name),
    "GenerateDataKeyPairWithoutPlaintext": _reads(key_pairs.generate_data_key_pair_without_plaintext, _by_any_name),
    "GenerateDataKeyWithoutPlaintext": _reads(symmetric.generate_data_key_without_plaintext, _by_any_name),
    "GenerateMac": _reads(mac.generate_mac, _by_any_name),
    "GenerateRandom": Rule(function=symmetric.generate_random, on_account=True),
    "GetKeyLastUsage": _reads(keys.get_key_last_usage),
    "GetKeyPolicy": _reads(policies.get_key_policy),
    "GetKeyRotationStatus": _reads(rotation.get_key_rotation_status),
    "GetParametersForImport": _reads(imports.get_parameters_for_import),
    "GetPublicKey": _reads(asymmetric.get_public_key, _by_any_name),
    "ImportKeyMaterial": _writes(imports.import_key_material),
    "ListAliases": Rule(function=aliases.list_aliases, targets=_filtered, on_account=True),
    "ListGrants": _reads(grants.list_grants),
    "ListKeyPolicies": _reads(policies.list_key_policies),
    "ListKeyRotations": _reads(rotation.list_key_rotations),
    "ListKeys": Rule(function=keys.list_keys, on_account=True),
    "ListResourceTags": _reads(tags.list_resource_tags),
    "ListRetirableGrants": Rule(function=grants.list_retirable_grants, on_account=True),
    "PutKeyPolicy": _writes(policies.put_key_policy),
    "ReEncrypt": _reads(symmetric.re_encrypt, _to_re_encrypt),
    "RetireGrant": _writes(grants.retire_grant, _to_retire),
    "RevokeGrant": _writes(grants.revoke_grant),
    "RotateKeyOnDemand": _writes(rotation.rotate_key_on_demand),
    "ScheduleKeyDeletion": _writes(keys.schedule_key_deletion),
    "Sign": _reads(asymmetric.sign, _by_any_name),
    "TagResource": _writes(tags.tag_resource),
    "UntagResource": _writes(tags.untag_resource),
    "UpdateAlias": _writes(aliases.update_alias, _to_update_alias, on_account=True),
    "UpdateKeyDescription": _writes(keys.update_key_description),
    "Verify": _reads(asymmetric.verify, _by_any_name),
    "VerifyMac": _reads(mac.verify_mac, _by_any_name),
}
