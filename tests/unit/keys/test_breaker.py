import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.keys.breaker import Admission, CircuitBreaker


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(open_after=3, probe_every=1.0, now=clock)


def admitted(breaker: CircuitBreaker) -> Admission:
    admission = breaker.admit()
    assert admission is not None
    return admission


def open_it(breaker: CircuitBreaker) -> None:
    assert [breaker.failed(admitted(breaker)) for _ in range(3)] == [False, False, True]


def test_only_failures_in_a_row_open_it(breaker) -> None:
    for _ in range(5):
        for _ in range(2):
            breaker.failed(admitted(breaker))
        assert not breaker.succeeded(admitted(breaker))
    open_it(breaker)
    assert breaker.is_open
    assert breaker.admit() is None


def test_open_it_lets_one_probe_through_at_a_time(breaker, clock) -> None:
    open_it(breaker)
    clock.now = 0.9
    assert breaker.admit() is None
    clock.now = 1.0
    probe = admitted(breaker)
    assert probe.is_probe
    assert breaker.admit() is None
    assert not breaker.failed(probe)
    assert breaker.admit() is None
    clock.now = 2.0
    assert breaker.succeeded(admitted(breaker))
    assert not breaker.is_open
    assert not admitted(breaker).is_probe


def test_a_probe_that_went_away_leaves_its_place_to_the_next(breaker, clock) -> None:
    open_it(breaker)
    clock.now = 1.0
    breaker.abandoned(admitted(breaker))
    assert admitted(breaker).is_probe
    assert breaker.admit() is None


def test_late_failures_neither_put_the_probe_off_nor_open_it_again(breaker, clock) -> None:
    late = [admitted(breaker) for _ in range(20)]
    open_it(breaker)
    clock.now = 0.99
    for each in late[:10]:
        assert not breaker.failed(each)
    clock.now = 1.0
    probe = admitted(breaker)
    breaker.failed(late[10])
    assert breaker.admit() is None  # the probe is still under way
    assert breaker.succeeded(probe)
    for each in late[11:]:
        assert not breaker.failed(each)
    assert not breaker.is_open


def test_a_late_success_closes_it_and_the_probe_counts_no_more(breaker, clock) -> None:
    late = admitted(breaker)
    open_it(breaker)
    clock.now = 1.0
    probe = admitted(breaker)
    assert breaker.succeeded(late)
    assert not breaker.failed(probe)
    breaker.abandoned(probe)
    assert not breaker.is_open
    open_it(breaker)


@given(st.lists(st.sampled_from(["admit", "fail", "succeed", "abandon", "wait"]), max_size=80))
def test_once_it_answers_it_is_asked_again_within_a_second(steps: list[str]) -> None:
    """Whatever came before: when all admissions are given back, the next second lets a request through."""
    clock = Clock()
    breaker = CircuitBreaker(open_after=3, probe_every=1.0, now=clock)
    held: list[Admission] = []
    for step in steps:
        if step == "admit":
            held += [admission] if (admission := breaker.admit()) else []
            assert sum(each.is_probe and each.period == held[-1].period for each in held) <= 1
        elif step == "wait":
            clock.now += 0.5
        elif held:
            give_back = {"fail": breaker.failed, "succeed": breaker.succeeded, "abandon": breaker.abandoned}[step]
            give_back(held.pop(0))
    for each in held:
        breaker.abandoned(each)
    clock.now += 1.0
    breaker.succeeded(admitted(breaker))
    assert not breaker.is_open
