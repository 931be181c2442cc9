import asyncio
import json
import re

import pytest

from strongroom.crypto.errors import IntegrityError
from strongroom.identity.records import (
    MAX_ACCESS_KEYS,
    MAX_DOCUMENT,
    MAX_POLICIES,
    IdentityError,
    check_policy_name,
    check_user_name,
    user_of_arn,
)
from tests.unit.identity.conftest import ACCOUNT

POLICY = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}
)


def test_a_user_is_created_with_an_id_of_its_own_and_deleted(with_stores) -> None:
    async def work(view) -> None:
        made = await view.users.create("alice")
        assert made.arn == f"arn:aws:iam::{ACCOUNT}:user/alice"
        assert re.fullmatch(r"AIDA[A-Z2-7]{17}", made.user_id)
        assert await view.users.get("alice") == made == await view.users.get("ALICE")
        await view.users.delete("alice")
        with pytest.raises(IdentityError, match="there is no user alice"):
            await view.users.get("alice")
        assert (await view.users.create("alice")).user_id != made.user_id

    with_stores(work)


@pytest.mark.parametrize(
    "name",
    ["", "a" * 65, "a/b", "a b", "ä", "a\n", "a:b", "*", "${aws:username}", "root", "Root", "ROOT", "anonymous",
     "everyone", "strongroom", "strongroom-s3", "Strongroom-kms"],
)  # fmt: skip
def test_a_name_that_misleads_or_cannot_stand_in_an_arn_is_refused(with_stores, name) -> None:
    """minio CVE-2023-27589: a user named like the root user."""
    with pytest.raises(IdentityError):
        check_user_name(name)

    async def work(view) -> None:
        with pytest.raises(IdentityError):
            await view.users.create(name)
        assert (await view.users.survey()).users == ()

    with_stores(work)


@pytest.mark.parametrize("name", ["a", "alice", "a+b=c,d.e@f-g_h", "rooted", "0", "a" * 64])
def test_names_that_iam_takes(name) -> None:
    check_user_name(name)
    check_policy_name(name)
    assert user_of_arn(f"arn:aws:iam::{ACCOUNT}:user/{name}") == (ACCOUNT, name)


@pytest.mark.parametrize(
    "arn",
    ["", "alice", f"arn:aws:iam::{ACCOUNT}:root", f"arn:aws:iam::{ACCOUNT}:user/", f"arn:aws:iam::{ACCOUNT}:user/a/b",
     "arn:aws:iam::1:user/a", f"arn:aws:iam::{ACCOUNT}:user/a\n", f"arn:aws:sts::{ACCOUNT}:user/a"],
)  # fmt: skip
def test_other_arns_are_no_users(arn) -> None:
    assert user_of_arn(arn) is None


def test_concurrent_creates_make_one_user(with_stores) -> None:
    """Peer-bugs F1: check then create."""

    async def work(*views) -> None:
        names = ["alice", "ALICE", "Alice"] * 4
        made = await asyncio.gather(
            *(views[i % len(views)].users.create(name) for i, name in enumerate(names)), return_exceptions=True
        )
        assert sum(not isinstance(each, Exception) for each in made) == 1
        assert all(isinstance(each, IdentityError) for each in made if isinstance(each, Exception))
        assert len(views[0].rows("SELECT 1 FROM users")) == 1

    with_stores(work, count=3)


def test_concurrent_changes_of_one_user_all_count(with_stores) -> None:
    async def work(first, second) -> None:
        await first.users.create("alice")
        await asyncio.gather(
            *(
                view.users.put_policy("alice", f"{i}-{j}", POLICY)
                for i in range(5)
                for j, view in ((0, first), (1, second))
            ),
            *(view.users.create_access_key("alice") for view in (first, second)),
        )
        user = await first.users.get("alice")
        assert (len(user.policies), len(user.access_keys), user.revision) == (10, 2, 13)

    with_stores(work, count=2)


def test_policies_are_put_replaced_and_deleted(with_stores) -> None:
    async def work(view) -> None:
        await view.users.create("alice")
        await view.users.put_policy("alice", "b", POLICY)
        await view.users.put_policy("alice", "a", POLICY + "\n")
        user = await view.users.put_policy("alice", "b", POLICY + " ")
        assert [(each.name, each.document) for each in user.policies] == [("a", POLICY + "\n"), ("b", POLICY + " ")]
        assert [each.name for each in (await view.users.delete_policy("alice", "a")).policies] == ["b"]
        with pytest.raises(IdentityError, match="alice has no policy a"):
            await view.users.delete_policy("alice", "a")
        with pytest.raises(IdentityError, match="no user bob"):
            await view.users.put_policy("bob", "a", POLICY)

    with_stores(work)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"Version":"2012-10-17","Statement":[{"Effect":"Maybe"}]}', "\x00"])
def test_a_malformed_policy_is_refused_and_nothing_changes(with_stores, text) -> None:
    async def work(view) -> None:
        before = await view.users.create("alice")
        with pytest.raises(IdentityError, match="the policy is malformed"):
            await view.users.put_policy("alice", "a", text)
        assert await view.users.get("alice") == before

    with_stores(work)


def test_there_are_bounds(with_stores) -> None:
    async def work(view) -> None:
        await view.users.create("alice")
        with pytest.raises(IdentityError, match="may have 20,480"):
            await view.users.put_policy("alice", "a", POLICY + " " * MAX_DOCUMENT)
        for number in range(MAX_POLICIES):
            await view.users.put_policy("alice", f"p{number}", POLICY)
        await view.users.put_policy("alice", "p0", POLICY)
        with pytest.raises(IdentityError, match="20 policies already"):
            await view.users.put_policy("alice", "one-more", POLICY)
        for _ in range(MAX_ACCESS_KEYS):
            await view.users.create_access_key("alice")
        with pytest.raises(IdentityError, match="10 access keys already"):
            await view.users.create_access_key("alice")

    with_stores(work)


def test_an_access_key_has_an_alphabet_that_signatures_can_carry(with_stores) -> None:
    async def work(view) -> None:
        await view.users.create("alice")
        made = [await view.users.create_access_key("alice") for _ in range(3)]
        assert len({each.access_key_id for each in made}) == 3
        for each in made:
            assert re.fullmatch(r"SU[A-Z2-7]{18}", each.access_key_id)
            assert re.fullmatch(r"[A-Za-z0-9]{40}", each.secret_access_key)
            assert each.secret_access_key not in repr(await view.users.survey())

    with_stores(work)


def test_a_user_with_access_keys_is_deleted_only_with_them(with_stores) -> None:
    async def work(view) -> None:
        await view.users.create("alice")
        key = await view.users.create_access_key("alice")
        with pytest.raises(IdentityError, match=f"alice has access keys .{key.access_key_id}.: delete them first"):
            await view.users.delete("alice")
        await view.users.remove("alice")
        assert view.rows("SELECT 1 FROM access_keys") == view.rows("SELECT 1 FROM users") == []
        assert (await view.users.survey()).damaged == ()

    with_stores(work)


@pytest.mark.parametrize("unknown", ["nobody", "ROOTKEY", "strongroom-s3"])
def test_an_unknown_access_key_is_named(with_stores, unknown) -> None:
    async def work(view) -> None:
        for change in (view.users.delete_access_key, lambda id_: view.users.set_access_key_active(id_, active=False)):
            with pytest.raises(IdentityError, match=f"no access key {unknown}"):
                await change(unknown)

    with_stores(work)


def test_a_damaged_user_shows_and_can_be_removed_and_nobody_else_suffers(with_stores) -> None:
    async def work(view) -> None:
        alice, bob = await view.users.create("alice"), await view.users.create("bob")
        await view.users.create_access_key("alice")
        await view.write("UPDATE users SET account_id = '999999999999' WHERE name = 'alice'")
        survey = await view.users.survey()
        assert (survey.users, survey.damaged) == ((bob,), ("alice",))
        for change in (view.users.get, view.users.delete, view.users.create_access_key):
            with pytest.raises(IntegrityError):
                await change("alice")
        await view.users.put_policy("bob", "a", POLICY)
        await view.users.remove("alice")
        assert (await view.users.survey()).damaged == ()
        await view.write("DELETE FROM users WHERE name = 'bob'")
        assert (await view.users.survey()).damaged == (bob.user_id,)
        await view.users.remove(bob.user_id)
        assert (await view.users.survey()) == type(survey)(users=(), damaged=())
        assert alice.user_id != bob.user_id

    with_stores(work)


def test_who_is_called_as_anothers_id_is_removed_alone(with_stores) -> None:
    async def work(view) -> None:
        bob = await view.users.create("bob")
        await view.users.create(bob.user_id)
        await view.users.remove(bob.user_id)
        assert (await view.users.survey()).users == (bob,)
        await view.users.remove(bob.user_id)
        assert (await view.users.survey()).users == ()

    with_stores(work)
