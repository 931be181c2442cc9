"""Who may use which key: key policy, grants and the caller's identity policies, made into one verdict.

The verdict is made in one place, of facts (`identity/policy.py`): a Deny anywhere wins; then the key policy that names
the caller, the key policy that leaves it to the account and an identity policy that takes it up, or a grant. Nobody has
a right that none of these gives, the account's root user included: the key policy's delegation to the account is what
names it. A caller of another account needs leave on both sides. What a refusal says is AWS's text; what it says to
somebody who named no key reveals nothing. Nothing here reads or keeps anything.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from strongroom.aws.kms_errors import KmsError
from strongroom.identity.policy import (
    Decision,
    Policy,
    Request,
    ResourceDecision,
    account_root,
    evaluate_identity,
    evaluate_resource,
)
from strongroom.identity.requester import Caller
from strongroom.kms.call import Kms, KmsCall
from strongroom.kms.condition_context import SERVICE, encryption_context_of, policy_request
from strongroom.kms.key_policy import read_key_policy
from strongroom.kms.records import Grant, GrantConstraints, Key

# For Decrypt and ReEncrypt without a key id, whether there is no such key or the caller may not use it.
UNKNOWN_KEY_OF_CIPHERTEXT = (
    "The ciphertext refers to a customer master key that does not exist, does not exist in this region, "
    "or you are not allowed to access."
)

# All that callers of another account may ever do with a key.
CROSS_ACCOUNT_ACTIONS = frozenset(
    f"kms:{operation}"
    for operation in (
        *("Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext"),
        *("GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext", "Sign", "Verify", "GenerateMac", "VerifyMac"),
        *("DeriveSharedSecret", "Encapsulate", "Decapsulate", "DescribeKey", "GetPublicKey", "GetKeyRotationStatus"),
        *("CreateGrant", "ListGrants", "RetireGrant", "RevokeGrant"),
    )
)
# What the S3 service may do for itself, with the keys that were made for it and with no other.
_SERVICE_ACTIONS = frozenset(
    {
        *("kms:DescribeKey", "kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey"),
        *("kms:ReEncryptFrom", "kms:ReEncryptTo"),
    }
)
_SERVICE_CONTEXT = "aws:s3:arn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """Why a call is allowed, for its record. `name`: the statement's Sid or place (`#2`), or the grant's id."""

    given_by: Literal["key policy", "identity policy", "grant", "root user", "service"]
    name: str = ""

    def __str__(self) -> str:
        return f"{self.given_by} {self.name}".rstrip()


def authorize(
    call: KmsCall,
    kms: Kms,
    key: Key,
    *,
    policies: Iterable[Policy],
    action: str | None = None,
    encryption_context: Mapping[str, str] | None = None,
    request_alias: str | None = None,
    on_same_key: bool | None = None,
    user_id: str | None = None,
    refusal: str | None = None,
    retired: Grant | None = None,
) -> Permission:
    """May the caller do `action` (the operation's own where it is None) with `key`?

    `policies`: the caller's own. `encryption_context`: None for that of the call's input; ReEncrypt is asked twice, with
    each key's. `request_alias`, `on_same_key`, `user_id`: see `condition_context.py`. `refusal`: the text for a caller who
    may not learn which key it is. `retired`: the grant that RetireGrant names. Raises KmsError AccessDeniedException.
    """
    if encryption_context is None:
        encryption_context = encryption_context_of(call)
    asked = _Question(
        call=call,
        kms=kms,
        key=key,
        request=policy_request(
            call,
            kms,
            key,
            action=action or f"kms:{call.operation}",
            encryption_context=encryption_context,
            request_alias=request_alias,
            on_same_key=on_same_key,
            user_id=user_id,
        ),
        encryption_context=encryption_context,
        refusal=refusal,
        retired=retired,
    )
    on_key = evaluate_resource(read_key_policy(key.policy), asked.request)
    of_caller = Decision() if call.caller.is_service else evaluate_identity(policies, asked.request)
    _refuse_denied(asked.request, on_key, of_caller, refusal)
    if call.caller.is_service:
        return _authorize_service(asked)
    if call.caller.account_id != kms.account_id:
        return _authorize_foreign(asked, on_key, of_caller)
    if on_key.allowed_by is not None:
        return Permission(given_by="key policy", name=on_key.allowed_by.name)
    if on_key.delegated_by is not None and of_caller.allowed_by is not None:
        return Permission(given_by="identity policy", name=of_caller.allowed_by.name)
    if (grant := asked.covering_grant(takes_up_account=of_caller.allowed_by is not None)) is not None:
        return Permission(given_by="grant", name=grant.grant_id)
    raise _no_allow(asked.request, "resource" if on_key.delegated_by is None else "identity", refusal)


def authorize_account(
    call: KmsCall,
    kms: Kms,
    *,
    policies: Iterable[Policy],
    action: str | None = None,
    resource: str = "*",
    user_id: str | None = None,
) -> Permission:
    """For what concerns no key (CreateKey, ListKeys, ListAliases, ListRetirableGrants, GenerateRandom), and for an
    alias as such: identity policies only. `resource`: an alias's ARN.

    The root user may all of it: it is the account. Raises KmsError AccessDeniedException.
    """
    action = action or f"kms:{call.operation}"
    request = policy_request(call, kms, None, action=action, resource=resource, user_id=user_id)
    if call.caller.is_service or call.caller.account_id != kms.account_id:
        raise _no_allow(request, "identity", None)
    decision = evaluate_identity(policies, request)
    _refuse_denied(request, ResourceDecision(), decision, None)
    if _is_root(call.caller):
        return Permission(given_by="root user")
    if decision.allowed_by is None:
        raise _no_allow(request, "identity", None)
    return Permission(given_by="identity policy", name=decision.allowed_by.name)


def authorize_retirement(
    call: KmsCall, kms: Kms, key: Key, grant: Grant, *, policies: Iterable[Policy], user_id: str | None = None
) -> Permission:
    """RetireGrant: its retiring principal; its grantee where the grant lists RetireGrant; the root user of the account
    that issued it; and whom policies let. A Deny wins here too. Raises KmsError AccessDeniedException.
    """
    policies = tuple(policies)
    caller = call.caller
    request = policy_request(call, kms, key, action="kms:RetireGrant", user_id=user_id)
    _refuse_denied(
        request,
        evaluate_resource(read_key_policy(key.policy), request),
        evaluate_identity(policies, request),
        None,
    )
    if not caller.is_service:
        by_grant = grant.retiring == caller.arn or (grant.grantee == caller.arn and "RetireGrant" in grant.operations)
        if by_grant or (_is_root(caller) and grant.issuing_account in {caller.arn, caller.account_id}):
            return Permission(given_by="grant", name=grant.grant_id)
    return authorize(
        call,
        kms,
        key,
        policies=policies,
        action="kms:RetireGrant",
        encryption_context={},
        user_id=user_id,
        retired=grant,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    call: KmsCall
    kms: Kms
    key: Key
    request: Request
    encryption_context: Mapping[str, str]
    refusal: str | None
    retired: Grant | None

    def covering_grant(self, *, takes_up_account: bool) -> Grant | None:
        """A grant to the whole account leaves it to the account's identity policies, as a key policy does."""
        caller = self.call.caller
        grantees = [caller.arn]
        if takes_up_account and caller.arn != account_root(caller.account_id):
            grantees.append(account_root(caller.account_id))
        grants = (self.kms.state.grants_to(self.key.key_id, grantee) for grantee in grantees)
        return next(filter(self._is_covered_by, chain.from_iterable(grants)), None)

    def _is_covered_by(self, grant: Grant) -> bool:
        operation = self.request.action.removeprefix("kms:")
        if operation not in grant.operations:
            return False
        if operation == "RetireGrant":  # a grant that lists it may be retired by its grantee; no other may
            return self.retired is not None and grant.grant_id == self.retired.grant_id
        if operation == "DescribeKey":  # has no encryption context for constraints to speak of
            return True
        if operation == "CreateGrant":
            return _is_no_wider(self.call.input, grant)
        return _satisfies(self.encryption_context, grant.constraints)


def _satisfies(encryption_context: Mapping[str, str], constraints: GrantConstraints) -> bool:
    """No caller here comes with a source ARN, so a grant that demands one covers nothing."""
    return (
        constraints.source_arn is None
        and (constraints.equals is None or dict(encryption_context) == dict(constraints.equals))
        and (constraints.subset is None or constraints.subset.items() <= encryption_context.items())
    )


def _is_no_wider(wanted: Mapping[str, object], parent: Grant) -> bool:
    """A grant made by leave of a grant: some of its operations, constraints at least as strict."""
    operations = wanted.get("Operations") or ()
    constraints = wanted.get("Constraints") or {}
    if not isinstance(operations, list | tuple) or not isinstance(constraints, Mapping):
        return False
    if not set(operations) <= set(parent.operations):
        return False
    equals = constraints.get("EncryptionContextEquals") or None
    subset = constraints.get("EncryptionContextSubset") or None
    bounds = parent.constraints
    return (
        bounds.source_arn in {None, constraints.get("SourceArn")}
        and (bounds.equals is None or (equals is not None and dict(equals) == dict(bounds.equals)))
        and (
            bounds.subset is None
            or any(pairs is not None and bounds.subset.items() <= pairs.items() for pairs in (equals, subset))
        )
    )


def _authorize_service(asked: _Question) -> Permission:
    """The service's own credential: the store's key, for what names the object or bucket that it is for."""
    named = _SERVICE_CONTEXT in asked.encryption_context or asked.request.action == "kms:DescribeKey"
    if not asked.key.service or asked.request.action not in _SERVICE_ACTIONS or not named:
        raise _no_allow(asked.request, "resource", asked.refusal)
    return Permission(given_by="service", name=SERVICE)


def _authorize_foreign(asked: _Question, on_key: ResourceDecision, of_caller: Decision) -> Permission:
    """Both accounts have to agree: the key's by its policy or a grant, the caller's by an identity policy (which its
    root user needs no more than elsewhere).
    """
    agreed = of_caller.allowed_by is not None or _is_root(asked.call.caller)
    if asked.request.action not in CROSS_ACCOUNT_ACTIONS:
        raise _no_allow(asked.request, "resource", asked.refusal)
    if (statement := on_key.allowed_by or on_key.delegated_by) is not None:
        permission = Permission(given_by="key policy", name=statement.name)
    elif (grant := asked.covering_grant(takes_up_account=agreed)) is not None:
        permission = Permission(given_by="grant", name=grant.grant_id)
    else:
        raise _no_allow(asked.request, "resource", asked.refusal)
    if not agreed:
        raise _no_allow(asked.request, "identity", asked.refusal)
    return permission


def _is_root(caller: Caller) -> bool:
    return not caller.is_service and caller.arn == account_root(caller.account_id)


def _refuse_denied(request: Request, on_key: ResourceDecision, of_caller: Decision, refusal: str | None) -> None:
    for statement, kind in ((on_key.denied_by, "a resource"), (of_caller.denied_by, "an identity")):
        if statement is not None:
            raise _denied(request, f"with an explicit deny in {kind}-based policy", refusal, statement.name)


def _no_allow(request: Request, kind: Literal["resource", "identity"], refusal: str | None) -> KmsError:
    return _denied(request, f"because no {kind}-based policy allows the {request.action} action", refusal, "")


def _denied(request: Request, why: str, refusal: str | None, statement: str) -> KmsError:
    # AWS names no resource where there is none.
    on = "" if request.resource == "*" else f" on resource: {request.resource}"
    text = f"User: {request.principal.arn} is not authorized to perform: {request.action}{on} {why}"
    return KmsError(
        "AccessDeniedException",
        text if refusal is None else refusal,
        reason=f"{text} (statement {statement})" if statement else text,
    )
