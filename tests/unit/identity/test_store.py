import json

import pytest

from strongroom.crypto.errors import IntegrityError
from strongroom.identity.records import IdentityError
from strongroom.identity.root import Credentials, RootUser
from strongroom.identity.store import IdentityStore, UnknownPrincipal
from tests.unit.identity.conftest import ACCOUNT, ROOT

ALLOW = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]})
DENY = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "s3:*", "Resource": "*"}]})
ALICE = f"arn:aws:iam::{ACCOUNT}:user/alice"


def test_the_root_user_is_found_by_the_same_function(with_stores) -> None:
    async def work(view) -> None:
        found = view.store.find("ROOTKEY")
        assert (found.principal, found.credentials, found.is_root) == (ROOT.principal, ROOT.credentials, True)
        assert found.user_id == ACCOUNT
        assert view.store.principal_exists(ROOT.principal.arn)
        assert view.store.person(ROOT.principal.arn).policies == ()

    with_stores(work)


def test_a_user_is_found_with_secret_and_policies(with_stores) -> None:
    async def work(view) -> None:
        user = await view.users.create("alice")
        made = await view.users.create_access_key("alice")
        await view.users.put_policy("alice", "p", ALLOW)
        found = view.store.find(made.access_key_id)
        assert (found.credentials, found.principal.arn, found.principal.account_id) == (made, ALICE, ACCOUNT)
        assert (found.user_id, found.is_root, len(found.policies)) == (user.user_id, False, 1)
        assert view.store.find(made.access_key_id) is found  # remembered
        assert view.store.person(ALICE).policies == found.policies
        assert view.store.person(ALICE).user_id == user.user_id
        assert made.secret_access_key not in repr(found)

    with_stores(work)


@pytest.mark.parametrize("unknown", ["", "nobody", "AIDA", "strongroom-s3", "rootkey", "x" * 200])
def test_an_unknown_key_is_nobody(with_stores, unknown) -> None:
    """The service credential among them: it is the KMS's to know, and nobody's on S3."""

    async def work(view) -> None:
        assert view.store.find(unknown) is None

    with_stores(work)


@pytest.mark.parametrize(
    "arn", ["", ALICE, f"arn:aws:iam::{ACCOUNT}:user/Alice", "arn:aws:iam::999999999999:root", "alice", "*"]
)
def test_an_unknown_principal_is_an_error_and_never_somebody_without_policies(with_stores, arn) -> None:
    async def work(view) -> None:
        if arn != ALICE:
            await view.users.create("alice")
        assert not view.store.principal_exists(arn)
        with pytest.raises(UnknownPrincipal):
            view.store.person(arn)

    with_stores(work)


def test_every_change_shows_with_the_next_look_in_every_process(with_stores) -> None:
    async def work(first, second, third) -> None:
        await first.users.create("alice")
        key = (await first.users.create_access_key("alice")).access_key_id
        for store in (second.store, third.store):
            assert store.find(key).policies == ()
            assert store.person(ALICE).policies == ()
        await first.users.put_policy("alice", "p", ALLOW)
        for store in (second.store, third.store, first.store):
            assert len(store.find(key).policies) == 1
            assert len(store.person(ALICE).policies) == 1
        await first.users.set_access_key_active(key, active=False)
        assert [view.store.find(key) for view in (first, second, third)] == [None] * 3
        await second.users.set_access_key_active(key, active=True)
        assert all(view.store.find(key) for view in (first, second, third))
        await first.users.delete_access_key(key)
        assert [view.store.find(key) for view in (first, second, third)] == [None] * 3
        assert second.store.principal_exists(ALICE)
        await first.users.delete("alice")
        assert not any(view.store.principal_exists(ALICE) for view in (first, second, third))

    with_stores(work, count=3)


def test_a_user_made_anew_under_the_name_has_nothing_of_the_old_one(with_stores) -> None:
    async def work(view) -> None:
        await view.users.create("alice")
        old = await view.users.create_access_key("alice")
        await view.users.put_policy("alice", "p", ALLOW)
        await view.users.remove("alice")
        await view.users.create("alice")
        assert view.store.find(old.access_key_id) is None
        assert view.store.person(ALICE).policies == ()

    with_stores(work)


# --- somebody who can write the file, and has no key


TAMPERING = {
    "another user's key": "UPDATE access_keys SET user_id = (SELECT user_id FROM users WHERE name = 'bob')",
    "another id of the key": "UPDATE access_keys SET access_key_id = 'SUOTHER'",
    "a secret that was cut": "UPDATE access_keys SET sealed = substr(sealed, 1, 30)",
    "another revision of the key": "UPDATE access_keys SET revision = 2",
    "another account": "UPDATE users SET account_id = '999999999999' WHERE name = 'alice'",
    "another name": "UPDATE users SET name = 'carol' WHERE name = 'alice'",
    "another time": "UPDATE users SET created_us = 1 WHERE name = 'alice'",
    "another revision": "UPDATE users SET revision = revision + 1 WHERE name = 'alice'",
    "bob's sealed column": "UPDATE users SET sealed = (SELECT sealed FROM users WHERE name = 'bob') WHERE name = 'alice'",
    "no user": "DELETE FROM users WHERE name = 'alice'",
    "no head": "DELETE FROM store WHERE name = 'head'",
    "a head that is none": "UPDATE store SET value = x'01' WHERE name = 'head'",
    "a column of another type": "UPDATE users SET created_us = 'soon' WHERE name = 'alice'",
}


@pytest.mark.parametrize("sql", TAMPERING.values(), ids=TAMPERING)
def test_a_row_that_somebody_edited_denies_and_never_counts_as_absent(with_stores, sql) -> None:
    async def work(view) -> None:
        for name in ("alice", "bob"):
            await view.users.create(name)
        made = await view.users.create_access_key("alice")
        assert view.store.find(made.access_key_id) is not None
        await view.write(sql)
        id_ = "SUOTHER" if "SUOTHER" in sql else made.access_key_id
        with pytest.raises(IntegrityError):
            view.store.find(id_)

    with_stores(work)


def test_an_older_copy_of_a_user_is_not_believed(with_stores) -> None:
    """It would open: only the head knows that a Deny came, that a policy went, that a key was deactivated since."""

    async def work(view) -> None:
        await view.users.create("alice")
        key = (await view.users.create_access_key("alice")).access_key_id
        await view.users.put_policy("alice", "allow", ALLOW)
        (old,) = view.rows("SELECT revision, sealed FROM users")
        await view.users.put_policy("alice", "deny", DENY)
        await view.write("UPDATE users SET revision = ?, sealed = ?", *old)
        for look in (lambda: view.store.find(key), lambda: view.store.person(ALICE).policies):
            with pytest.raises(IntegrityError, match="head"):
                look()
        with pytest.raises(IntegrityError):
            await view.users.put_policy("alice", "more", ALLOW)

    with_stores(work)


def test_a_deleted_user_or_key_put_back_is_not_believed(with_stores) -> None:
    async def work(view) -> None:
        await view.users.create("alice")
        key, other = [await view.users.create_access_key("alice") for _ in range(2)]
        (user,) = view.rows("SELECT * FROM users")
        keys = {row[0]: row for row in view.rows("SELECT * FROM access_keys")}
        await view.users.delete_access_key(key.access_key_id)
        await view.write("INSERT INTO access_keys VALUES (?, ?, ?, ?)", *keys[key.access_key_id])
        with pytest.raises(IntegrityError, match="not among those of alice"):
            view.store.find(key.access_key_id)
        assert view.store.find(other.access_key_id) is not None
        await view.users.remove("alice")
        await view.write("INSERT INTO users VALUES (?, ?, ?, ?, ?, ?)", *user)
        await view.write("INSERT INTO access_keys VALUES (?, ?, ?, ?)", *keys[other.access_key_id])
        with pytest.raises(IntegrityError):
            view.store.find(other.access_key_id)
        with pytest.raises(IntegrityError):
            view.store.principal_exists(ALICE)

    with_stores(work)


def test_a_damaged_user_denies_that_user_alone(with_stores) -> None:
    async def work(view) -> None:
        keys = {}
        for name in ("alice", "bob"):
            await view.users.create(name)
            keys[name] = (await view.users.create_access_key(name)).access_key_id
        await view.write("UPDATE users SET sealed = x'01ff' WHERE name = 'alice'")
        with pytest.raises(IntegrityError):
            view.store.find(keys["alice"])
        assert view.store.find(keys["bob"]) is not None
        assert view.store.find("ROOTKEY") is not None

    with_stores(work)


def test_a_policy_that_can_no_longer_be_read_denies(with_stores, monkeypatch) -> None:
    """It might hold a Deny."""
    monkeypatch.setattr("strongroom.identity.users.parse_policy", lambda *_, **__: None)

    async def work(view) -> None:
        await view.users.create("alice")
        key = (await view.users.create_access_key("alice")).access_key_id
        await view.users.put_policy("alice", "later", '{"Version": "2099-01-01"}')
        with pytest.raises(IntegrityError, match="a policy of the user alice can't be read"):
            view.store.find(key)

    with_stores(work)


# --- one access key id, one principal (minio CVE-2023-27589)


def test_a_root_access_key_id_that_is_a_users_too_is_refused(with_stores) -> None:
    async def work(view) -> None:
        await view.users.create("alice")
        made = await view.users.create_access_key("alice")
        for taken in (made.access_key_id, "strongroom-s3"):
            root = RootUser(
                credentials=Credentials(access_key_id=taken, secret_access_key="x" * 20), principal=ROOT.principal
            )
            with pytest.raises(IdentityError, match="is somebody else's"):
                IdentityStore(view.opened.database, view.opened.sealing, root)

    with_stores(work)
