"""The global condition keys (`aws:...`) of a request: what the server itself knows of who asks, and of when and whence.

None of them comes off the wire but the user agent and the address that the connection has, so that no header speaks for
one (rustfs GHSA-6r96-hmgc-726c). What is not known is absent. This module is pure.
"""

from datetime import datetime

from strongroom.identity.policy import Context, account_root
from strongroom.identity.records import user_of_arn
from strongroom.identity.requester import Requester


def global_conditions(requester: Requester, *, user_id: str, now: datetime, resource_account: str) -> Context:
    """In lower case, as `policy` wants them. `user_id`: `aws:userid`; `resource_account`: whose the resource is."""
    principal = requester.principal
    found = {
        "aws:principalarn": (principal.arn,),
        "aws:principalaccount": (principal.account_id,),
        "aws:principaltype": ("Account" if principal.arn == account_root(principal.account_id) else "User",),
        "aws:principalisawsservice": ("false",),
        "aws:viaawsservice": ("false",),
        "aws:userid": (user_id,),
        "aws:securetransport": ("true" if requester.secure_transport else "false",),
        "aws:currenttime": (now.strftime("%Y-%m-%dT%H:%M:%SZ"),),
        "aws:epochtime": (str(int(now.timestamp())),),
        "aws:resourceaccount": (resource_account,),
    }
    if (user := user_of_arn(principal.arn)) is not None:
        found["aws:username"] = (user[1],)
    if requester.source_ip:
        found["aws:sourceip"] = (requester.source_ip,)
    if requester.user_agent:
        found["aws:useragent"] = (requester.user_agent,)
    return found
