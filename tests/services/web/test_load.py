"""Load in means over time."""

from __future__ import annotations

from millrace_services.web.load import Mean, Presence, thread_seconds


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_presence_is_the_seconds_of_all_who_came_also_of_those_who_are_there():
    clock = Clock()
    present = Presence(clock)
    present.enter(100.0)
    present.enter(101.0)
    clock.now = 104.0
    assert (present.count, present.seconds()) == (2, 7.0)
    present.leave(100.0, 104.0)
    assert (present.count, present.seconds()) == (1, 7.0)
    clock.now = 106.0
    present.leave(101.0, 106.0)
    assert (present.count, present.seconds()) == (0, 9.0)


def test_a_mean_is_since_the_last_reading_that_is_a_second_old():
    clock, totals = Clock(), {"value": 0.0}
    mean = Mean(lambda: totals["value"], clock)
    assert mean() == 0.0, "no time has passed"
    for now, total, expected in ((102.0, 10.0, 5.0), (102.5, 12.0, 4.8), (103.0, 20.0, 10.0), (110.0, 20.0, 0.0)):
        clock.now, totals["value"] = now, total
        assert mean() == expected


def test_readers_without_number_cost_no_memory_and_still_get_a_mean():
    clock = Clock()
    mean = Mean(lambda: clock.now * 3, clock)
    for _ in range(100_000):
        clock.now += 0.001
        last = mean()
    assert abs(last - 3.0) < 1e-6
    assert len(mean._readings) < 100


def test_a_thread_knows_how_long_it_computed():
    seconds = thread_seconds()
    before = seconds()
    while seconds() == before:
        sum(range(1000))
    assert seconds() > before
