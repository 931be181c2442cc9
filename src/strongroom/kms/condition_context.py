"""What a KMS call puts before policies: who, what, on which key, and the condition keys that they may ask about.

Every key is made here, of what the server itself has established: the authenticated caller, the input whose shapes were
checked, the key's record. Names that a client chooses (of its encryption context, of tags) only ever stand behind a
prefix of ours, so that nothing in a request can pose as another key. Keys and the operations that have them are those
of AWS's page on KMS condition keys; a parameter left out counts with its default where that page says so. This module
decides nothing.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from strongroom.identity.conditions import global_conditions, named_conditions
from strongroom.identity.policy import Context, Request, account_root
from strongroom.kms.call import Kms, KmsCall
from strongroom.kms.records import Key

# The principal that a service is when it asks for itself.
SERVICE = "s3.amazonaws.com"

_CREATE_GRANT = "CreateGrant"
_DATA_KEY_OPERATIONS = frozenset(
    {
        *("GenerateDataKey", "GenerateDataKeyWithoutPlaintext"),
        *("GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"),
    }
)
_GRANT_OPERATIONS = frozenset({_CREATE_GRANT, "ListGrants", "RevokeGrant"})
# By operation: (condition key, input member, the value that its absence means or None where the key is absent too).
_PARAMETERS: Mapping[str, tuple[tuple[str, str, str | None], ...]] = {
    "CreateKey": (
        ("kms:keyspec", "KeySpec", None),
        ("kms:keyusage", "KeyUsage", "ENCRYPT_DECRYPT"),
        ("kms:keyorigin", "Origin", "AWS_KMS"),
        ("kms:multiregion", "MultiRegion", "false"),
        ("kms:bypasspolicylockoutsafetycheck", "BypassPolicyLockoutSafetyCheck", None),
    ),
    "PutKeyPolicy": (
        ("kms:bypasspolicylockoutsafetycheck", "BypassPolicyLockoutSafetyCheck", None),
        ("kms:policyname", "PolicyName", "default"),
    ),
    "GetKeyPolicy": (("kms:policyname", "PolicyName", "default"),),
    "ScheduleKeyDeletion": (("kms:schedulekeydeletionpendingwindowindays", "PendingWindowInDays", "30"),),
    "EnableKeyRotation": (("kms:rotationperiodindays", "RotationPeriodInDays", "365"),),
    "ImportKeyMaterial": (
        ("kms:expirationmodel", "ExpirationModel", None),
        ("kms:validto", "ValidTo", None),
    ),
    "GetParametersForImport": (
        ("kms:wrappingalgorithm", "WrappingAlgorithm", None),
        ("kms:wrappingkeyspec", "WrappingKeySpec", None),
    ),
    "Encrypt": (("kms:encryptionalgorithm", "EncryptionAlgorithm", "SYMMETRIC_DEFAULT"),),
    "Decrypt": (("kms:encryptionalgorithm", "EncryptionAlgorithm", "SYMMETRIC_DEFAULT"),),
    "GenerateDataKeyPair": (("kms:datakeypairspec", "KeyPairSpec", None),),
    "GenerateDataKeyPairWithoutPlaintext": (("kms:datakeypairspec", "KeyPairSpec", None),),
    "Sign": (
        ("kms:signingalgorithm", "SigningAlgorithm", None),
        ("kms:messagetype", "MessageType", "RAW"),
    ),
    "Verify": (
        ("kms:signingalgorithm", "SigningAlgorithm", None),
        ("kms:messagetype", "MessageType", "RAW"),
    ),
    "GenerateMac": (("kms:macalgorithm", "MacAlgorithm", None),),
    "VerifyMac": (("kms:macalgorithm", "MacAlgorithm", None),),
    "DeriveSharedSecret": (("kms:keyagreementalgorithm", "KeyAgreementAlgorithm", None),),
    _CREATE_GRANT: (
        ("kms:granteeprincipal", "GranteePrincipal", None),
        ("kms:retiringprincipal", "RetiringPrincipal", None),
        ("kms:granteeserviceprincipal", "GranteeServicePrincipal", None),
        ("kms:retiringserviceprincipal", "RetiringServicePrincipal", None),
    ),
}


_NO_PAIRS: Mapping[str, str] = {}


def policy_request(
    call: KmsCall,
    kms: Kms,
    key: Key | None,
    *,
    action: str,
    resource: str | None = None,
    encryption_context: Mapping[str, str] = _NO_PAIRS,
    request_alias: str | None = None,
    on_same_key: bool | None = None,
    user_id: str | None = None,
) -> Request:
    """`resource`: `key`'s ARN where it is None, or `*` where there is no key. The others: see `condition_context`."""
    if resource is None:
        resource = "*" if key is None else kms.key_arn(key.key_id)

    def make_context() -> Context:
        return condition_context(
            call,
            kms,
            key,
            action=action,
            encryption_context=encryption_context,
            request_alias=request_alias,
            on_same_key=on_same_key,
            user_id=user_id,
        )

    return Request(
        principal=call.caller.requester.principal,
        action=action,
        resource=resource,
        context=_MadeWhenAsked(make_context),
        service=SERVICE if call.caller.is_service else None,
    )


class _MadeWhenAsked(Mapping[str, tuple[str, ...]]):
    """A condition context that is made when the first condition or variable asks for it: most policies have none."""

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], Context]) -> None:
        self._make = make
        self._made: Context | None = None

    def _context(self) -> Context:
        if self._made is None:
            self._made = self._make()
        return self._made

    def __getitem__(self, key: str) -> tuple[str, ...]:
        return self._context()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._context())

    def __len__(self) -> int:
        return len(self._context())


def condition_context(
    call: KmsCall,
    kms: Kms,
    key: Key | None,
    *,
    action: str,
    encryption_context: Mapping[str, str] = _NO_PAIRS,
    request_alias: str | None = None,
    on_same_key: bool | None = None,
    user_id: str | None = None,
) -> Context:
    """`action`: tells the halves of ReEncrypt apart. `request_alias`: the alias (`alias/NAME`) by which the call names
    `key`. `on_same_key`: for ReEncrypt, whether both its keys are one. `user_id`: the caller's unique id (AIDA...).
    """
    found: dict[str, tuple[str, ...]] = {}
    found.update(_of_the_caller(call, kms, user_id))
    found.update(_of_the_request(call, kms, action))
    found.update(named_conditions("kms:encryptioncontext:", encryption_context.items()))
    found["kms:encryptioncontextkeys"] = tuple(encryption_context)
    if request_alias is not None:
        found["kms:requestalias"] = (request_alias,)
    if on_same_key is not None:
        found["kms:reencryptonsamekey"] = (_boolean(on_same_key),)
    if key is not None:
        found.update(_of_the_key(kms, key))
    return {name: values for name, values in found.items() if values}


def encryption_context_of(call: KmsCall) -> Mapping[str, str]:
    """The pairs of the call; of CreateGrant, those that the grant will demand. Not for ReEncrypt, which has two."""
    if call.operation != _CREATE_GRANT:
        return call.input.get("EncryptionContext") or {}
    constraints = call.input.get("Constraints") or {}
    return constraints.get("EncryptionContextEquals") or constraints.get("EncryptionContextSubset") or {}


def _of_the_caller(call: KmsCall, kms: Kms, user_id: str | None) -> Context:
    caller = call.caller
    is_root = caller.arn == account_root(caller.account_id)
    found = {
        **global_conditions(
            caller.requester,
            user_id=caller.account_id if is_root else user_id,
            now=datetime.fromtimestamp(call.now_us // 1_000_000, UTC),
            region=kms.region,
            resource_account=kms.account_id,
            via_service=caller.via_service is not None or caller.is_service,
        ),
        "kms:calleraccount": (caller.account_id,),
        "kms:viaservice": _present(caller.via_service),
    }
    if caller.is_service:  # for itself
        found |= {"aws:principalisawsservice": ("true",), "aws:viaawsservice": ("false",)}
    return found


def _of_the_request(call: KmsCall, kms: Kms, action: str) -> Context:
    operation, parameters = call.operation, call.input
    found: dict[str, tuple[str, ...]] = {}
    for name, member, default in _PARAMETERS.get(operation, ()):
        value = parameters.get(member)
        found[name] = _present(default) if value is None else (_text(value),)
    if operation in _DATA_KEY_OPERATIONS:
        found["kms:encryptionalgorithm"] = ("SYMMETRIC_DEFAULT",)
    if operation == "ReEncrypt":
        member = "SourceEncryptionAlgorithm" if action.endswith("From") else "DestinationEncryptionAlgorithm"
        found["kms:encryptionalgorithm"] = (parameters.get(member) or "SYMMETRIC_DEFAULT",)
    if operation in _GRANT_OPERATIONS:
        found["kms:grantisforawsresource"] = (_boolean(call.caller.via_service is not None),)
    if operation == _CREATE_GRANT:
        for name in ("kms:granteeprincipal", "kms:retiringprincipal"):
            # The account may be named by its number, and must not pass by a Deny that names it by its ARN.
            if found[name] == (kms.account_id,):
                found[name] = (kms.account_root,)
        found["kms:grantoperations"] = tuple(parameters.get("Operations") or ())
        found["kms:grantconstrainttype"] = tuple(
            name for name, constraint in (parameters.get("Constraints") or {}).items() if constraint
        )
    if operation == "CreateKey":
        spec = parameters.get("KeySpec") or parameters.get("CustomerMasterKeySpec") or "SYMMETRIC_DEFAULT"
        found["kms:keyspec"] = found["kms:customermasterkeyspec"] = (spec,)
        found["kms:customermasterkeyusage"] = found["kms:keyusage"]
    if tags := [(tag.get("TagKey", ""), tag.get("TagValue", "")) for tag in parameters.get("Tags") or ()]:
        found.update(named_conditions("aws:requesttag/", tags))
        found["aws:tagkeys"] = tuple(name for name, _ in tags)
    elif names := parameters.get("TagKeys"):
        found["aws:tagkeys"] = tuple(names)
    return found


def _of_the_key(kms: Kms, key: Key) -> Context:
    found: dict[str, tuple[str, ...]] = {
        "kms:customermasterkeyspec": (key.spec,),
        "kms:customermasterkeyusage": (key.usage,),
        "kms:keyorigin": (key.origin,),
        "kms:keyspec": (key.spec,),
        "kms:keyusage": (key.usage,),
        "kms:multiregion": ("false",),
        "kms:resourcealiases": tuple(alias.name for alias in kms.state.aliases_of(key.key_id)),
    }
    found.update(named_conditions("aws:resourcetag/", key.tags))
    return found


def _present(value: str | None) -> tuple[str, ...]:
    return () if value is None else (value,)


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _text(value: Any) -> str:
    match value:
        case bool():
            return _boolean(value)
        case datetime():
            return f"{value.timestamp():.3f}"
        case float():
            return f"{value:.3f}"
        case _:
            return str(value)
