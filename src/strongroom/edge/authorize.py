"""Authorisation: may this principal do this? The only maker of `AuthorizedCall`, and so the only way to a handler.

The service says what its request needs, the identity's policies say what it may, and the decision is made in one
function, for what is known now and for what a handler asks later. Denied is what nothing allows. The root user may do
everything in its account, and nobody anything in another's.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial

from strongroom.aws.errors import S3Error
from strongroom.identity.call import AuthorizedCall, Body, Permission, Rules, Sought
from strongroom.identity.conditions import global_conditions
from strongroom.identity.policy import Context, Request, evaluate_identity
from strongroom.identity.requester import Requester
from strongroom.identity.store import Identity


async def authorize(
    *,
    sought: Sought,
    rules: Rules,
    identity: Identity,
    requester: Requester,
    now: datetime,
    region: str,
    secret_headers: Mapping[str, str],
    body: Body | None,
    bucket_url: str,
) -> AuthorizedCall:
    """The call, allowed; its body unread. Raises AccessDenied, and what the rules raise."""
    if identity.principal.account_id != sought.account_id:
        raise S3Error("AccessDenied")
    denial: Callable[[Permission], str | None] = _nothing_is_denied
    if not identity.is_root:
        conditions = {
            **global_conditions(
                requester, user_id=identity.user_id, now=now, region=region, resource_account=sought.account_id
            ),
            **rules.conditions(sought),
        }
        denial = partial(_denial, identity, conditions)
        for permission in await rules.permissions(sought):
            if (message := denial(permission)) is not None:
                raise S3Error("AccessDenied", message)
    return AuthorizedCall(
        operation=sought.operation,
        input=sought.input,
        headers=sought.headers,
        secret_headers=secret_headers,
        body=body,
        requester=requester,
        bucket_url=bucket_url,
        denial=denial,
    )


def _nothing_is_denied(_: Permission) -> None:
    return None


def _denial(identity: Identity, conditions: Context, permission: Permission) -> str | None:
    """None, or why not, in AWS's words (IAM User Guide, "Troubleshoot access denied error messages")."""
    request = Request(
        principal=identity.principal,
        action=permission.action,
        resource=permission.resource,
        context={**conditions, **permission.conditions},
    )
    decision = evaluate_identity(identity.policies, request)
    if decision.allowed:
        return None
    why = (
        "with an explicit deny in an identity-based policy"
        if decision.denied_by is not None
        else f"because no identity-based policy allows the {permission.action} action"
    )
    return (
        f"User: {identity.principal.arn} is not authorized to perform: {permission.action}"
        f' on resource: "{permission.resource}" {why}'
    )
