import asyncio
import gc

import pytest

from strongroom.keys.single_flight import FreshFlight, SingleFlight


class Calls:
    """A call that waits at a gate, and how often it was made."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.made = 0

    async def __call__(self) -> int:
        self.made += 1
        self.begun.set()
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


# --- no answer older than its question


def test_who_comes_while_a_call_is_under_way_shares_the_next() -> None:
    async def work() -> None:
        flights, call = FreshFlight[int](outage=OSError), Calls()
        first = [asyncio.create_task(flights.do("key", call)) for _ in range(20)]
        await call.begun.wait()
        later = [asyncio.create_task(flights.do("key", call)) for _ in range(20)]
        other = asyncio.create_task(flights.do("another key", call))
        await asyncio.sleep(0)
        later[0].cancel()  # takes it from nobody
        call.gate.set()
        await asyncio.gather(*first, other, *later[1:])
        assert call.made == 3
        assert {each.result() for each in later[1:]} == {3}
        assert await flights.do("key", call) == 4  # nothing is kept

    asyncio.run(work())


def test_what_was_refused_to_the_one_before_is_asked_again_but_an_outage_is_shared() -> None:
    async def work(failure: Exception) -> tuple[int, list[object]]:
        flights, gate, made = FreshFlight[int](outage=OSError), asyncio.Event(), 0
        begun = asyncio.Event()

        async def call() -> int:
            nonlocal made
            made += 1
            begun.set()
            await gate.wait()
            if made == 1:
                raise failure
            return made

        first = asyncio.create_task(flights.do("key", call))
        await begun.wait()
        later = [asyncio.create_task(flights.do("key", call)) for _ in range(3)]
        await asyncio.sleep(0)
        gate.set()
        return made, await asyncio.gather(first, *later, return_exceptions=True)

    refused, down = RuntimeError("no"), ConnectionError("down")
    assert asyncio.run(work(refused))[1] == [refused, 2, 2, 2]
    assert asyncio.run(work(down)) == (1, [down] * 4)


def test_closing_ends_those_who_wait_for_their_turn_too() -> None:
    async def work() -> None:
        flights, call = FreshFlight[int](outage=OSError), Calls()
        first = asyncio.create_task(flights.do("key", call))
        await call.begun.wait()
        later = asyncio.create_task(flights.do("key", call))
        await asyncio.sleep(0)
        await flights.close()
        for each in (first, later):
            with pytest.raises(asyncio.CancelledError):
                await each
        assert call.made == 1

    asyncio.run(work())
