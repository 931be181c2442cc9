"""The `Database` seam: one set of plain SQL in a portable subset, small drivers below it.

SQL uses `?` for parameters, `ON CONFLICT` and `RETURNING`; BIGINT, BLOB and exact UTF-8 TEXT compared as bytes; times
are integer microseconds. This seam knows no table.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

Value = int | str | bytes | None
Row = tuple[Value, ...]
T = TypeVar("T")


class Unavailable(Exception):
    """The database can't be used now (locked too long, disk full, closing): the client may try again.

    Nothing was changed.
    """


class DatabaseFull(Unavailable):
    """No space is left for this transaction."""


class Connection(Protocol):
    """What a transaction's function gets.

    `execute` returns all the rows; `changed` is the number of rows that the last write touched.
    """

    def execute(self, sql: str, params: Sequence[Value] = ()) -> list[Row]: ...

    @property
    def changed(self) -> int: ...


class Database(Protocol):
    async def read(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """All the rows, as of the newest commit of any process. Raises Unavailable."""
        ...

    async def version(self) -> int:
        """A number that changes with every commit of any process: what a cache of rows asks before it answers.

        It means something only compared with another one of the same Database. Raises Unavailable.
        """
        ...

    async def transact(self, function: Callable[[Connection], T], *, frees_space: bool = False) -> T:
        """Run `function` in one serialised, durable transaction and return its result after the commit is on disk.

        `function` is synchronous and has no side effect outside the connection: a driver may run it again after a
        conflict, or put many into one commit (a savepoint each). What it raises undoes its changes and reaches the
        caller. Raises Unavailable.

        `frees_space`: it deletes more than it adds, so that it may use the space held back for a full disk. A caller
        that is cancelled while it waits does not know whether the transaction took place.
        """
        ...

    async def close(self) -> None: ...
