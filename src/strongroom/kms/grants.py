"""Grants: rights to use one key, given to one principal, that allow and never deny. They hold from the very next call.

A grant token names its grant and nothing else. AWS needs it to bridge the minutes until a grant is known everywhere;
here a grant is known at once, so a token opens nothing that its grant does not. Whoever has one may find the grant by it,
and the rules decide who may retire it.
"""

import base64
import binascii
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from strongroom.aws.kms_errors import KmsError
from strongroom.kms.call import Kms, KmsCall, Outcome
from strongroom.kms.key_specs import SYMMETRIC
from strongroom.kms.paging import page
from strongroom.kms.records import Grant, GrantConstraints, Key
from strongroom.kms.state import Put, Remove

MOST_GRANTS = 50_000  # of one key
_TOKEN_FORM = b"\x01"
_ALWAYS = frozenset({"CreateGrant", "DescribeKey", "RetireGrant"})
_OPERATIONS: Mapping[str, frozenset[str]] = {
    "ENCRYPT_DECRYPT": frozenset({"Decrypt", "Encrypt", "ReEncryptFrom", "ReEncryptTo"}),
    "SIGN_VERIFY": frozenset({"Sign", "Verify"}),
    "GENERATE_VERIFY_MAC": frozenset({"GenerateMac", "VerifyMac"}),
    "KEY_AGREEMENT": frozenset({"DeriveSharedSecret"}),
    "ENCAPSULATE_DECAPSULATE": frozenset({"Decapsulate", "Encapsulate"}),
}
_DATA_KEYS = frozenset(
    {
        "GenerateDataKey",
        "GenerateDataKeyPair",
        "GenerateDataKeyPairWithoutPlaintext",
        "GenerateDataKeyWithoutPlaintext",
    }
)
_SERVICE_MEMBERS = ("GranteeServicePrincipal", "RetiringServicePrincipal")


def create_grant(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    given = call.input
    _refuse_services(given)
    grant = Grant(
        grant_id=secrets.token_hex(32),
        key_id=key.key_id,
        created_us=call.now_us,
        name=given.get("Name", ""),
        grantee=_principal(kms, given, "GranteePrincipal"),
        retiring=_principal(kms, given, "RetiringPrincipal"),
        issuing_account=kms.account_root,
        operations=tuple(dict.fromkeys(given["Operations"])),
        constraints=_constraints(key, given.get("Constraints") or {}),
    )
    if not grant.grantee:
        raise _missing("granteePrincipal")
    _check_operations(kms, key, grant)
    if grant.name and (same := _same(kms, key, grant)) is not None:
        return _granted(same, ())
    if kms.state.count_grants(key.key_id) >= MOST_GRANTS:
        raise KmsError("LimitExceededException", f"The key has reached its limit of {MOST_GRANTS} grants.")
    return _granted(grant, (Put(grant),))


def _granted(grant: Grant, changes: tuple[Put, ...]) -> Outcome:
    return Outcome(
        output={"GrantId": grant.grant_id, "GrantToken": token_of(grant)},
        changes=changes,
        facts={"grantId": grant.grant_id},
        elements={"grantId": grant.grant_id},
    )


def list_grants(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    _refuse_services(call.input)
    wanted = call.input.get("GrantId")
    grantee = _principal(kms, call.input, "GranteePrincipal", known=False)
    grants = (
        grant
        for grant in kms.state.grants_of(key.key_id)
        if wanted in (None, grant.grant_id) and grantee in ("", grant.grantee)
    )
    return Outcome(output=_page(call, kms, grants))


def list_retirable_grants(call: KmsCall, kms: Kms) -> Outcome:
    _refuse_services(call.input)
    retiring = _principal(kms, call.input, "RetiringPrincipal", known=False)
    if not retiring:
        raise _missing("retiringPrincipal")
    grants = (grant for grant in kms.state.grants.values() if grant.retiring == retiring)
    return Outcome(output=_page(call, kms, grants))


def retire_grant(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    grant = named_grant(call, kms)
    assert grant.key_id == key.key_id
    return Outcome(changes=(Remove("grant", grant.grant_id),), facts={"grantId": grant.grant_id})


def revoke_grant(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    grant = kms.state.grants.get(call.input["GrantId"])
    if grant is None or grant.key_id != key.key_id:
        raise no_such_grant(call.input["GrantId"])
    return Outcome(changes=(Remove("grant", grant.grant_id),), facts={"grantId": grant.grant_id})


def named_grant(call: KmsCall, kms: Kms) -> Grant:
    """The grant of RetireGrant, by token or by key and id. Raises ValidationException, InvalidGrantTokenException,
    NotFoundException.
    """
    token, grant_id = call.input.get("GrantToken"), call.input.get("GrantId")
    if (token is None) == (grant_id is None) or (grant_id is not None and call.input.get("KeyId") is None):
        raise KmsError("ValidationException", "Specify either a grant token, or a key ARN and a grant id.")
    wanted = grant_of_token(token) if token is not None else str(grant_id)
    grant = kms.state.grants.get(wanted)
    if grant is None:
        raise no_such_grant(wanted)
    return grant


def token_of(grant: Grant) -> str:
    """Another one each time, as on AWS."""
    return base64.b64encode(_TOKEN_FORM + bytes.fromhex(grant.grant_id) + secrets.token_bytes(16)).decode()


def grant_of_token(token: str) -> str:
    """The grant id in a token. Raises InvalidGrantTokenException."""
    try:
        raw = base64.b64decode(token, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 49 or raw[:1] != _TOKEN_FORM:
        raise KmsError("InvalidGrantTokenException", "The grant token is not valid.")
    return raw[1:33].hex()


def _page(call: KmsCall, kms: Kms, grants: Iterable[Grant]) -> dict[str, Any]:
    def show(grant: Grant) -> dict[str, Any]:
        constraints: dict[str, Any] = {}
        if grant.constraints.equals is not None:
            constraints["EncryptionContextEquals"] = dict(grant.constraints.equals)
        if grant.constraints.subset is not None:
            constraints["EncryptionContextSubset"] = dict(grant.constraints.subset)
        entry = {
            "KeyId": kms.key_arn(grant.key_id),
            "GrantId": grant.grant_id,
            "Name": grant.name,
            "CreationDate": grant.created_us / 1e6,
            "GranteePrincipal": grant.grantee,
            "IssuingAccount": grant.issuing_account,
            "Operations": list(grant.operations),
        }
        return (
            entry
            | ({"RetiringPrincipal": grant.retiring} if grant.retiring else {})
            | ({"Constraints": constraints} if constraints else {})
        )

    return page(call.input, grants, lambda grant: grant.grant_id, member="Grants", show=show, default=50, most=100)


def _principal(kms: Kms, given: Mapping[str, Any], member: str, *, known: bool = True) -> str:
    """The ARN of a user or of the account's root, "" where none is given. Raises InvalidArnException."""
    arn = given.get(member)
    if arn is None:
        return ""
    if arn == kms.account_id:
        return kms.account_root
    if known and not kms.principal_exists(arn):
        raise KmsError("InvalidArnException", f"ARN does not refer to a valid principal: {arn}")
    return str(arn)


def _constraints(key: Key, given: Mapping[str, Any]) -> GrantConstraints:
    if given.get("SourceArn") is not None:
        raise KmsError("UnsupportedOperationException", "Grants to service principals are not supported.")
    equals, subset = given.get("EncryptionContextEquals"), given.get("EncryptionContextSubset")
    if (equals or subset) and key.spec != "SYMMETRIC_DEFAULT":
        raise KmsError("ValidationException", "Encryption context constraints need a symmetric encryption key.")
    for pairs in (equals or {}, subset or {}):
        if len(pairs) > 8 or any(len(text) > 384 for pair in pairs.items() for text in pair):
            raise KmsError("ValidationException", "A grant constraint holds at most 8 pairs of 384 characters each.")
    return GrantConstraints(equals=equals, subset=subset)


def _check_operations(kms: Kms, key: Key, grant: Grant) -> None:
    """Raises ValidationException for an operation that a key of this kind has not."""
    for operation in grant.operations:
        if operation not in _ALWAYS and operation not in _operations_of(key):
            raise KmsError(
                "ValidationException",
                f"Operation {operation} is not valid for the key {kms.key_arn(key.key_id)} of spec {key.spec} and usage"
                f" {key.usage}.",
            )


def _operations_of(key: Key) -> frozenset[str]:
    """What a key of this kind can do, in the words of grants."""
    if key.spec == SYMMETRIC:
        return _OPERATIONS[key.usage] | _DATA_KEYS
    return _OPERATIONS[key.usage] | ({"GetPublicKey"} if not key.spec.startswith("HMAC") else set())


def _same(kms: Kms, key: Key, new: Grant) -> Grant | None:
    """A grant of the same name that says the same: repeating a request makes no second one."""
    for grant in kms.state.grants_to(key.key_id, new.grantee):
        if (grant.name, grant.retiring, set(grant.operations), grant.constraints) == (
            new.name,
            new.retiring,
            set(new.operations),
            new.constraints,
        ):
            return grant
    return None


def _refuse_services(given: Mapping[str, Any]) -> None:
    for member in _SERVICE_MEMBERS:
        if given.get(member) is not None:
            raise KmsError("UnsupportedOperationException", f"{member} is not supported.")


def _missing(member: str) -> KmsError:
    """The model has it optional, since a service may be named in its place: which are none here."""
    return KmsError(
        "ValidationException",
        f"1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null",
    )


def no_such_grant(grant_id: str) -> KmsError:
    return KmsError("NotFoundException", f"Grant ID {grant_id} not found")
