"""Authorisation: may this principal do this? The only maker of `AuthorizedCall`, and so the only way to a handler.

Until users and policies arrive the root user of the account may do everything and nobody else anything; the default is
to deny.
"""

from collections.abc import Mapping
from typing import Any

from strongroom.aws.errors import S3Error
from strongroom.aws.http import Headers
from strongroom.identity.call import AuthorizedCall, Body
from strongroom.identity.root import Principal


def authorize(
    *,
    operation: str,
    input: Mapping[str, Any],
    headers: Headers,
    secret_headers: Mapping[str, str],
    body: Body | None,
    principal: Principal,
    account_id: str,
    request_id: str,
    secure_transport: bool,
    bucket_url: str,
) -> AuthorizedCall:
    """The call, allowed; its body unread. Raises AccessDenied."""
    if principal.account_id != account_id or not principal.arn.endswith(":root"):
        raise S3Error("AccessDenied")
    return AuthorizedCall(
        operation=operation,
        input=input,
        headers=headers,
        secret_headers=secret_headers,
        body=body,
        principal=principal,
        request_id=request_id,
        secure_transport=secure_transport,
        bucket_url=bucket_url,
    )
