"""The header in which our S3 service names the person for whom it asks the key service, both ways.

It is base64url of a JSON object of exactly these members. Who may send it, and that it is signed, is not judged here.
"""

import base64
import json
import re
from typing import Any

from strongroom.identity.requester import Requester
from strongroom.identity.root import Principal

REQUESTER_HEADER = "x-strongroom-requester"
SERVICE_ACCESS_KEY_ID = "strongroom-s3"  # of our S3 service

_ACCOUNT = re.compile(r"[0-9]{12}")
_TEXTS = ("arn", "account", "accessKeyId", "sourceIp", "userAgent", "requestId")
_MOST_OF_A_USER_AGENT = 1024  # characters: request headers are bounded, and this one's copy must not fill them


def write_requester(requester: Requester) -> str:
    """The header's value."""
    members = {
        "arn": requester.principal.arn,
        "account": requester.principal.account_id,
        "accessKeyId": requester.access_key_id,
        "sourceIp": requester.source_ip,
        "secureTransport": requester.secure_transport,
        "userAgent": requester.user_agent[:_MOST_OF_A_USER_AGENT],
        "requestId": requester.request_id,
    }
    return base64.urlsafe_b64encode(json.dumps(members, separators=(",", ":")).encode()).decode()


def read_requester(value: str) -> Requester:
    """The person that a header names. Raises ValueError for a header that is not wholly as it should be."""
    padded = value + "=" * (-len(value) % 4)
    try:
        members: Any = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True).decode())
    except RecursionError:
        raise ValueError("endless") from None
    if not isinstance(members, dict) or members.keys() != {*_TEXTS, "secureTransport"}:
        raise ValueError("not the members of a requester")
    if not all(isinstance(members[name], str) for name in _TEXTS) or not isinstance(members["secureTransport"], bool):
        raise ValueError("members of other types")
    if not _ACCOUNT.fullmatch(members["account"]) or not members["arn"].startswith("arn:"):
        raise ValueError("neither account nor principal")
    return Requester(
        principal=Principal(account_id=members["account"], arn=members["arn"]),
        access_key_id=members["accessKeyId"],
        source_ip=members["sourceIp"],
        secure_transport=members["secureTransport"],
        user_agent=members["userAgent"],
        request_id=members["requestId"],
    )
