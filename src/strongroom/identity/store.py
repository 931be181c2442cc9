"""Who an access key belongs to, and what its user may do: the identity store as the servers read it.

`find` answers for every request. What it opened and parsed is remembered until the database changes, which every look-up
asks first: a key that the command line deactivates is refused with the very next request of every process. A row that
does not open, that names another user, or that is an older copy raises IntegrityError: the request is refused, and
nobody counts as absent. This module writes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

from strongroom.crypto.errors import IntegrityError
from strongroom.database.database import Row, Value
from strongroom.identity.keys import SERVICE_ACCESS_KEY_ID
from strongroom.identity.policy import MalformedPolicy, Policy, parse_policy
from strongroom.identity.records import IdentityError, User, user_of_arn
from strongroom.identity.root import Credentials, Principal, RootUser
from strongroom.identity.rows import USER_COLUMNS, Revisions, Sealing, open_head, open_secret, open_user
from strongroom.identity.users import check_current

_REMEMBERED = 4096

_HEAD = "(SELECT value FROM store WHERE name = 'head')"
# One statement, so that key, user and head are of one moment.
_BY_ACCESS_KEY = (
    "SELECT k.access_key_id, k.user_id, k.revision, k.sealed,"
    f" u.user_id, u.name, u.account_id, u.created_us, u.revision, u.sealed, {_HEAD}"
    " FROM access_keys AS k LEFT JOIN users AS u ON u.user_id = k.user_id WHERE k.access_key_id = ?"
)
_BY_NAME = f"SELECT {USER_COLUMNS}, {_HEAD} FROM users WHERE account_id = ? AND name = ?"


class UnknownPrincipal(Exception):
    """There is no such principal, or no longer: to be denied."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody with an access key. `user_id`: `aws:userid`. `policies`: identity-based ones; the root user, who may do
    everything in its account, has none.
    """

    credentials: Credentials = field(repr=False)
    principal: Principal
    user_id: str = ""
    policies: tuple[Policy, ...] = field(default=(), repr=False)
    is_root: bool = False


@dataclass(frozen=True, slots=True)
class Person:
    """`user_id`: `aws:userid`. `policies`: identity-based ones; the root user has none."""

    user_id: str
    policies: tuple[Policy, ...]


class _Reads(Protocol):
    """A database that answers where it is asked, without an event loop."""

    def read_sync(self, sql: str, params: Sequence[Value] = ()) -> list[Row]: ...

    def version_sync(self) -> int: ...


class IdentityStore:
    """What one process knows of people. Its methods raise IntegrityError and Unavailable, and are called from one thread."""

    def __init__(self, database: _Reads, sealing: Sealing, root: RootUser) -> None:
        """Raises IdentityError where the root user's access key id is somebody else's too (minio CVE-2023-27589)."""
        self._database = database
        self._sealing = sealing
        self._root = Identity(
            credentials=root.credentials, principal=root.principal, user_id=root.principal.account_id, is_root=True
        )
        self._root_access_key_id = root.credentials.access_key_id
        self._version: int | None = None
        self._identities: dict[str, Identity | None] = {}
        self._people: dict[str, Person] = {}
        self._head: tuple[bytes, Revisions] = (b"", {})
        taken = database.read_sync("SELECT 1 FROM access_keys WHERE access_key_id = ?", (self._root_access_key_id,))
        if taken or self._root_access_key_id == SERVICE_ACCESS_KEY_ID:
            raise IdentityError(
                f"the root access key id {self._root_access_key_id} is somebody else's: choose another one"
            )

    def find(self, access_key_id: str) -> Identity | None:
        """Whose key this is; None where nobody's active one is."""
        if access_key_id == self._root_access_key_id:
            return self._root
        self._forget_what_changed()
        if access_key_id in self._identities:
            return self._identities[access_key_id]
        rows = self._database.read_sync(_BY_ACCESS_KEY, (access_key_id,))
        if not rows:
            return None  # not remembered: anybody can make up ids
        identity = self._open_identity(rows[0])
        if len(self._identities) >= _REMEMBERED:
            self._identities.clear()
        self._identities[access_key_id] = identity
        return identity

    def principal_exists(self, arn: str) -> bool:
        try:
            self.person(arn)
        except UnknownPrincipal:
            return False
        return True

    def person(self, arn: str) -> Person:
        """What there is to know of a principal, all of one moment. Raises UnknownPrincipal."""
        if arn == self._root.principal.arn:
            return Person(self._root.user_id, ())
        named = user_of_arn(arn)
        if named is None:
            raise UnknownPrincipal(arn)
        self._forget_what_changed()
        if arn not in self._people:
            rows = self._database.read_sync(_BY_NAME, named)
            if not rows:
                raise UnknownPrincipal(arn)
            user = self._open_user(rows[0])
            if len(self._people) >= _REMEMBERED:
                self._people.clear()
            self._people[arn] = Person(user.user_id, parsed_policies(user))
        return self._people[arn]

    def _forget_what_changed(self) -> None:
        # The version before the rows: what changes in between is newer than the version it is remembered under, and is
        # read once more.
        version = self._database.version_sync()
        if version != self._version:
            self._identities.clear()
            self._people.clear()
            self._version = version

    def _open_identity(self, row: Row) -> Identity | None:
        secret = open_secret(self._sealing, row[:4])
        if row[4] is None:
            raise IntegrityError("an access key's user is missing from the identity store")
        user = self._open_user(row[4:])
        key = user.access_key(cast("str", row[0]))
        if key is None:
            raise IntegrityError(f"an access key is not among those of {user.name}, whom its row names")
        if not key.active:
            return None
        return Identity(
            credentials=Credentials(access_key_id=key.access_key_id, secret_access_key=secret),
            principal=Principal(account_id=user.account_id, arn=user.arn),
            user_id=user.user_id,
            policies=parsed_policies(user),
        )

    def _open_user(self, row: Row) -> User:
        """The user of a row (USER_COLUMNS, head)."""
        sealed = row[-1]
        if sealed != self._head[0]:
            self._head = (cast("bytes", sealed), open_head(self._sealing, sealed))
        user = open_user(self._sealing, row[:-1])
        check_current(user, self._head[1])
        return user


def service_identity(credentials: Credentials, account_id: str) -> Identity:
    """Our S3 service, as the key service finds it. No policy can name it, and it has none."""
    arn = f"arn:aws:iam::{account_id}:service/{credentials.access_key_id}"
    return Identity(
        credentials=credentials,
        principal=Principal(account_id=account_id, arn=arn),
        user_id=credentials.access_key_id,
    )


def parsed_policies(user: User) -> tuple[Policy, ...]:
    """Raises IntegrityError for a document that was accepted once and can't be read now: it might hold a Deny."""
    try:
        return tuple(parse_policy(each.document, kind="identity") for each in user.policies)
    except MalformedPolicy as error:
        raise IntegrityError(f"a policy of the user {user.name} can't be read: {error}") from error
