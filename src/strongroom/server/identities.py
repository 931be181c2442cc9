"""The store of users, opened for a process that finds people in it."""

from pathlib import Path

from strongroom.database.sqlite import SqliteDatabase
from strongroom.identity.files import initialise_identities, open_identity_store
from strongroom.identity.records import IdentityError
from strongroom.identity.root import RootUser
from strongroom.identity.store import IdentityStore
from strongroom.server.paths import Paths, StartError


async def open_identities(
    data_dir: Path, root: RootUser, *, make: bool = False
) -> tuple[IdentityStore, SqliteDatabase]:
    """The users, and the database to be closed in the end. `make`: where there is none. Raises StartError."""
    try:
        if make:
            await initialise_identities(Paths(data_dir).identity)
        opened = await open_identity_store(Paths(data_dir).identity)
        try:
            return IdentityStore(opened.database, opened.sealing, root), opened.database
        except BaseException:
            await opened.database.close()
            raise
    except IdentityError as error:
        raise StartError(f"The users in {data_dir} can't be read: {error}") from error
