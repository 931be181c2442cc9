"""Changes of users, their policies and their access keys, each one transaction; and what there is to list.

The command line writes here beside running servers, which see it with their next request. Every change goes from the
user's record to its next revision, and the head with it. This module prints nothing and decides no request.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar, cast

from strongroom.crypto.errors import IntegrityError
from strongroom.database.database import Connection, Database, Row
from strongroom.identity.keys import SERVICE_ACCESS_KEY_ID
from strongroom.identity.policy import MalformedPolicy, parse_policy
from strongroom.identity.records import (
    MAX_ACCESS_KEYS,
    MAX_DOCUMENT,
    MAX_POLICIES,
    MAX_USERS,
    AccessKey,
    IdentityError,
    PolicyDocument,
    User,
    check_policy_name,
    check_user_name,
)
from strongroom.identity.root import Credentials, new_credentials, random_id
from strongroom.identity.rows import (
    USER_COLUMNS,
    Revisions,
    Sealing,
    open_head,
    open_user,
    seal_head,
    seal_secret,
    seal_user,
)

T = TypeVar("T")

READ_USERS = f"SELECT {USER_COLUMNS} FROM users ORDER BY lower(name)"
READ_HEAD = "SELECT value FROM store WHERE name = 'head'"
_NAMED = "lower(name) = lower(?)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """All users by name. `damaged`: the names of those whose rows can't be believed, and the ids of those whose rows are
    gone though nobody deleted them.
    """

    users: tuple[User, ...]
    damaged: tuple[str, ...]


class Users:
    """The users of one identity store. Everything raises IdentityError, IntegrityError, Unavailable."""

    def __init__(self, database: Database, sealing: Sealing, *, account_id: str, now_us: Callable[[], int]) -> None:
        """`account_id`: of users to be made."""
        self._database = database
        self._sealing = sealing
        self._account_id = account_id
        self._now_us = now_us

    async def survey(self) -> Survey:
        before, head = None, await self._database.read(READ_HEAD)
        rows: list[Row] = []
        while head != before:  # else a change was committed between the two reads
            rows = await self._database.read(READ_USERS)
            before, head = head, await self._database.read(READ_HEAD)
        return surveyed(self._sealing, rows, head)

    async def get(self, name: str) -> User:
        rows = await self._database.read(f"SELECT {USER_COLUMNS}, ({READ_HEAD}) FROM users WHERE {_NAMED}", (name,))
        if not rows:
            raise no_such_user(name)
        user = open_user(self._sealing, rows[0][:-1])
        check_current(user, open_head(self._sealing, rows[0][-1]))
        return user

    async def create(self, name: str) -> User:
        check_user_name(name)
        user = User(
            user_id=f"AIDA{random_id(17)}",
            name=name,
            account_id=self._account_id,
            created_us=self._now_us(),
            revision=1,
        )

        def insert(tx: Connection) -> User:
            revisions = self._head(tx)
            if len(revisions) >= MAX_USERS:
                raise IdentityError(f"there are {MAX_USERS:,} users already, which is as many as there can be")
            if tx.execute("SELECT 1 FROM users WHERE " + _NAMED, (name,)):
                raise IdentityError(f"there is a user {name} already (upper and lower case make no difference)")
            tx.execute(f"INSERT INTO users ({USER_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", seal_user(self._sealing, user))
            self._write_head(tx, {**revisions, user.user_id: 1})
            return user

        return await self._database.transact(insert)

    async def delete(self, name: str) -> None:
        """Its policies go with it. Raises IdentityError where there are access keys."""

        def delete(tx: Connection) -> None:
            user = self._named(tx, name)
            if user.access_keys:
                ids = ", ".join(key.access_key_id for key in user.access_keys)
                raise IdentityError(
                    f"{name} has access keys ({ids}): delete them first with `strongroom access-key delete`,"
                    " or use --force, which deletes them too"
                )
            self._remove(tx, user.user_id)

        await self._database.transact(delete, frees_space=True)

    async def remove(self, name: str) -> None:
        """Delete the user with all access keys, also where its row can't be believed. `name`: or, where nobody is called
        so, the id.
        """

        def remove(tx: Connection) -> None:
            named = tx.execute(f"SELECT user_id FROM users WHERE {_NAMED}", (name,))
            rows = named or tx.execute("SELECT user_id FROM users WHERE user_id = ?", (name,))
            ids = [cast("str", row[0]) for row in rows]
            if not ids and name in self._head(tx):
                ids = [name]
            if not ids:
                raise no_such_user(name)
            for user_id in ids:
                self._remove(tx, user_id)

        await self._database.transact(remove, frees_space=True)

    # --- policies

    async def put_policy(self, name: str, policy_name: str, document: str) -> User:
        """Attach a policy to a user, in place of the one of that name."""
        check_policy_name(policy_name)
        if len(document) > MAX_DOCUMENT:
            raise IdentityError(f"the policy has {len(document):,} characters, and may have {MAX_DOCUMENT:,}")
        try:
            parse_policy(document, kind="identity")
        except MalformedPolicy as error:
            raise IdentityError(f"the policy is malformed: {error}") from None
        put = PolicyDocument(policy_name, document, self._now_us())

        def change(user: User) -> User:
            others = tuple(each for each in user.policies if each.name != policy_name)
            if len(others) >= MAX_POLICIES:
                raise IdentityError(f"{name} has {MAX_POLICIES} policies already, which is as many as a user can have")
            return replace(user, policies=tuple(sorted((*others, put), key=lambda each: each.name)))

        return await self._update(name, change)

    async def delete_policy(self, name: str, policy_name: str) -> User:
        def change(user: User) -> User:
            if user.policy(policy_name) is None:
                raise no_such_policy(user, policy_name)
            return replace(user, policies=tuple(each for each in user.policies if each.name != policy_name))

        return await self._update(name, change)

    # --- access keys

    async def create_access_key(self, name: str) -> Credentials:
        """A new active access key. Its secret is nowhere else in the clear, and can't be shown again."""
        made = new_credentials("SU")
        assert made.access_key_id != SERVICE_ACCESS_KEY_ID

        def change(tx: Connection) -> None:
            user = self._named(tx, name)
            if len(user.access_keys) >= MAX_ACCESS_KEYS:
                raise IdentityError(f"{name} has {MAX_ACCESS_KEYS} access keys already: delete one first")
            row = seal_secret(self._sealing, made.access_key_id, user.user_id, made.secret_access_key)
            tx.execute(
                "INSERT INTO access_keys (access_key_id, user_id, revision, sealed) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                row,
            )
            if tx.changed != 1:
                raise IdentityError("the access key id is taken: try again")
            key = AccessKey(made.access_key_id, True, self._now_us())
            self._write(tx, user, replace(user, access_keys=(*user.access_keys, key)))

        await self._database.transact(change)
        return made

    async def set_access_key_active(self, access_key_id: str, *, active: bool) -> User:
        """The key's user. It is no error where the key is so already."""

        def change(tx: Connection) -> User:
            user = self._owner(tx, access_key_id)
            keys = tuple(
                AccessKey(
                    key.access_key_id, active if key.access_key_id == access_key_id else key.active, key.created_us
                )
                for key in user.access_keys
            )
            return user if keys == user.access_keys else self._write(tx, user, replace(user, access_keys=keys))

        return await self._database.transact(change, frees_space=not active)

    async def delete_access_key(self, access_key_id: str) -> User:
        """The key's user."""

        def change(tx: Connection) -> User:
            user = self._owner(tx, access_key_id)
            tx.execute("DELETE FROM access_keys WHERE access_key_id = ?", (access_key_id,))
            keys = tuple(key for key in user.access_keys if key.access_key_id != access_key_id)
            return self._write(tx, user, replace(user, access_keys=keys))

        return await self._database.transact(change, frees_space=True)

    # --- inside a transaction

    async def _update(self, name: str, change: Callable[[User], User]) -> User:
        def update(tx: Connection) -> User:
            user = self._named(tx, name)
            return self._write(tx, user, change(user))

        return await self._database.transact(update)

    def _remove(self, tx: Connection, user_id: str) -> None:
        tx.execute("DELETE FROM access_keys WHERE user_id = ?", (user_id,))
        tx.execute("DELETE FROM users WHERE user_id = ?", (user_id,))
        self._write_head(tx, {other: at for other, at in self._head(tx).items() if other != user_id})

    def _named(self, tx: Connection, name: str) -> User:
        return self._one(tx, _NAMED, name, no_such_user(name))

    def _owner(self, tx: Connection, access_key_id: str) -> User:
        unknown = IdentityError(f"there is no access key {access_key_id}")
        rows = tx.execute("SELECT user_id FROM access_keys WHERE access_key_id = ?", (access_key_id,))
        if not rows:
            raise unknown
        user = self._one(tx, "user_id = ?", cast("str", rows[0][0]), unknown)
        if user.access_key(access_key_id) is None:
            raise IntegrityError(f"the access key {access_key_id} is not among those of the user that its row names")
        return user

    def _one(self, tx: Connection, condition: str, value: str, otherwise: IdentityError) -> User:
        rows = tx.execute(f"SELECT {USER_COLUMNS} FROM users WHERE {condition}", (value,))
        if not rows:
            raise otherwise
        user = open_user(self._sealing, rows[0])
        check_current(user, self._head(tx))
        return user

    def _write(self, tx: Connection, old: User, new: User) -> User:
        """Put `new` in the place of `old`, which must still stand (compare and swap on the revision)."""
        new = replace(new, revision=old.revision + 1)
        row = seal_user(self._sealing, new)
        tx.execute(
            "UPDATE users SET revision = ?, sealed = ? WHERE user_id = ? AND revision = ?",
            (new.revision, row[-1], old.user_id, old.revision),
        )
        if tx.changed != 1:
            raise IntegrityError(f"the row of the user {old.name} changed under its transaction")
        self._write_head(tx, {**self._head(tx), new.user_id: new.revision})
        return new

    def _head(self, tx: Connection) -> Revisions:
        return _opened_head(self._sealing, tx.execute(READ_HEAD))

    def _write_head(self, tx: Connection, revisions: Revisions) -> None:
        tx.execute("UPDATE store SET value = ? WHERE name = 'head'", (seal_head(self._sealing, revisions),))


def surveyed(sealing: Sealing, rows: list[Row], head: list[Row]) -> Survey:
    """Of what READ_USERS and READ_HEAD give. Raises IntegrityError where nobody can be believed."""
    revisions = _opened_head(sealing, head)
    users: list[User] = []
    damaged: list[str] = []
    for row in rows:
        try:
            user = open_user(sealing, row)
            check_current(user, revisions)
        except IntegrityError:
            damaged.append(str(row[1]))
        else:
            users.append(user)
    missing = sorted(revisions.keys() - {row[0] for row in rows})
    return Survey(users=tuple(users), damaged=(*damaged, *missing))


def _opened_head(sealing: Sealing, rows: list[Row]) -> Revisions:
    if not rows:
        raise IntegrityError("the identity store has no head")
    return open_head(sealing, rows[0][0])


def check_current(user: User, revisions: Revisions) -> None:
    """Raises IntegrityError where the head knows the user at another revision, or not at all: the row is an old copy."""
    if revisions.get(user.user_id) != user.revision:
        raise IntegrityError(f"the row of the user {user.name} is not the one that the identity store's head names")


def no_such_user(name: str) -> IdentityError:
    return IdentityError(f"there is no user {name}: `strongroom user list` shows them")


def no_such_policy(user: User, policy_name: str) -> IdentityError:
    return IdentityError(f"{user.name} has no policy {policy_name}")
