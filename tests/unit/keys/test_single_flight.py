import asyncio
import gc

import pytest

from strongroom.keys.single_flight import SingleFlight


class Calls:
    """A call that waits at a gate, and how often it was made."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.made = 0

    async def __call__(self) -> int:
        self.made += 1
        await self.gate.wait()
        return self.made


def test_all_who_ask_the_same_at_once_share_one_call() -> None:
    async def work() -> None:
        flights, call = SingleFlight[int](), Calls()
        asked = [asyncio.create_task(flights.do("key", call)) for _ in range(50)]
        other = asyncio.create_task(flights.do("another key", call))
        await asyncio.sleep(0)
        assert flights.is_under_way("key")
        call.gate.set()
        assert len(set(await asyncio.gather(*asked, other))) <= 2
        assert call.made == 2
        assert await flights.do("key", call) == 3
        assert not flights.is_under_way("key")

    asyncio.run(work())


def test_one_who_goes_away_takes_it_from_nobody() -> None:
    async def work() -> None:
        flights, call = SingleFlight[int](), Calls()
        first, second = (asyncio.create_task(flights.do("key", call)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        call.gate.set()
        assert await second == 1

    asyncio.run(work())


def test_a_failure_reaches_all_and_nobody_is_missed_when_all_went_away() -> None:
    async def work() -> None:
        complaints: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        flights, gate = SingleFlight[int](), asyncio.Event()

        async def fail() -> int:
            await gate.wait()
            raise RuntimeError("no")

        asked = [asyncio.create_task(flights.do("key", fail)) for _ in range(3)]
        await asyncio.sleep(0)
        gate.set()
        assert [type(each) for each in await asyncio.gather(*asked, return_exceptions=True)] == [RuntimeError] * 3
        gate.clear()
        alone = asyncio.create_task(flights.do("key", fail))
        await asyncio.sleep(0)
        alone.cancel()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await alone
        with pytest.raises(RuntimeError, match="no"):
            await flights.do("key", fail)  # joins what goes on
        gc.collect()
        assert not complaints

    asyncio.run(work())


def test_closing_ends_what_is_under_way() -> None:
    async def work() -> None:
        flights, call = SingleFlight[int](), Calls()
        asked = asyncio.create_task(flights.do("key", call))
        await asyncio.sleep(0)
        await flights.close()
        with pytest.raises(asyncio.CancelledError):
            await asked

    asyncio.run(work())
