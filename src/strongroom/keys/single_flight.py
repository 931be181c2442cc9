"""One call for all who ask the same thing at the same time.

`SingleFlight` lets whoever comes join the call under way. Its answer may be some moments older than the question, which is
well where an answer is used for a while anyhow. `FreshFlight` lets nobody join a call that has begun: those who come
meanwhile share the next one, so that what was taken away before they asked is refused to them.

The call runs in a task of its own, so that one who goes away takes it from nobody else; it ends by itself, for whoever
makes it bounds its time. What counts as "the same" is the caller's to say: the key must hold everything that the answer
depends on, the one on whose behalf it is given included. Nothing is remembered after the call has ended.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    def __init__(self) -> None:
        self._flights: dict[Hashable, asyncio.Task[T]] = {}

    def is_under_way(self, key: Hashable) -> bool:
        flight = self._flights.get(key)
        return flight is not None and not flight.done()

    async def do(self, key: Hashable, call: Callable[[], Awaitable[T]]) -> T:
        """What `call` gives, or what the call under the same `key` that is under way gives. Raises what it raises."""
        flight = self._flights.get(key)
        if flight is None or flight.done():

            async def run() -> T:
                return await call()

            flight = self._flights[key] = asyncio.create_task(run())
            flight.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(flight)

    async def close(self) -> None:
        """Cancel what is under way."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _landed(self, key: Hashable, flight: asyncio.Task[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # it may be that nobody waits any more: asyncio would complain of an error not seen


class FreshFlight(Generic[T]):
    """`outage`: the failure that says nothing about the question, only that nobody answers; those who wait for their turn
    share it, as waiting for the same end once more would double the time that they were promised.
    """

    def __init__(self, *, outage: type[Exception]) -> None:
        self._outage = outage
        self._under_way: dict[Hashable, asyncio.Task[T]] = {}
        self._next: dict[Hashable, asyncio.Task[T]] = {}

    async def do(self, key: Hashable, call: Callable[[], Awaitable[T]]) -> T:
        """What a call under `key` gives that begins after this one was asked for. Raises what it raises."""
        flight = self._next.get(key)
        if flight is None:
            flight = self._next[key] = asyncio.create_task(self._fly(key, call))
            flight.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(flight)

    async def close(self) -> None:
        """Cancel what is under way, and what waits for its turn."""
        flights = [*self._under_way.values(), *self._next.values()]
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    async def _fly(self, key: Hashable, call: Callable[[], Awaitable[T]]) -> T:
        before = self._under_way.get(key)
        if before is not None:
            await asyncio.wait((before,))
        self._under_way[key] = self._next.pop(key)  # from here on nobody joins
        if before is not None and not before.cancelled() and isinstance(failure := before.exception(), self._outage):
            raise failure
        return await call()

    def _landed(self, key: Hashable, flight: asyncio.Task[T]) -> None:
        for flights in (self._under_way, self._next):
            if flights.get(key) is flight:
                del flights[key]
        if not flight.cancelled():
            flight.exception()  # as above
