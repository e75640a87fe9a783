"""How far a view's runs have come: kept in its meta hash in the store (``millrace_core.features.online.keys``)."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import orjson

from millrace_core.features.definition.definition import Definition
from millrace_core.features.offline.quality_verdict import CheckResult, QualityBaseline, QualityVerdict
from millrace_core.features.online import keys
from millrace_core.features.online.shard import Shard
from millrace_data.online.patience import StoreRestartedError
from millrace_data.online.store import Store

# What a run that did not end leaves is of use to its own retries, and no Job lives longer.
_KEPT: Final = 2 * 86_400 * 1_000_000

# Gives what was fixed for a run, or fixes it.
_BEGIN: Final = """
local meta, id, plan, oldest = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local known = redis.call('HGET', meta, 'run:' .. id)
if known then return known end
for _, name in ipairs(redis.call('HKEYS', meta)) do
  if string.sub(name, 1, 4) == 'run:' then
    local began = tonumber(string.match(redis.call('HGET', meta, name), '^%-?%d+'))
    if not began or began < oldest then redis.call('HDEL', meta, name) end
  end
end
redis.call('HSET', meta, 'run:' .. id, plan)
return plan
"""

# Notes that a shard is done; when all are, moves the watermark, and what moves with it, forward but never back, and
# only where nothing before the interval is missing. Answers 1 where all are done, 0 where some are not, -1 where the
# store no longer knows that the run began: it was emptied or replaced since, and rows are lost with what it knew. A run
# that ended, and asks again because the answer did not come, is told so again.
_END: Final = """
local meta, schema, after, upto = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local from, created, id = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local shard, count, began, memory = ARGV[7], tonumber(ARGV[8]), ARGV[9], ARGV[10]
local known = redis.call('HMGET', meta, 'schema', 'watermark', 'created')
local present, newest = tonumber(known[2] or ''), tonumber(known[3] or '')
if known[1] ~= schema then present, newest = nil, nil end
if id ~= '' then
  if redis.call('HEXISTS', meta, 'run:' .. id) == 0 then return (present and present >= upto) and 1 or -1 end
  local names = {'run:' .. id}
  for i = 0, count - 1 do names[#names + 1] = 'run:' .. id .. ':' .. i end
  redis.call('HSET', meta, 'run:' .. id .. ':' .. shard, began .. ' ' .. ARGV[5])
  local marks = redis.call('HMGET', meta, unpack(names))
  for i = 1, count + 1 do
    if not marks[i] then return 0 end
  end
  for i = 2, count + 1 do
    local seen = tonumber(string.match(marks[i], ' (.+)$'))
    if seen and (not created or seen > created) then created = seen end
  end
  redis.call('HDEL', meta, 'run:' .. id .. ':verdict', unpack(names))
end
local reaches = not after or (present and after <= present) or (from and after <= from)
if not reaches or (present and present > upto) then return 1 end
if not present then redis.call('HDEL', meta, 'created', 'quality') end
redis.call('HSET', meta, 'schema', schema, 'watermark', ARGV[3])
if created and (not newest or newest < created) then
  redis.call('HSET', meta, 'created', string.format('%.0f', created))
end
if memory ~= '' then redis.call('HSET', meta, 'quality', memory) end
return 1
"""


class Position(NamedTuple):
    """How far the runs of a definition have come, in microseconds; None where they have not begun."""

    watermark: int | None = None
    created: int | None = None


class RunInterval(NamedTuple):
    """What a run covers: event times after ``after`` (None: from the beginning) up to and including ``upto``.

    ``created_after``: rows of earlier event times are read too, where they were created later than this; None where
    there are none, or they are of no concern. ``began``: when the run began. ``known``: the watermark, where the run
    just brings what is new since then. All in microseconds.
    """

    after: int | None
    upto: int
    created_after: int | None = None
    began: int = 0
    known: int | None = None

    @property
    def news(self) -> bool:
        """Whether the run just brings what is new since the watermark."""
        return self.known is not None

    @property
    def empty(self) -> bool:
        """Whether nothing can be in it."""
        if self.after is None:
            return False
        return self.after > self.upto or (self.after == self.upto and self.created_after is None)


class RunShard(NamedTuple):
    """What one process does of a run that several do together: ``run`` identifies it among all runs of the view."""

    run: str
    shard: Shard


class Ledger:
    """The record of one view's runs. Every method is one atomic step in the store.

    Raises:
        RetryError: the store does not answer. ReportError: it refuses.
    """

    def __init__(self, store: Store, definition: Definition) -> None:
        self._store = store
        self._definition = definition
        self._meta = keys.meta(definition.project, definition.view).decode()

    def position(self) -> Position:
        """How far runs have come; nowhere where the rows in the store are of another schema."""
        with self._store.explained():
            found: Any = self._store.client.hmget(
                self._meta, [keys.META_SCHEMA, keys.META_WATERMARK, keys.META_CREATED]
            )
        schema, watermark, created = found
        if schema is None or watermark is None or schema.decode() != self._definition.schema_hash:
            return Position()
        return Position(int(watermark), None if created is None else int(created))

    def begin(self, part: RunShard, interval: RunInterval) -> RunInterval:
        """What the run covers: what the first of its processes said."""
        plan = b"%d %b" % (interval.began, orjson.dumps(list(interval)))
        with self._store.explained():
            fixed: Any = self._store.client.eval(_BEGIN, 1, self._meta, part.run, plan, str(interval.began - _KEPT))
        return RunInterval(*orjson.loads(fixed.partition(b" ")[2]))

    def memory(self) -> QualityBaseline:
        """What is known of earlier runs' rows; nothing where the rows in the store are of another schema."""
        with self._store.explained():
            schema, text = self._store.client.hmget(self._meta, [keys.META_SCHEMA, keys.META_QUALITY])
        if schema is None or text is None or schema.decode() != self._definition.schema_hash:
            return QualityBaseline()
        return _memory(orjson.loads(text))

    def verdict(self, part: RunShard) -> QualityVerdict | None:
        """What another shard of the run has found about the quality of its rows."""
        with self._store.explained():
            found: Any = self._store.client.hget(self._meta, _verdict_of(part))
        return None if found is None else _verdict(found)

    def settle(self, part: RunShard, interval: RunInterval, verdict: QualityVerdict) -> QualityVerdict:
        """Makes a verdict that of the whole run, unless there is one; gives the one that counts."""
        document = {"outcomes": [each.as_dict() for each in verdict.outcomes], "memory": vars(verdict.baseline)}
        with self._store.explained():
            self._store.client.hsetnx(
                self._meta, _verdict_of(part), b"%d %b" % (interval.began, orjson.dumps(document))
            )
            found: Any = self._store.client.hget(self._meta, _verdict_of(part))
        return verdict if found is None else _verdict(found)

    def end(
        self, interval: RunInterval, created: int | None, part: RunShard | None, memory: QualityBaseline | None = None
    ) -> bool:
        """Notes that all rows are acknowledged, and moves the watermark where that completes the run.

        Args:
            part: as the run was begun; None of a run that was not, because it had nothing to read.
            created: the newest created time up to which all rows have been read; None where that cannot be said.
            memory: what is to be known of this run's rows; None changes nothing.

        Returns:
            Whether the run is complete: not while other shards are missing.

        Raises:
            StoreRestartedError: the store has forgotten that the run began, so it may have lost rows of it.
        """
        definition = self._definition
        run, shard = part or ("", Shard(0, 1))
        moments = (interval.after, interval.upto, definition.start_from, created)
        arguments = ["" if moment is None else str(moment) for moment in moments]
        with self._store.explained():
            done: Any = self._store.client.eval(
                _END,
                1,
                self._meta,
                definition.schema_hash,
                *arguments,
                run,
                str(shard.index),
                str(shard.count),
                str(interval.began),
                "" if memory is None else orjson.dumps(vars(memory)),
            )
        if done < 0:
            raise StoreRestartedError(self._store.shown)
        return bool(done)


def _verdict_of(part: RunShard) -> bytes:
    return keys.META_RUN + part.run.encode() + b":verdict"


def _verdict(text: bytes) -> QualityVerdict:
    document = orjson.loads(text.partition(b" ")[2])
    return QualityVerdict(tuple(CheckResult(**each) for each in document["outcomes"]), _memory(document["memory"]))


def _memory(document: Any) -> QualityBaseline:
    return QualityBaseline(document["columns"], tuple(document["rates"]), document["newest"])
