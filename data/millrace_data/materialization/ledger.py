"""How far a view's runs have come: kept in its meta hash in the store (``millrace_core.features.online.keys``).

A run that is to replace what was there is a pass (``millrace_core.features.online.generation``): it begins a
generation, writes, and when all its shards have, sweeps. A run that began before it and ends after it has been
superseded.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, NamedTuple

import orjson

from millrace_core.features.definition.definition import Definition
from millrace_core.features.offline.quality_verdict import CheckResult, QualityBaseline, QualityVerdict
from millrace_core.features.online import keys
from millrace_core.features.online.generation import TOLERANCE, FullPass, earliest
from millrace_core.features.online.shard import Shard
from millrace_data.online.patience import RunLostError, StoreRestartedError
from millrace_data.online.store import Store

# What a run that did not end leaves is of use to its own retries, and no Job lives longer.
_KEPT: Final = 2 * 86_400 * 1_000_000

# Gives what was fixed for a run, or fixes it: what it covers, its generation, where it is a pass since which one and
# with which horizon, and what is doubtful. A run that was superseded begins anew.
# A view of which nothing was ever written needs no pass, but a generation: a store that was emptied knows of none.
_BEGIN: Final = """
local meta, id, plan, oldest, replaces = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local least, least_since, full, began = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8])
local had = redis.call('HMGET', meta, 'generation', 'since', 'layouts', 'doubtful', 'run:' .. id, 'tolerance')
local known = had[5]
if known and tonumber(string.match(known, ' (%d+) %d+ %d+ %-?%d+$')) >= tonumber(had[1] or '0') then return known end
for _, name in ipairs(redis.call('HKEYS', meta)) do
  if string.sub(name, 1, 4) == 'run:' then
    local began = tonumber(string.match(redis.call('HGET', meta, name), '^%-?%d+'))
    local again = string.sub(name, 5, 5 + #id) == id .. ':'
    if not began or began < oldest or again then redis.call('HDEL', meta, name) end
  end
end
local generation, since = tonumber(had[1] or ''), 0
local horizon = began + tonumber(had[6] or ARGV[9])
if replaces ~= '' and had[3] then
  generation = math.max((generation or 0) + 1, least)
  since = tonumber(had[2] or '') or generation
  if since < least_since then since = generation end
  local pass = string.format('[%.0f,%.0f,%.0f,%s]', generation, since, horizon, replaces)
  redis.call('HSET', meta, 'since', string.format('%.0f', since), 'phase', 'writing', 'pass', pass)
  if full == '1' then redis.call('HSET', meta, 'doubtful', string.format('%.0f', since)) end
end
generation = generation or least
-- What this pass itself finds doubtful it decides.
local doubtful = full == '1' and '0' or had[4] or '0'
plan = string.format('%s %.0f %.0f %s %.0f', plan, generation, since, doubtful, horizon)
redis.call('HSET', meta, 'run:' .. id, plan, 'generation', string.format('%.0f', generation))
return plan
"""

# Notes that all rows of a shard are written: -1 where the store no longer knows that the run began, since it was
# emptied or replaced, and rows are lost with what it knew; where a pass has begun since, -2, or -3 if that one may have
# swept what this run has written; else whether all shards have been noted (1) or not (0).
_NOTE: Final = """
local meta, id, shard, count, mark = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local names, marks = {'run:' .. id}, nil
for i = 0, count - 1 do names[#names + 1] = 'run:' .. id .. ':' .. i end
local function noted()
  if redis.call('HEXISTS', meta, names[1]) == 0 then return -1 end
  if tonumber(redis.call('HGET', meta, 'generation') or '0') > tonumber(ARGV[5]) then
    return redis.call('HGET', meta, 'phase') == 'writing' and -2 or -3
  end
  redis.call('HSET', meta, names[#names - count + 1 + tonumber(shard)], mark)
  marks = redis.call('HMGET', meta, unpack(names))
  for i = 1, count + 1 do
    if not marks[i] then return 0 end
  end
  return 1
end
"""

_WRITTEN: Final = (
    _NOTE
    + """
local done = noted()
if done == 1 then redis.call('HSET', meta, 'phase', 'sweeping') end
return done
"""
)

# Notes that a shard is done; when all are, moves the watermark, and what moves with it, forward but never back, and
# only where nothing before the interval is missing. Answers as above. A run that ended, and asks again because the
# answer did not come, is told so again.
_END: Final = (
    _NOTE
    + """
local schema, after, upto = ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local from, created, memory, passes = tonumber(ARGV[9]), tonumber(ARGV[10]), ARGV[11], ARGV[12] == '1'
local known = redis.call('HMGET', meta, 'schema', 'watermark', 'created')
local present, newest = tonumber(known[2] or ''), tonumber(known[3] or '')
if known[1] ~= schema then present, newest = nil, nil end
local done = noted()
if done == -1 and present and present >= upto then return 1 end
if done ~= 1 then return done end
for i = 2, count + 1 do
  local seen = tonumber(string.match(marks[i], ' (.+)$'))
  if seen and (not created or seen > created) then created = seen end
end
redis.call('HDEL', meta, 'run:' .. id .. ':verdict', unpack(names))
if passes then redis.call('HDEL', meta, 'since', 'phase', 'doubtful') end
local reaches = not after or (present and after <= present) or (from and after <= from)
if not reaches or (present and present > upto) then return 1 end
if not present then redis.call('HDEL', meta, 'created', 'quality') end
redis.call('HSET', meta, 'schema', schema, 'watermark', ARGV[8])
if created and (not newest or newest < created) then
  redis.call('HSET', meta, 'created', string.format('%.0f', created))
end
if memory ~= '' then redis.call('HSET', meta, 'quality', memory) end
return 1
"""
)

_LOST, _SWEPT = -1, -3


class SupersededError(RunLostError):
    """A pass of the view began after this run did. ``swept``: it may be past what this run has written."""

    reason = "Superseded"

    def __init__(self, view: str, swept: bool) -> None:
        self.swept = swept
        super().__init__(
            f"a full run of feature view {view!r} began during this one, and what it writes counts",
            hint="Run this one again when that one has ended",
        )


class Replaces(StrEnum):
    """Which rows a run replaces, however new they are, and removes where it has none: none, those of former
    definitions, or all that the source no longer has."""

    NOTHING = ""
    FORMER = "former"
    ALL = "all"


class Position(NamedTuple):
    """How far the runs of a definition have come, in microseconds; None where they have not begun."""

    watermark: int | None = None
    created: int | None = None


class RunInterval(NamedTuple):
    """What a run covers: event times after ``after`` (None: from the beginning) up to and including ``upto``.

    ``created_after``: rows of earlier event times are read too, where they were created later than this; None where
    there are none, or they are of no concern. ``began``: when the run began. ``known``: the watermark, where the run
    just brings what is new since then. All in microseconds.

    Once the run has begun (``Ledger.begin``) it has a ``generation`` with what is ``doubtful`` then, and where it is a
    pass, ``since`` is not 0 and ``horizon`` is that of the pass.
    """

    after: int | None
    upto: int
    created_after: int | None = None
    began: int = 0
    known: int | None = None
    replaces: str = Replaces.NOTHING
    generation: int | None = None
    since: int = 0
    doubtful: int = 0
    horizon: int = 0

    @property
    def full_pass(self) -> FullPass | None:
        """The pass that the run is."""
        if not self.since or self.generation is None:
            return None
        return FullPass(self.generation, self.since, self.upto, self.horizon)

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
        self.definition = definition
        self._meta = keys.meta(definition.project, definition.view).decode()

    def position(self) -> Position:
        """How far runs have come; nowhere where the rows in the store are of another schema."""
        with self._store.explained():
            found: Any = self._store.client.hmget(
                self._meta, [keys.META_SCHEMA, keys.META_WATERMARK, keys.META_CREATED]
            )
        schema, watermark, created = found
        if schema is None or watermark is None or schema.decode() != self.definition.schema_hash:
            return Position()
        return Position(int(watermark), None if created is None else int(created))

    def begin(self, part: RunShard, interval: RunInterval) -> RunInterval:
        """What the run covers, and its generation: what the first of its processes said.

        The source is opened after this, so that a pass sees all that was there when it began.
        """
        plan = b"%d %b" % (interval.began, orjson.dumps(list(interval)))
        oldest = interval.began - _KEPT
        replaces = b""
        if interval.replaces:
            stays = self.definition.schema_id.hex() if interval.replaces == Replaces.FORMER else ""
            replaces = orjson.dumps([interval.upto, stays])[1:-1]
        full = "1" if interval.replaces == Replaces.ALL else ""
        numbers = [str(earliest(interval.began)), str(earliest(oldest))]
        arguments = [part.run, plan, str(oldest), replaces, *numbers, full, str(interval.began), str(TOLERANCE)]
        with self._store.explained():
            fixed: Any = self._store.client.eval(_BEGIN, 1, self._meta, *arguments)
        _, document, *numbers = fixed.split(b" ")
        generation, since, doubtful, horizon = map(int, numbers)
        begun = RunInterval(*orjson.loads(document))
        return begun._replace(generation=generation, since=since, doubtful=doubtful, horizon=horizon)

    def last_pass(self) -> tuple[FullPass, bytes] | None:
        """The last pass that began, and the schema id whose rows it leaves alone, or nothing."""
        with self._store.explained():
            found: Any = self._store.client.hget(self._meta, keys.META_PASS)
        if found is None:
            return None
        *numbers, stays = orjson.loads(found)
        generation, since, horizon, upto = numbers
        return FullPass(generation, since, upto, horizon), bytes.fromhex(stays)

    def memory(self) -> QualityBaseline:
        """What is known of earlier runs' rows; nothing where the rows in the store are of another schema."""
        with self._store.explained():
            schema, text = self._store.client.hmget(self._meta, [keys.META_SCHEMA, keys.META_QUALITY])
        if schema is None or text is None or schema.decode() != self.definition.schema_hash:
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

    def written(self, interval: RunInterval, created: int | None, part: RunShard) -> bool:
        """Notes that all rows of a shard of a pass are acknowledged; whether all shards' are, so that it may sweep.

        Raises as ``end``.
        """
        return self._note(_WRITTEN, interval, created, part)

    def end(
        self, interval: RunInterval, created: int | None, part: RunShard, memory: QualityBaseline | None = None
    ) -> bool:
        """Notes that all rows are acknowledged, and moves the watermark where that completes the run.

        Args:
            interval: as the run was begun.
            part: as the run was begun.
            created: the newest created time up to which all rows have been read; None where that cannot be said.
            memory: what is to be known of this run's rows; None changes nothing.

        Returns:
            Whether the run is complete: not while other shards are missing.

        Raises:
            StoreRestartedError: the store has forgotten that the run began, so it may have lost rows of it.
            SupersededError: a pass has begun meanwhile.
        """
        moments = (interval.after, interval.upto, self.definition.start_from, created)
        return self._note(
            _END,
            interval,
            created,
            part,
            self.definition.schema_hash,
            *("" if moment is None else str(moment) for moment in moments),
            "" if memory is None else orjson.dumps(vars(memory)),
            "1" if interval.since else "",
        )

    def _note(
        self, script: str, interval: RunInterval, created: int | None, part: RunShard, *more: str | bytes
    ) -> bool:
        run, shard = part
        mark = f"{interval.began} {'' if created is None else created}"
        arguments = [run, str(shard.index), str(shard.count), mark, str(interval.generation or 0), *more]
        with self._store.explained():
            done: Any = self._store.client.eval(script, 1, self._meta, *arguments)
        if done == _LOST:
            raise StoreRestartedError(self._store.shown)
        if done < 0:
            raise SupersededError(self.definition.view, done == _SWEPT)
        return bool(done)


def _verdict_of(part: RunShard) -> bytes:
    return keys.META_RUN + part.run.encode() + b":verdict"


def _verdict(text: bytes) -> QualityVerdict:
    document = orjson.loads(text.partition(b" ")[2])
    return QualityVerdict(tuple(CheckResult(**each) for each in document["outcomes"]), _memory(document["memory"]))


def _memory(document: Any) -> QualityBaseline:
    return QualityBaseline(document["columns"], tuple(document["rates"]), document["newest"])
