"""From the queue to the lake: what is lost, what is counted, what is there twice."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from millrace_core.base.errors import RetryError
from millrace_core.evidence.gathered import Gathered
from millrace_data.evidence.lake import Lake
from millrace_data.evidence.shipping import Shipper, of_service
from millrace_data.evidence.spool import Segment, Spool
from millrace_data.evidence.writer import EvidenceWriter, Limits
from tests.data.evidence.rows import BEGIN, HOUR, convert, lot, record, table

UID = "6f1c2a7b-0000"


class Log:
    """A writer over folders, whose lake is there or not."""

    def __init__(self, root: Path, limits: Limits = Limits(), limit: int = 2**30) -> None:  # noqa: B008 frozen
        self.away = False
        self.dropped: Counter[str] = Counter()
        self.spool = Spool(root / "spool")
        self.shipper = Shipper(
            self.spool,
            self._lake(root / "lake"),
            of_service("shop", "ranker"),
            UID,
            lambda n: self._drop("spool", n),
            limit,
        )
        self.now = 0.0
        self.ending = False
        self.writer: EvidenceWriter = EvidenceWriter(
            self.convert,
            self.spool,
            self.shipper,
            self._drop,
            limits,
            clock=lambda: self.now,
            ending=lambda: self.ending,
        )

    def convert(self, groups: Sequence[Gathered]) -> pa.Table:
        if any("poison" in group.heads_by_name()["id"] for group in groups):
            raise ValueError("poison")
        return convert(groups)

    def _drop(self, reason: str, count: int) -> None:
        self.dropped[reason] += count

    def _lake(self, folder: Path) -> Callable[[], Lake]:
        def lake() -> Lake:
            if self.away:
                raise RetryError("the lake is away")
            return Lake(folder.as_uri(), {})

        return lake


def files(root: Path) -> list[Path]:
    return sorted((root / "lake").rglob("*.parquet"))


def ids(root: Path) -> list[str]:
    return [each for path in files(root) for each in pq.ParquetFile(path).read(["id"]).column("id").to_pylist()]


def test_a_segment_becomes_one_file_of_its_hour_and_goes(tmp_path: Path) -> None:
    log = Log(tmp_path)
    for identity in ("a", "b"):
        log.writer.add(lot(record(identity)))
    log.writer.flush()
    assert log.shipper.ship_all()
    assert ids(tmp_path) == []  # the segment is still open
    log.now = 61.0
    log.writer.flush()
    assert log.shipper.ship_all()
    (path,) = files(tmp_path)
    where = "predictions/namespace=shop/service=ranker/date=2024-12-26/hour=08"
    assert path == tmp_path / "lake" / where / f"{UID}-00000001.parquet"
    assert ids(tmp_path) == ["a", "b"]
    assert log.spool.bytes() == 0


def test_when_the_process_is_about_to_end_no_segment_waits_for_its_minute(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.ending = True
    log.writer.add(lot(record("a")))
    log.writer.flush()
    assert log.shipper.ship_all()
    assert ids(tmp_path) == ["a"]


def test_a_batch_over_the_hour_is_two_files(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.writer.add(lot(record("a", BEGIN + HOUR - 1)))
    log.writer.add(lot(record("b", BEGIN + HOUR)))
    log.writer.start()
    assert log.writer.close(60)
    assert [path.parent.name for path in files(tmp_path)] == ["hour=08", "hour=09"]


def test_a_full_queue_drops_and_counts_and_never_waits(tmp_path: Path) -> None:
    log = Log(tmp_path, Limits(records=2, bytes=100))
    for identity, size in (("a", 10), ("large", 95), ("b", 10), ("c", 10)):
        log.writer.add(lot(record(identity), size=size))
    assert log.dropped == {"queue": 2}
    log.writer.flush()
    log.writer.add(lot(record("d"), size=95))  # there is room again
    log.writer.start()
    assert log.writer.close(60)
    assert ids(tmp_path) == ["a", "b", "d"]


def test_a_record_without_a_form_takes_no_other_with_it(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.writer.add(lot(record("a"), record("poison"), record("b")))
    log.writer.add(lot(record("c", name="y")))
    log.writer.start()
    assert log.writer.close(60)
    assert (ids(tmp_path), log.dropped) == (["a", "b", "c"], {"unwritable": 1})


def test_while_the_lake_is_away_the_spool_keeps_all_and_a_restart_ships_it_once(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.away = True
    log.writer.add(lot(record("a")))
    log.writer.start()
    assert not log.writer.close(60)
    log.spool.close()
    assert ids(tmp_path) == []
    again = Log(tmp_path)
    again.writer.add(lot(record("b")))
    again.writer.start()
    assert again.writer.close(60)
    assert ids(tmp_path) == ["a", "b"]


def test_what_was_shipped_when_the_process_ended_is_shipped_again_over_itself(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.spool.append(table("a"), BEGIN // HOUR)
    log.spool.close_segment()
    (segment,) = log.spool.closed()
    kept = segment.path.read_bytes()
    assert log.shipper.ship_all()
    segment.path.write_bytes(kept)  # the end came before it was removed
    assert log.shipper.ship_all()
    assert ids(tmp_path) == ["a"]


def test_a_segment_that_reaches_the_lake_meanwhile_is_room_that_nothing_else_is_given_up_for(tmp_path: Path) -> None:
    log = Log(tmp_path)
    for at in range(3):
        log.spool.append(table(f"r{at}"), 482_000)
        log.spool.close_segment()
    first, second, third = log.spool.closed()
    log.shipper.limit = second.bytes + third.bytes
    listed = log.spool.closed

    def closed() -> list[Segment]:
        found = listed()
        log.spool.remove(first)  # as the other thread does, which has shipped it
        return found

    log.spool.closed = closed  # type: ignore[method-assign]
    log.shipper.make_room()
    assert (log.dropped, log.spool.bytes()) == (Counter(), second.bytes + third.bytes)


def test_a_segment_that_is_on_its_way_is_not_given_up_too(tmp_path: Path) -> None:
    log = Log(tmp_path)
    for at in range(2):
        log.spool.append(table(f"r{at}"), 482_000)
        log.spool.close_segment()
    log.shipper.limit = 0
    place = log.shipper.place

    def meanwhile(segment: Segment, rows: pa.Table) -> Iterable[tuple[str, pa.Table]]:
        log.shipper.make_room()
        return place(segment, rows)

    log.shipper.place = meanwhile
    log.shipper.ship_all()
    assert (ids(tmp_path), log.dropped) == (["r0"], Counter({"spool": 1}))


def test_a_full_spool_gives_up_the_oldest_and_counts_its_rows(tmp_path: Path) -> None:
    log = Log(tmp_path, limit=1)
    log.away = True
    for at, identities in enumerate((["a", "b", "c"], ["d"])):
        log.spool.append(table(*identities, at=BEGIN + at * HOUR), BEGIN // HOUR + at)
    log.shipper.limit = log.spool.bytes() - 1
    log.spool.close_segment()
    log.shipper.make_room()
    log.away = False
    assert log.shipper.ship_all()
    assert (ids(tmp_path), log.dropped) == (["d"], {"spool": 3})


def test_a_slow_lake_keeps_nobody_from_the_spool(tmp_path: Path) -> None:
    log = Log(tmp_path)
    asked, go = threading.Event(), threading.Event()
    lake = log.shipper.lake

    def slow() -> Lake:
        asked.set()
        go.wait(60)
        return lake()

    log.shipper.lake = slow
    log.spool.append(table("a"), BEGIN // HOUR)
    log.spool.close_segment()
    log.writer.start()
    assert asked.wait(60)
    log.writer.add(lot(record("b")))
    log.writer.flush()
    assert log.spool.open is not None
    go.set()
    assert log.writer.close(60)
    assert ids(tmp_path) == ["a", "b"]
