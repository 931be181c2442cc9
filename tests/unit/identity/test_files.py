import asyncio
import os
import stat

import pytest

from strongroom.identity.files import IdentityFiles, initialise_identities, look_at_identities, open_identity_store
from strongroom.identity.keys import IdentityKeyError, create_identity_key
from strongroom.identity.records import IdentityError
from tests.unit.identity.conftest import open_one, unchanged


def initialise(files: IdentityFiles) -> None:
    asyncio.run(initialise_identities(files))


def with_alice(files: IdentityFiles) -> None:
    async def work() -> None:
        view = await open_one(files)
        await view.users.create("alice")
        await view.opened.database.close()

    asyncio.run(work())


def test_a_new_store_is_private_and_made_once(tmp_path) -> None:
    files = IdentityFiles(tmp_path / "identity")
    before = os.umask(0)
    try:
        initialise(files)
    finally:
        os.umask(before)
    assert stat.S_IMODE(files.directory.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files.directory.iterdir())
    key = files.key.read_bytes()
    with_alice(files)
    initialise(files)
    assert files.key.read_bytes() == key
    assert [user.name for user in look_at_identities(files).users] == ["alice"]


def test_each_store_has_a_key_of_its_own(tmp_path) -> None:
    first, second = IdentityFiles(tmp_path / "a"), IdentityFiles(tmp_path / "b")
    initialise(first)
    initialise(second)
    assert first.key.read_bytes() != second.key.read_bytes()


def test_a_missing_key_beside_rows_is_refused_and_never_made_anew(files) -> None:
    """Peer-bugs F2 (OpenViking#3423)."""
    with_alice(files)
    key = files.key.read_bytes()
    files.key.unlink()
    for attempt in (initialise, look_at_identities, lambda files: asyncio.run(open_identity_store(files))):
        with pytest.raises(IdentityKeyError, match=r"identity\.key is missing. Without it no user can be read"):
            attempt(files)
        assert not files.key.exists()
    files.key.touch(0o600)
    files.key.write_bytes(key)
    initialise(files)


def test_a_key_that_cannot_be_read_is_not_replaced(files) -> None:
    files.key.chmod(0o640)
    with unchanged(files.directory), pytest.raises(IdentityKeyError, match="chmod 600"):
        initialise(files)


def test_another_key_is_refused_by_name(files, tmp_path) -> None:
    files.key.unlink()
    create_identity_key(files.directory)
    with pytest.raises(IdentityKeyError, match="is another key than the one"):
        initialise(files)


@pytest.mark.parametrize("empty", [False, True])
def test_a_missing_database_beside_a_key_is_refused(files, empty) -> None:
    files.database.unlink()
    if empty:
        files.database.touch()
    with pytest.raises(IdentityKeyError, match="missing or empty"):
        initialise(files)


def test_a_first_start_that_was_killed_is_finished(tmp_path) -> None:
    """The tables and the key were made, the rows were not: the key is used, no second one is made."""
    files = IdentityFiles(tmp_path / "identity")
    initialise(files)
    key = files.key.read_bytes()

    async def undo() -> None:
        opened = await open_identity_store(files)
        await opened.database.transact(lambda tx: tx.execute("DELETE FROM store"))
        await opened.database.close()

    asyncio.run(undo())
    initialise(files)
    assert files.key.read_bytes() == key
    with_alice(files)


def test_concurrent_first_starts_make_one_store(tmp_path) -> None:
    files = IdentityFiles(tmp_path / "identity")

    async def work() -> None:
        await asyncio.gather(*(asyncio.to_thread(initialise, files) for _ in range(4)))

    asyncio.run(work())
    with_alice(files)
    assert len(look_at_identities(files).users) == 1


def test_looking_changes_nothing(files) -> None:
    with_alice(files)
    with unchanged(files.directory):
        look_at_identities(files)


def test_no_store_is_told_as_such(tmp_path) -> None:
    files = IdentityFiles(tmp_path / "identity")
    with pytest.raises(IdentityError, match="strongroom serve"):
        asyncio.run(open_identity_store(files))
    assert not files.directory.exists()


@pytest.mark.parametrize("offset", [0, 4096 + 100])
def test_a_broken_file_is_an_error_with_a_way_out(files, offset) -> None:
    with_alice(files)
    with files.database.open("r+b") as file:
        file.seek(offset)
        file.write(b"garbage!" * 500)
    with pytest.raises(IdentityError):
        look_at_identities(files)


def test_a_name_row_that_somebody_edited_is_refused(files) -> None:
    async def edit() -> None:
        opened = await open_identity_store(files)
        await opened.database.transact(lambda tx: tx.execute("UPDATE store SET value = 'x' WHERE name = 'store_id'"))
        await opened.database.close()

    asyncio.run(edit())
    with pytest.raises(IdentityError, match="damaged"):
        initialise(files)
