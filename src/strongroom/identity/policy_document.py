"""Policies as values, and how their JSON is read.

A policy is read whole and strictly before it is kept or asked: duplicate keys, unknown elements, operators and values
that mean nothing are refused, because what a policy's author wrote and a server overlooked is how access gets lost or
given away. This module evaluates nothing and knows no service but by the names in actions.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from strongroom.identity.policy_conditions import Condition, MalformedCondition, parse_condition
from strongroom.identity.policy_patterns import MalformedPattern, Pattern, Variable, parse_pattern

Kind = Literal["identity", "resource"]
Effect = Literal["Allow", "Deny"]

INVALID_PRINCIPALS = "Policy contains a statement with one or more invalid principals."
MAX_CHARACTERS = 128 * 1024


class MalformedPolicy(Exception):
    """`message`: for the policy's author, in IAM's words where they are known."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Principals:
    """Whom an element names. `accounts`: by their number, whether it stood there or as the ARN of the account's root.
    `arns`: users, roles and sessions, and the ids (AIDA..., AROA...) that deleted ones leave behind.
    """

    everyone: bool = False
    accounts: frozenset[str] = frozenset()
    arns: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()
    federated: frozenset[str] = frozenset()
    canonical_users: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Selection:
    """Action or Resource; `excluding`: NotAction or NotResource."""

    patterns: tuple[Pattern, ...]
    excluding: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """`position`: counted from 1. `principals`: None in an identity policy; `excluding_principals`: NotPrincipal.
    `actions`, `resources`: None where a key policy lacks the element, which makes the statement ineffective.
    """

    position: int
    sid: str
    effect: Effect
    principals: Principals | None
    excluding_principals: bool
    actions: Selection | None
    resources: Selection | None
    conditions: tuple[Condition, ...]

    @property
    def name(self) -> str:
        """For records: its Sid, or where it stands."""
        return self.sid or f"#{self.position}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    version: str
    id: str
    statements: tuple[Statement, ...]


def parse_policy(text: str, *, kind: Kind) -> Policy:
    """Raises MalformedPolicy, and nothing else whatever the text."""
    document = _load(text)
    unknown = document.keys() - {"Version", "Id", "Statement"}
    if unknown or ("Id" in document and kind == "identity"):
        _refuse("Syntax errors in policy.")
    version = document.get("Version", "2008-10-17")
    if version not in ("2008-10-17", "2012-10-17"):
        _refuse("The policy must contain a valid version string")
    found = document.get("Statement")
    statements = found if isinstance(found, list) else [found]
    if not statements:
        _refuse("Policy document must contain at least one statement.")
    read = tuple(
        _statement(statement, position, kind=kind, variables=version == "2012-10-17")
        for position, statement in enumerate(statements, start=1)
    )
    sids = [statement.sid for statement in read if statement.sid]
    if kind == "identity" and len(sids) != len(set(sids)):
        _refuse("Statement IDs (SID) in a single policy must be unique.")
    return Policy(version=version, id=_string(document.get("Id", "")), statements=read)


def _refuse(message: str) -> NoReturn:
    raise MalformedPolicy(message)


class _Number(str):
    """A JSON number, as it was written."""

    __slots__ = ()


def _load(text: str) -> Mapping[str, Any]:
    if len(text) > MAX_CHARACTERS:
        _refuse("The policy is too large.")
    try:
        document = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=lambda _: _refuse("This policy contains invalid Json"),
        )
        # Half a surrogate pair is no text that could be stored or recorded.
        json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        _refuse("This policy contains invalid Json")
    if not isinstance(document, dict):
        _refuse("Syntax errors in policy.")
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        _refuse("This policy contains invalid Json: an element stands twice in the same object")
    return found


def _string(value: object) -> str:
    if type(value) is not str:
        _refuse("Syntax errors in policy.")
    return value


def _strings(value: object) -> list[str]:
    """One or a list of them, never none."""
    strings = [_string(item) for item in (value if isinstance(value, list) else [value])]
    if not strings:
        _refuse("Syntax errors in policy.")
    return strings


def _one_of(statement: Mapping[str, Any], name: str) -> tuple[object, bool] | None:
    """The element `name` or its Not... form, and which of them it is; None where there is neither."""
    excluded = f"Not{name}"
    if name in statement and excluded in statement:
        _refuse(f"Policy statement must not contain both {name} and {excluded}.")
    if excluded in statement:
        return statement[excluded], True
    return (statement[name], False) if name in statement else None


_ELEMENTS = frozenset(
    {
        *("Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction"),
        *("Resource", "NotResource", "Condition"),
    }
)
_IDENTITY_SID = re.compile(r"[A-Za-z0-9]*")


def _statement(statement: object, position: int, *, kind: Kind, variables: bool) -> Statement:
    if not isinstance(statement, dict) or statement.keys() - _ELEMENTS:
        _refuse("Syntax errors in policy.")
    sid = _string(statement.get("Sid", ""))
    if kind == "identity" and _IDENTITY_SID.fullmatch(sid) is None:
        _refuse(f"Statement IDs (SID) must be alpha-numeric. Check that your input satisfies [A-Za-z0-9]*: {sid}")
    effect = statement.get("Effect")
    if effect not in ("Allow", "Deny"):
        _refuse("Policy statement must contain an Effect of Allow or Deny.")
    principals = _one_of(statement, "Principal")
    if kind == "identity" and principals is not None:
        _refuse("Policy document should not specify a principal.")
    if kind == "resource" and principals is None:
        _refuse("Missing required field Principal")
    excluding = principals is not None and principals[1]
    if excluding and effect == "Allow":
        # It would allow everybody but a few; AWS takes NotPrincipal with Deny only.
        _refuse("Policy statement must not contain NotPrincipal with an Effect of Allow.")
    actions = _selection(statement, "Action", _action, kind=kind)
    resources = _selection(statement, "Resource", lambda text: _resource(text, variables=variables), kind=kind)
    return Statement(
        position=position,
        sid=sid,
        effect=effect,
        principals=None if principals is None else _principals(principals[0]),
        excluding_principals=excluding,
        actions=actions,
        resources=resources,
        conditions=_conditions(statement.get("Condition", {}), kind=kind, variables=variables),
    )


def _selection(
    statement: Mapping[str, Any], name: str, read: Callable[[str], Pattern], *, kind: Kind
) -> Selection | None:
    """A key policy may lack it: AWS stores such a statement, which then has no effect."""
    element = _one_of(statement, name)
    if element is None:
        if kind == "identity":
            _refuse(f"Policy statement must contain {name.lower()}s.")
        return None
    value, excluding = element
    return Selection(tuple(read(text) for text in _strings(value)), excluding)


_ACTION = re.compile(r"[A-Za-z0-9-]+:[A-Za-z0-9*?]+")


def _action(text: str) -> Pattern:
    if text != "*":
        if text.count(":") > 1:
            _refuse("Actions/Condition can contain only one colon.")
        if ":" not in text:
            _refuse("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
        if _ACTION.fullmatch(text) is None:
            _refuse(f"Invalid Action: {text}")
    return parse_pattern(text, variables=False, ignore_case=True)


def _resource(text: str, *, variables: bool) -> Pattern:
    try:
        pattern = parse_pattern(text, variables=variables)
    except MalformedPattern:
        _refuse(f"Invalid variable in Resource: {text}")
    if text == "*":
        return pattern
    first = next((place for place, piece in enumerate(pattern.pieces) if isinstance(piece, Variable)), None)
    before = "".join(piece for piece in pattern.pieces[:first] if isinstance(piece, str))
    # Cut short, an ARN has to end in a wildcard; a variable may only stand behind the fifth colon (IAM).
    if not before.startswith("arn:") or (before.count(":") < 5 and (first is not None or text[-1] != "*")):
        _refuse(f'Resource {text} must be in ARN format or "*".')
    return pattern


_ACCOUNT = re.compile(r"[0-9]{12}")
_ACCOUNT_ROOT = re.compile(r"arn:aws:iam::([0-9]{12}):root")
_PRINCIPAL_ARN = re.compile(
    r"arn:aws[a-z-]*:(?:iam::[0-9]{12}:(?:root|(?:user|role)/[\x21-\x7e]{1,576})"
    r"|sts::[0-9]{12}:(?:assumed-role|federated-user)/[\x21-\x7e]{1,576})"
)
_UNIQUE_ID = re.compile(r"A[A-Z]{3}[A-Z0-9]{12,124}")
_SERVICE = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*\.amazonaws\.com(?:\.cn)?")


def _principals(value: object) -> Principals:
    if value == "*":
        return Principals(everyone=True)
    if not isinstance(value, dict) or not value or value.keys() - {"AWS", "Service", "Federated", "CanonicalUser"}:
        _refuse(INVALID_PRINCIPALS)
    named = {kind: _strings(names) for kind, names in value.items()}
    accounts, arns = set[str](), set[str]()
    for name in named.get("AWS", ()):
        if _ACCOUNT.fullmatch(name):
            accounts.add(name)
        elif root := _ACCOUNT_ROOT.fullmatch(name):
            accounts.add(root[1])
        elif _UNIQUE_ID.fullmatch(name) or (_PRINCIPAL_ARN.fullmatch(name) and not {"*", "?"} & set(name)):
            arns.add(name)
        elif name != "*":
            # A wildcard stands for everybody or for nothing; it never completes a name.
            _refuse(INVALID_PRINCIPALS)
    if not all(_SERVICE.fullmatch(name) for name in named.get("Service", ())):
        _refuse(INVALID_PRINCIPALS)
    return Principals(
        everyone="*" in named.get("AWS", ()),
        accounts=frozenset(accounts),
        arns=frozenset(arns),
        services=frozenset(named.get("Service", ())),
        federated=frozenset(named.get("Federated", ())),
        canonical_users=frozenset(named.get("CanonicalUser", ())),
    )


def _conditions(value: object, *, kind: Kind, variables: bool) -> tuple[Condition, ...]:
    if not isinstance(value, dict):
        _refuse("Syntax errors in policy.")
    conditions: list[Condition] = []
    for operator, tests in value.items():
        if not isinstance(tests, dict) or not tests:
            _refuse("Syntax errors in policy.")
        for key, expected in tests.items():
            values = [_condition_value(item) for item in (expected if isinstance(expected, list) else [expected])]
            try:
                condition = parse_condition(operator, key, values, variables=variables)
            except MalformedCondition as error:
                raise MalformedPolicy(str(error)) from None
            if kind == "resource":
                _refuse_overly_permissive(condition)
            conditions.append(condition)
    return tuple(conditions)


def _condition_value(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return str(value)
        case _:
            _refuse("Syntax errors in policy.")


def _refuse_overly_permissive(condition: Condition) -> None:
    """ForAllValues holds without any value: what its author meant to demand, it would only forbid to vary (KMS)."""
    if condition.quantifier != "ForAllValues":
        return
    for prefix, title, subject in (
        ("kms:encryptioncontext:", "OverlyPermissiveCondition:EncryptionContext:", "encryption context"),
        ("aws:requesttag/", "OverlyPermissiveCondition:", "tag"),
    ):
        if condition.key.startswith(prefix):
            _refuse(
                f"{title} Using the ForAllValues set operator with a single-valued condition key matches requests "
                f"without the specified {subject} or with an unspecified {subject}. To fix, remove ForAllValues."
            )
