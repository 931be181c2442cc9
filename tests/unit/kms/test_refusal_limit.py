"""Refusals of requests that nobody has proved to be theirs: a burst is kept, a flood is not."""

from strongroom.kms.refusal_limit import RefusalLimit


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_kept_whole_and_a_flood_at_a_bounded_rate() -> None:
    clock = Clock()
    limit = RefusalLimit(clock)
    kept = [limit.admit() for _ in range(1000)]
    assert kept.count(0) == 100
    assert kept[100:] == [None] * 900
    for second in range(60):
        clock.now = float(second)
        kept += [limit.admit() for _ in range(100)]
    assert sum(each is not None for each in kept) <= 100 + 60 * 5


def test_what_was_left_out_is_told_by_the_next_one() -> None:
    clock = Clock()
    limit = RefusalLimit(clock)
    while limit.admit() is not None:
        pass
    for _ in range(6):
        assert limit.admit() is None
    clock.now = 1.0
    assert limit.admit() == 7
    assert limit.admit() == 0


def test_a_clock_that_stands_still_gives_nothing() -> None:
    limit = RefusalLimit(lambda: 5.0)
    assert sum(limit.admit() is not None for _ in range(500)) == 100
