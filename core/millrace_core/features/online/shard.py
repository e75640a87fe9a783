"""Shards of a view's entities, for runs that several processes do together.

The shard of an entity follows from its store key alone (``keys``): it is the key's CRC-32, as in zlib and gzip, modulo
the number of shards. So it is the same in every process, on every machine and in every version.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from millrace_core.features.definition.definition import Definition
from millrace_core.features.history.history import HistorySource, TimeRange
from millrace_core.features.online import key_columns


@dataclass(frozen=True)
class Shard:
    """One of ``count`` shards; ``index`` counts from 0."""

    index: int
    count: int


class ShardedSource:
    """The rows of a source whose entities are in a shard. Rows with a null join key are in none."""

    def __init__(self, source: HistorySource, definition: Definition, shard: Shard) -> None:
        self._source = source
        self._definition = definition
        self._shard = shard

    def scan(self, columns: Sequence[str], time_range: TimeRange) -> Iterator[pa.RecordBatch]:
        """The source's batches without the rows of other shards."""
        join_keys = [key.name for key in self._definition.join_keys]
        for batch in self._source.scan(list(dict.fromkeys([*columns, *join_keys])), time_range):
            keys = key_columns.store_keys(self._definition, {name: batch.column(name) for name in join_keys})
            mine = shard_of(keys, self._shard.count) == self._shard.index
            yield batch.select(list(columns)).filter(pa.array(mine))


def shard_of(keys: pa.BinaryArray, count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The shard, of ``count``, of each store key; -1 for a null."""
    return np.array([-1 if key is None else zlib.crc32(key) % count for key in keys.to_pylist()], np.int64)
