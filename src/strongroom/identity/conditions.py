"""The global condition keys (`aws:...`) of a request: what the server itself knows of who asks, and of when and whence.

None of them comes off the wire but the user agent and the address that the connection has, so that no header speaks for
one (rustfs GHSA-6r96-hmgc-726c). What is not known is absent. This module is pure.
"""

from collections.abc import Iterable
from datetime import datetime

from strongroom.identity.policy import Context, account_root
from strongroom.identity.requester import Requester


def global_conditions(
    requester: Requester,
    *,
    user_id: str | None,
    now: datetime,
    region: str,
    resource_account: str,
    via_service: bool = False,
) -> Context:
    """In lower case, as `policy` wants them. `user_id`: `aws:userid`, where it is known; `region`: the server's;
    `resource_account`: whose the resource is; `via_service`: a service asks for the requester.
    """
    principal = requester.principal
    found = {
        "aws:principalarn": (principal.arn,),
        "aws:principalaccount": (principal.account_id,),
        "aws:principaltype": ("Account" if principal.arn == account_root(principal.account_id) else "User",),
        "aws:principalisawsservice": ("false",),
        "aws:viaawsservice": ("true" if via_service else "false",),
        "aws:securetransport": ("true" if requester.secure_transport else "false",),
        "aws:currenttime": (now.strftime("%Y-%m-%dT%H:%M:%SZ"),),
        "aws:epochtime": (str(int(now.timestamp())),),
        "aws:requestedregion": (region,),
        "aws:resourceaccount": (resource_account,),
    }
    if user_id is not None:
        found["aws:userid"] = (user_id,)
    resource = principal.arn.split(":", 5)[-1]
    if resource.startswith("user/"):  # the friendly name, without a path
        found["aws:username"] = (resource.rpartition("/")[2],)
    if via_service:
        # The address of a service says nothing about the person it works for: then there is none. Nor is there a user
        # agent: S3 lets one answer serve whoever is equal in `Requester.standing`, which it is not part of.
        return found
    if requester.source_ip:
        found["aws:sourceip"] = (requester.source_ip,)
    if requester.user_agent:
        found["aws:useragent"] = (requester.user_agent,)
    return found


def named_conditions(prefix: str, pairs: Iterable[tuple[str, str]]) -> Context:
    """A condition key for each name: tags, encryption contexts. `prefix`: in lower case.

    Names are told apart by case and condition keys are not: such a key has several values, all of which an Allow has to
    accept. The whole key is put into lower case at once, as that of a policy is: a Greek sigma becomes another letter at
    a word's end, and a Deny on such a name would not be found.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        key = f"{prefix}{name}".lower()
        found[key] = (*found.get(key, ()), value)
    return found
