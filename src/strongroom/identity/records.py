"""What the identity store holds, as values: users with their policies and access keys.

A user is one record, policies and the states of its access keys included, so that one revision covers all that decides
what the user may do. Names are IAM's. This module knows neither rows nor policies' meaning.
"""

import re
from dataclasses import dataclass, field

from msgspec import Struct

MAX_USERS = 5000  # IAM and STS quotas
MAX_POLICIES = 20
MAX_ACCESS_KEYS = 10  # IAM gives two; services that share a user here want one each
MAX_DOCUMENT = 20_480  # characters: IAM's largest, a trust policy or all the inline policies of a role, has 10,240

_USER_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]{1,64}")
_POLICY_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]{1,128}")
_USER_ARN = re.compile(r"arn:aws:iam::([0-9]{12}):user/(.+)", re.DOTALL)
# Names that a reader of a log or of a policy would take for somebody else (minio CVE-2023-27589).
_RESERVED = frozenset({"root", "anonymous", "everyone", "strongroom"})
_RESERVED_PREFIX = "strongroom-"


class IdentityError(Exception):
    """What was asked of the identity store can't be done. The text is meant for people and holds no secret."""


class PolicyDocument(Struct, frozen=True, array_like=True):
    """`document`: exactly as it was put."""

    name: str
    document: str
    updated_us: int


class AccessKey(Struct, frozen=True, array_like=True):
    """An access key without its secret."""

    access_key_id: str
    active: bool
    created_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """`user_id`: never used again, also where another user gets the name."""

    user_id: str
    name: str
    account_id: str
    created_us: int
    revision: int
    policies: tuple[PolicyDocument, ...] = field(default=(), repr=False)
    access_keys: tuple[AccessKey, ...] = ()

    @property
    def arn(self) -> str:
        return f"arn:aws:iam::{self.account_id}:user/{self.name}"

    def policy(self, name: str) -> PolicyDocument | None:
        return next((each for each in self.policies if each.name == name), None)

    def access_key(self, access_key_id: str) -> AccessKey | None:
        return next((each for each in self.access_keys if each.access_key_id == access_key_id), None)


def check_user_name(name: str) -> None:
    """Raises IdentityError."""
    if _USER_NAME.fullmatch(name) is None:
        raise IdentityError(f"{name!r} can't be a user's name: use 1 to 64 letters, digits, _ + = , . @ -")
    if name.lower() in _RESERVED or name.lower().startswith(_RESERVED_PREFIX):
        raise IdentityError(f"{name!r} can't be a user's name: it is reserved")


def check_policy_name(name: str) -> None:
    """Raises IdentityError."""
    if _POLICY_NAME.fullmatch(name) is None:
        raise IdentityError(f"{name!r} can't be a policy's name: use 1 to 128 letters, digits, _ + = , . @ -")


def user_of_arn(arn: str) -> tuple[str, str] | None:
    """Account and name in the ARN of a user; None for any other text."""
    match = _USER_ARN.fullmatch(arn)
    return (match[1], match[2]) if match and _USER_NAME.fullmatch(match[2]) else None
