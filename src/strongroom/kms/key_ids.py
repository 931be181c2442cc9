"""Which key a request names: ids, ARNs, aliases and alias ARNs, with AWS's refusals for everything else.

Resolving tells whether a key exists, so the texts are those that AWS gives before it authorises. Multi-Region keys
(`mrk-...`) are never made here, so such an id is always an unknown one.
"""

import re
from dataclasses import dataclass

from strongroom.aws.kms_errors import KmsError
from strongroom.kms.call import Kms, KmsCall
from strongroom.kms.records import Key

_KEY_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|mrk-[0-9a-f]{32}")
_ARN = re.compile(r"arn:([^:]*):([^:]*):([^:]*):([^:]*):(.*)", re.DOTALL)
_PREFIX = "alias/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A key as a request named it. `alias`: the alias used, without which it would not have been found; None for none."""

    key: Key
    alias: str | None = None


def resolve(call: KmsCall, kms: Kms, given: str, *, aliases: bool, action: str | None = None) -> Named:
    """The key that `given` names. `aliases`: whether this operation takes alias names and alias ARNs; `action`: what is to
    be done with it, the call's operation mostly.

    Raises NotFoundException, InvalidArnException, and AccessDeniedException for keys of other accounts.
    """
    name = _local_name(call, kms, given, action or call.operation) if given.startswith("arn:") else given
    if name.startswith(_PREFIX):
        if not aliases:
            raise KmsError("NotFoundException", f"Invalid keyId {name}")
        alias = kms.state.aliases.get(name)
        if alias is None:
            raise KmsError("NotFoundException", f"Alias {kms.alias_arn(name)} is not found.")
        return Named(key=kms.state.keys[alias.target_key_id], alias=name)
    if _KEY_ID.fullmatch(name) is None:
        raise KmsError("NotFoundException", f"Invalid keyId '{given}'")
    key = kms.state.keys.get(name)
    if key is None:
        raise KmsError("NotFoundException", f"Key '{kms.key_arn(name)}' does not exist")
    return Named(key=key)


def alias_of(kms: Kms, given: str) -> str | None:
    """The alias name in an alias or alias ARN of this account and region, None for anything else."""
    if given.startswith(f"arn:aws:kms:{kms.region}:{kms.account_id}:{_PREFIX}"):
        return given.split(":", 5)[5]
    return given if given.startswith(_PREFIX) else None


def _local_name(call: KmsCall, kms: Kms, arn: str, action: str) -> str:
    """Key id or alias of an ARN of this account and region. Raises as `resolve`."""
    match = _ARN.fullmatch(arn)
    if match is None or match[2] != "kms" or not match[1].startswith("aws"):
        raise KmsError("InvalidArnException", f"Invalid arn {arn}")
    partition, _, region, account, resource = match.groups()
    if region != kms.region:
        raise KmsError("NotFoundException", f"Invalid arn {region}")
    if partition != "aws":  # one key has one ARN
        raise KmsError("InvalidArnException", f"Invalid arn {arn}")
    if account != kms.account_id:
        raise KmsError(
            "AccessDeniedException",
            f"User: {call.caller.arn} is not authorized to perform: kms:{action} on this resource because the resource does"
            " not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly"
            " denies access",
        )
    if resource.startswith("key/") and not resource.startswith(f"key/{_PREFIX}"):
        return resource.removeprefix("key/")
    if resource.startswith(_PREFIX):
        return resource
    raise KmsError("InvalidArnException", f"Invalid arn {arn}")
