"""A source that grows while runs come and go, and what readers are told afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from millrace_core.features.definition.definition import Definition
from millrace_core.features.evaluation.engine import Engine
from millrace_core.features.history.history import TimeRange
from millrace_core.features.online import keys
from millrace_core.features.online.on_demand import FeatureReader
from millrace_core.features.online.shard import Shard
from millrace_data.materialization import job
from millrace_data.materialization.job import Result, RunRequest
from millrace_data.materialization.ledger import Ledger, RunShard
from millrace_data.online.store import Store
from millrace_data.sources.cell_log import open_cell_log
from millrace_data.sources.credentials import Credentials
from tests.core.features.histories import TableSource, view
from tests.core.features.windows.test_aggregate_join import bits, feature, history, table

GRID = 300_000_000
# Far ahead, so that nothing expires by the clock.
BEGIN = 4_102_444_800_000_000


class TableWithTypes(TableSource):
    """A table as a source, which notes what it was request for and fails where it is told to."""

    def __init__(self, table: pa.Table, batch_rows: int = 70, fails: bool = False) -> None:
        super().__init__(table, batch_rows)
        self.columns = {column.name: str(column.type) for column in table.schema}
        self.scanned: list[TimeRange] = []
        self._fails = fails

    def scan(self, columns: Sequence[str], time_range: TimeRange) -> Iterator[pa.RecordBatch]:
        self.scanned.append(time_range)
        yield from super().scan(columns, time_range)
        if self._fails:
            raise OSError("the source is gone")


@dataclass
class World:
    """Rows come with the lateness that the view allows."""

    rng: random.Random
    definition: Definition
    now: int = BEGIN
    rows: list[dict[str, Any]] = field(default_factory=list)
    scanned: list[TimeRange] = field(default_factory=list)

    def grow(self) -> None:
        late = self.definition.lag + self.definition.lateness
        for _ in range(self.rng.randrange(1, 6)):
            age = self.rng.randrange(late + 1)
            if self.definition.created_field and self.rng.random() < 0.4:
                age = self.rng.choice([GRID, 7 * GRID, 26 * GRID, 60 * GRID]) + self.rng.randrange(GRID)
            [row] = history(self.rng, 1, 15, [0])
            at = self.rng.choice([self.now - age, (self.now - age) // GRID * GRID + GRID])
            self.rows.append({**row, "at": min(at, self.now), "written": self.now - self.rng.randrange(late + 1)})

    def run(
        self,
        store: Store,
        engine: Engine,
        request: RunRequest | None = None,
        *,
        shards: int = 0,
        fails: bool = False,
        **more: Any,
    ) -> Result:
        """A run over what is there now, with the view's own cell log."""
        source = TableWithTypes(table(self.rows), self.rng.choice([1, 7, 100]), fails)
        ledger = Ledger(store, self.definition)
        covers = job.run_interval(self.definition, ledger.position(), self.now, request or RunRequest())
        more["cells"] = open_cell_log(self.definition, Credentials())
        if not shards:
            result = job.run(self.definition, source, store, engine, covers, patience=0.2, **more)
        for index in self.rng.sample(range(shards), shards):
            part = RunShard(str(self.now), Shard(index, shards))
            covers = ledger.begin(part, covers)
            result = job.run(self.definition, source, store, engine, covers, patience=0.2, part=part, **more)
        # That a run which reaches the present looks beyond its end, too, is tested by itself.
        self.scanned = [each._replace(latest=min(each.latest, covers.upto)) for each in source.scanned]
        return result


def few(ttl: str | None = None, *, created: bool = False) -> Definition:
    """Of each kind of feature one, and an expression over a row and the windows that it outlives."""
    return view(
        ("x", "float64"),
        ("s", "string"),
        *(feature(function, "float64", function, "x", "10m") for function in ("sum", "last", "stddev")),
        feature("n", "int64", "count", None, "2h"),
        {"name": "of_windows", "type": "float64", "expression": "coalesce(sum, -1) * 2 + n"},
        {"name": "of_rows", "type": "float64", "expression": "coalesce(x, 7) + of_windows"},
        created="written" if created else None,
        every="5m",
        ttl=ttl,
    )


def seen(definition: Definition, store: Store, as_of: int) -> list[Any]:
    """What readers are told of some users, with expired rows gone as the store's own clock will have it."""
    wanted = [key for key in keys.store_keys(definition, {"id": list(range(16))}) if key]
    found: Any = zip(store.client.mget(wanted), map(store.client.pexpiretime, wanted), strict=True)
    rows = [row if -1 <= until <= 0 or until * 1000 > as_of else None for row, until in found]
    columns = FeatureReader(definition, [each.name for each in definition.features]).read(rows, as_of)
    return [(bits([list(each.values)]), list(each.statuses)) for each in columns.features]
