"""Who may do what, by policies: the evaluator for identity policies, key policies and bucket policies.

It answers with facts, the statements that deny, allow and delegate; the service that asks makes its verdict of them,
once. An explicit Deny is always among the facts, whatever else is; the order of statements means nothing. Nothing here
reads, keeps or remembers anything.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from strongroom.identity.policy_document import (
    INVALID_PRINCIPALS,
    MalformedPolicy,
    Policy,
    Principals,
    Selection,
    Statement,
    parse_policy,
)
from strongroom.identity.policy_patterns import Context
from strongroom.identity.root import Principal

__all__ = [
    "INVALID_PRINCIPALS",
    "Context",
    "Decision",
    "MalformedPolicy",
    "Policy",
    "Request",
    "ResourceDecision",
    "Statement",
    "account_root",
    "evaluate_identity",
    "evaluate_resource",
    "parse_policy",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What policies are asked about. `action`: `kms:Decrypt`. `resource`: an ARN, or `*` for what concerns none.
    `context`: condition keys in lower case, made by the server. `service`: the service principal
    (`s3.amazonaws.com`) that asks for itself: then it, and not `principal`, is whom a policy has to name.
    """

    principal: Principal
    action: str
    resource: str
    context: Context
    service: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What identity policies say."""

    denied_by: Statement | None = None
    allowed_by: Statement | None = None

    @property
    def allowed(self) -> bool:
        return self.allowed_by is not None and self.denied_by is None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceDecision:
    """What a resource's policy says. `allowed_by`: names the principal itself, or everybody. `delegated_by`: names the
    principal's account, whose identity policies may then allow. The account's root user is named by both.
    """

    denied_by: Statement | None = None
    allowed_by: Statement | None = None
    delegated_by: Statement | None = None


def account_root(account_id: str) -> str:
    """The ARN of an account, which its root user has too."""
    return f"arn:aws:iam::{account_id}:root"


def evaluate_identity(policies: Iterable[Policy], request: Request) -> Decision:
    """`policies`: all that are attached to the principal, parsed as `identity`."""
    denied_by = allowed_by = None
    for policy in policies:
        for statement in policy.statements:
            if statement.principals is not None or not _applies(statement, request):
                continue
            if statement.effect == "Deny":
                denied_by = denied_by or statement
            else:
                allowed_by = allowed_by or statement
    return Decision(denied_by=denied_by, allowed_by=allowed_by)


def evaluate_resource(policy: Policy, request: Request) -> ResourceDecision:
    """`policy`: that of the resource, parsed as `resource`."""
    denied_by = allowed_by = delegated_by = None
    for statement in policy.statements:
        named = _named(statement, request)
        if named == "no" or not _applies(statement, request):
            continue
        if statement.effect == "Deny":
            denied_by = denied_by or statement
            continue
        if named != "account":
            allowed_by = allowed_by or statement
        if named in {"account", "root"}:
            delegated_by = delegated_by or statement
    return ResourceDecision(denied_by=denied_by, allowed_by=allowed_by, delegated_by=delegated_by)


def _named(statement: Statement, request: Request) -> Literal["no", "account", "root", "principal"]:
    """How the statement names who asks. A Deny that names the account denies everybody in it."""
    principals = statement.principals
    if principals is None:
        return "no"
    named = _listed(principals, request)
    if statement.excluding_principals:
        # Listing the account exempts its root user and nobody else (IAM asks to list it beside its users).
        return "principal" if named in {"no", "account"} else "no"
    return named


def _listed(principals: Principals, request: Request) -> Literal["no", "account", "root", "principal"]:
    if principals.everyone:
        return "principal"
    if request.service is not None:
        return "principal" if request.service in principals.services else "no"
    if request.principal.arn in principals.arns:
        return "principal"
    if request.principal.account_id in principals.accounts:
        return "root" if request.principal.arn == account_root(request.principal.account_id) else "account"
    return "no"


def _applies(statement: Statement, request: Request) -> bool:
    """All but the principal."""
    allows = statement.effect == "Allow"
    return (
        _selects(statement.actions, request.action, request.context, allows=allows)
        and _selects(statement.resources, request.resource, request.context, allows=allows)
        and all(condition.holds(request.context, allows=allows) for condition in statement.conditions)
    )


def _selects(selection: Selection | None, text: str, context: Context, *, allows: bool) -> bool:
    """A pattern whose variable has no value matches nothing, and allows nothing by not matching."""
    if selection is None:
        return False
    has_no_value = False
    for pattern in selection.patterns:
        glob = pattern.resolve(context)
        if glob is None:
            has_no_value = True
        elif glob.matches(text):
            return not selection.excluding
    return selection.excluding and not (allows and has_no_value)
