"""Who gets a connection where there are as many as there may be."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from millrace_http.door import Door, client_of
from millrace_http.limits import Limits


@dataclass(eq=False)
class Held:
    """A connection that works, or rests since some moment."""

    resting_since: float | None = None
    gone: bool = False

    def give_way(self) -> None:
        self.gone = True


def door(connections: int, per_client: int = 1000) -> Door:
    return Door(Limits(connections=connections, connections_per_client=per_client))


def test_a_new_connection_takes_the_place_of_the_one_that_rests_longest() -> None:
    one = door(3)
    working, older, newer = Held(), Held(5.0), Held(7.0)
    for each in (working, newer, older):
        assert one.enter(each, "127.0.0.1")
    assert one.enter(Held(), "127.0.0.2")
    assert (working.gone, older.gone, newer.gone) == (False, True, False)


def test_where_all_work_a_new_one_comes_into_the_reserve_and_leaves_it() -> None:
    one = door(2)
    working = [Held(), Held()]
    assert all(one.enter(each, "127.0.0.1") for each in working)
    assert not one.enter(Held(), "127.0.0.2")
    one.leave(working[0], "127.0.0.1")
    assert one.enter(Held(), "127.0.0.2")


def test_the_reserve_goes_to_the_newest_so_that_nobody_can_fill_it() -> None:
    one = door(1)
    one.enter(Held(), "127.0.0.1")
    flood = [Held() for _ in range(200)]
    assert not any(one.enter(each, "127.0.0.1") for each in flood)
    assert [each.gone for each in flood] == [True] * 136 + [False] * 64
    assert len(one) == 65


def test_one_client_takes_no_more_than_its_part_and_others_are_not_closed_for_it() -> None:
    one = door(10, per_client=2)
    other = Held(1.0)
    assert one.enter(other, "127.0.0.9")
    mine = [Held(2.0), Held(3.0)]
    assert all(one.enter(each, "127.0.0.1") for each in mine)
    assert one.enter(Held(), "127.0.0.1")
    assert one.enter(Held(), "127.0.0.1")
    assert not one.enter(Held(), "127.0.0.1")
    assert (other.gone, mine[0].gone, mine[1].gone) == (False, True, True)
    assert len(one) == 4, "the other, two of its own, and one in the reserve"


def test_one_that_rests_is_found_behind_many_that_work() -> None:
    one = door(100)
    for _ in range(99):
        one.enter(Held(), "127.0.0.1")
    resting = Held(1.0)
    one.enter(resting, "127.0.0.1")
    attempts = [one.enter(Held(), "127.0.0.1") for _ in range(8)]
    assert resting.gone
    assert sum(attempts) == 1


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("fd00::1:2", "fd00::"),
        ("fd00::ffff:ffff:ffff:ffff", "fd00::"),
        ("fe80::1%eth0", "fe80::"),
        ("", ""),
    ],
)
def test_addresses_that_one_client_has_count_as_one(address: str, client: str) -> None:
    assert client_of(address) == client
