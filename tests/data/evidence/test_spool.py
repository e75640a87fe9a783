"""What is in the spool after whatever happened to its writer."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace_core.base.errors import RetryError
from millrace_data.evidence import spool
from millrace_data.evidence.spool import Spool
from tests.data.evidence.rows import table
from tests.examples import examples


def ids(path: Path) -> list[str]:
    return [identity for block in spool.read(path) for identity in block.column("id").to_pylist()]


def test_blocks_come_back_in_order_whatever_columns_they_have(tmp_path: Path) -> None:
    made = Spool(tmp_path)
    made.append(table("a", "b"), 7)
    made.append(table("c", name="other"), 7)
    assert made.closed() == []
    made.close_segment()
    (segment,) = made.closed()
    assert (segment.sequence, segment.hour, ids(segment.path)) == (1, 7, ["a", "b", "c"])


def test_another_hour_is_another_segment(tmp_path: Path) -> None:
    made = Spool(tmp_path)
    made.append(table("a"), 7)
    made.append(table("b"), 8)
    made.close_segment()
    assert [(each.hour, ids(each.path)) for each in made.closed()] == [(7, ["a"]), (8, ["b"])]


@settings(max_examples=examples(0.3), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 3_000), flip=st.integers(0, 3_000))
def test_what_was_cut_off_or_damaged_is_not_read_and_all_before_it_is(tmp_path: Path, cut: int, flip: int) -> None:
    made = Spool(tmp_path)
    sizes = [0, made.append(table("a"), 7), made.append(table("b"), 7), made.append(table("c"), 7)]
    made.close()
    (segment,) = Spool(tmp_path).closed()[-1:]
    content = bytearray(segment.path.read_bytes())
    at = min(flip * sizes[-1] // 3_000, sizes[-1] - 1)
    content[at] ^= 1
    end = sizes[-1] - cut * sizes[-1] // 3_000
    segment.path.write_bytes(content[:end])
    whole = sum(size <= min(at, end) for size in sizes[1:])
    assert ids(segment.path) == ["a", "b", "c"][:whole]


@contextmanager
def full_disk(at: int) -> Iterator[None]:
    """No file grows beyond a size, as on a full disk: a write takes what fits, and the next one fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (at, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [7, 200])
def test_rows_for_which_the_disk_has_room_in_part_are_refused_and_later_ones_are_read(
    tmp_path: Path, room: int
) -> None:
    made = Spool(tmp_path)
    size = made.append(table("a"), 7)
    with full_disk(size + room), pytest.raises(OSError, match="too large"):
        made.append(table("b"), 7)
    made.append(table("c"), 7)
    made.close_segment()
    assert [ids(each.path) for each in made.closed()] == [["a", "c"]]


def test_no_sequence_is_given_twice_though_its_segment_has_gone(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        made = Spool(tmp_path)
        made.append(table("a"), 7)
        made.close_segment()
        (segment,) = made.closed()
        assert segment.sequence == number
        made.remove(segment)
        made.close()


def test_two_processes_do_not_write_to_one_spool(tmp_path: Path) -> None:
    made = Spool(tmp_path)
    with pytest.raises(RetryError, match="another process"):
        Spool(tmp_path)
    made.close()
    Spool(tmp_path).close()
