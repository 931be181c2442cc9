"""Authorisation: may this principal do this? The only maker of `AuthorizedCall`, and so the only way to a handler.

Until users and policies arrive the root user of the account may do everything and nobody else anything; the default is
to deny.
"""

from collections.abc import Mapping
from typing import Any

from strongroom.aws.errors import S3Error
from strongroom.aws.http import Headers
from strongroom.identity.call import AuthorizedCall, Body
from strongroom.identity.requester import Requester


def authorize(
    *,
    operation: str,
    input: Mapping[str, Any],
    headers: Headers,
    secret_headers: Mapping[str, str],
    body: Body | None,
    requester: Requester,
    account_id: str,
    bucket_url: str,
) -> AuthorizedCall:
    """The call, allowed; its body unread. Raises AccessDenied."""
    principal = requester.principal
    if principal.account_id != account_id or not principal.arn.endswith(":root"):
        raise S3Error("AccessDenied")
    return AuthorizedCall(
        operation=operation,
        input=input,
        headers=headers,
        secret_headers=secret_headers,
        body=body,
        requester=requester,
        bucket_url=bucket_url,
    )
