"""An experiment's sums in the online store: exposures and outcomes in, by one atomic script per batch.

All keys of an experiment begin with ``experiment-sums:{<namespace>/<name>/<uid>}:``, so they are in one slot::

    state       hash    whole (the metrics' digest, once all that the logs have is there), incarnation (of the keys)
    units       hash    unit -> arm NUL epoch NUL time of its first exposure, microseconds
    crossed     set     units that were seen in another arm, too
    values      hash    unit NUL outcome NUL (a: after exposure, b: before) -> the exact sum of its values
    sums        hash    what is read
    waiting     hash    unit -> outcomes that came before its exposure did
    ids:<n>     set     digests of the ids that came in a period; known in the two beside it, too, because
                        of logs that are read again the later one may come first

A log is not read in the order of its times: of a unit without values an earlier exposure replaces that which is
known.

Sums are exact, so they are the same in whatever order outcomes come, and whether they came or a log was read again. An
exact sum is a list of doubles that do not overlap, packed little-endian (J. R. Shewchuk, "Adaptive Precision
Floating-Point Arithmetic and Fast Robust Geometric Predicates", 1997); products are made exact by T. J. Dekker's
splitting ("A floating-point technique for extending the available precision", 1971). A unit's value is its sum, rounded
once to a double, as ``math.fsum`` does.

A field of ``sums`` is ``<metric> NUL <epoch> NUL <arm> NUL`` and n (decimal), x, xx, z, zz or xz; ``e NUL <epoch> NUL
<arm>``, the units; ``unexposed``, ``late``, ``lost``.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Final, NamedTuple

from millrace_core.evidence.outcome import Exposure, Outcome
from millrace_core.experiments.published import OutcomeMetric, PublishedExperiment

ACCEPTED: Final = 1
DUPLICATE: Final = 0
UNEXPOSED: Final = 2

# How long an id is known at least, and so how late the same outcome may be sent again.
IDS_SECONDS: Final = 24 * 3600
# How much later than its outcome an exposure may be, by the clocks of two machines; in microseconds.
SKEW: Final = 60 * 1_000_000
# From so much after it came about an outcome is late; microseconds.
LATE: Final = 3600 * 1_000_000
# Outcomes of units that were not exposed yet, by experiment: they count when their exposure comes.
MOST_WAITING: Final = 100_000
# Sums that nothing comes to any more.
KEPT_SECONDS: Final = 90 * 24 * 3600
# Of one call of the script, which the store does nothing else beside.
MOST_AT_ONCE: Final = 500

SCRIPT: Final = b"""
local call, base = redis.call, KEYS[1]
local units, values, sums, waiting = base .. 'units', base .. 'values', base .. 'sums', base .. 'waiting'
local period, kept, ids_kept, skew, most = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local metrics, at = {}, 7
for i = 1, tonumber(ARGV[6]) do
  metrics[i] = {name = ARGV[at], kind = ARGV[at + 1], x = ARGV[at + 2], z = ARGV[at + 3]}
  at = at + 4
end
local function add(list, x)
  local n = 0
  for i = 1, #list do
    local y = list[i]
    if math.abs(x) < math.abs(y) then x, y = y, x end
    local high = x + y
    local low = y - (high - x)
    if low ~= 0 then n = n + 1; list[n] = low end
    x = high
  end
  for i = #list, n + 1, -1 do list[i] = nil end
  if x ~= 0 then list[n + 1] = x end
end
local function rounded(list)
  local i = #list
  if i == 0 then return 0 end
  local high, low = list[i], 0
  while i > 1 do
    i = i - 1
    local x, y = high, list[i]
    high = x + y
    low = y - (high - x)
    if low ~= 0 then break end
  end
  if i > 1 and (low < 0 and list[i - 1] < 0 or low > 0 and list[i - 1] > 0) then
    local twice = low * 2
    local x = high + twice
    if twice == x - high then high = x end
  end
  return high
end
local function split(a)
  local c = 134217729 * a
  local high = c - (c - a)
  return high, a - high
end
local function add_product(list, a, b, sign)
  local p = a * b
  if p == 0 then return end
  local a1, a2 = split(a)
  local b1, b2 = split(b)
  local e = ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2
  add(list, sign * p)
  if e ~= 0 then add(list, sign * e) end
end
local function unpacked(raw)
  local list = {}
  if raw then for i = 1, #raw, 8 do list[#list + 1] = struct.unpack('<d', raw, i) end end
  return list
end
local function packed(list)
  local parts = {}
  for i = 1, #list do parts[i] = struct.pack('<d', list[i]) end
  return table.concat(parts)
end
local parts = {'x', 'xx', 'z', 'zz', 'xz'}
local cells, touched = {}, {}
local function cell_of(name)
  local cell = cells[name]
  if not cell then
    local raw = call('HMGET', sums, name .. 'x', name .. 'xx', name .. 'z', name .. 'zz', name .. 'xz')
    cell = {n = 0}
    for i = 1, 5 do cell[parts[i]] = unpacked(raw[i]) end
    cells[name] = cell
  end
  return cell
end
local function value_of(name)
  local raw = call('HGET', values, name)
  if not raw then return nil end
  return rounded(unpacked(raw))
end
local function count(metric, epoch, arm, x0, z0, x1, z1)
  local cell = cell_of(metric.name .. '\\0' .. epoch .. '\\0' .. arm .. '\\0')
  if not x0 and not z0 then cell.n = cell.n + 1 end
  x0, z0, x1, z1 = x0 or 0, z0 or 0, x1 or 0, z1 or 0
  if metric.kind == 'p' then
    x0 = x0 > 0 and 1 or 0
    x1 = x1 > 0 and 1 or 0
  end
  if x0 ~= x1 then
    add(cell.x, -x0)
    add(cell.x, x1)
    add_product(cell.xx, x0, x0, -1)
    add_product(cell.xx, x1, x1, 1)
  end
  if metric.z ~= '' then
    if z0 ~= z1 then
      add(cell.z, -z0)
      add(cell.z, z1)
      add_product(cell.zz, z0, z0, -1)
      add_product(cell.zz, z1, z1, 1)
    end
    add_product(cell.xz, x0, z0, -1)
    add_product(cell.xz, x1, z1, 1)
  end
end
local function take(unit, first, outcome, value, time)
  local arm, epoch, exposed = string.match(first, '^(%Z*)%z(%Z*)%z(%Z*)$')
  exposed = tonumber(exposed)
  local before = false
  if time < exposed then
    for i = 1, #metrics do before = before or metrics[i].kind == 'c' and metrics[i].z == outcome end
    if not before and time < exposed - skew then return false end
  end
  local side = before and 'b' or 'a'
  local name = unit .. '\\0' .. outcome .. '\\0' .. side
  local raw = call('HGET', values, name)
  local list = unpacked(raw)
  local old = nil
  if raw then old = rounded(list) end
  add(list, value)
  local new = rounded(list)
  call('HSET', values, name, packed(list))
  for i = 1, #metrics do
    local m = metrics[i]
    local other = m.kind == 'c' and 'b' or 'a'
    local is_x, is_z = m.x == outcome and side == 'a', m.z == outcome and side == other
    if is_x and is_z then
      count(m, epoch, arm, old, old, new, new)
    elseif is_x then
      local z = nil
      if m.z ~= '' then z = value_of(unit .. '\\0' .. m.z .. '\\0' .. other) end
      count(m, epoch, arm, old, z, new, z)
    elseif is_z then
      local x = value_of(unit .. '\\0' .. m.x .. '\\0a')
      count(m, epoch, arm, x, old, x, new)
    end
  end
  return side
end
local function has_values(unit)
  for i = 1, #metrics do
    for _, outcome in ipairs({metrics[i].x, metrics[i].z}) do
      local name = unit .. '\\0' .. outcome .. '\\0'
      if call('HEXISTS', values, name .. 'a') == 1 or call('HEXISTS', values, name .. 'b') == 1 then return true end
    end
  end
  return false
end
local n = tonumber(ARGV[at])
at = at + 1
for i = 1, n do
  local unit, arm, epoch, time = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  at = at + 4
  local first = call('HGET', units, unit)
  if not first then
    first = arm .. '\\0' .. epoch .. '\\0' .. time
    call('HSET', units, unit, first)
    call('HINCRBY', sums, 'e\\0' .. epoch .. '\\0' .. arm, 1)
    local held = call('HGET', waiting, unit)
    if held then
      call('HDEL', waiting, unit)
      local place = 1
      while place <= #held do
        local outcome, value, when
        outcome, value, when, place = struct.unpack('<I2c0dd', held, place)
        call('HINCRBY', sums, 'waiting', -1)
        if take(unit, first, outcome, value, when) then call('HINCRBY', sums, 'unexposed', -1) end
      end
    end
  else
    local old_arm, old_epoch, exposed = string.match(first, '^(%Z*)%z(%Z*)%z(%Z*)$')
    if old_arm ~= arm then call('SADD', base .. 'crossed', unit) end
    if tonumber(time) < tonumber(exposed) and not has_values(unit) then
      call('HSET', units, unit, arm .. '\\0' .. epoch .. '\\0' .. time)
      local left = 'e\\0' .. old_epoch .. '\\0' .. old_arm
      if call('HINCRBY', sums, left, -1) == 0 then call('HDEL', sums, left) end
      call('HINCRBY', sums, 'e\\0' .. epoch .. '\\0' .. arm, 1)
    end
  end
end
local known, previous = base .. 'ids:' .. period, base .. 'ids:' .. (tonumber(period) - 1)
local following = base .. 'ids:' .. (tonumber(period) + 1)
local answers, late, unexposed = {}, 0, 0
n = tonumber(ARGV[at])
at = at + 1
for i = 1, n do
  local unit, outcome, id = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local value, time = struct.unpack('<dd', ARGV[at + 3])
  local is_late = ARGV[at + 4] == '1'
  at = at + 5
  if call('SISMEMBER', previous, id) == 1 or call('SISMEMBER', following, id) == 1 or call('SADD', known, id) == 0 then
    answers[i] = 0
  else
    local first = call('HGET', units, unit)
    local side = first and take(unit, first, outcome, value, time)
    if side then
      answers[i] = 1
      if is_late and side == 'a' then late = late + 1 end
    else
      answers[i] = 2
      unexposed = unexposed + 1
      if not first and tonumber(call('HGET', sums, 'waiting') or '0') < most then
        local held = call('HGET', waiting, unit) or ''
        call('HSET', waiting, unit, held .. struct.pack('<I2c0dd', #outcome, outcome, value, time))
        call('HINCRBY', sums, 'waiting', 1)
      end
    end
  end
end
if late > 0 then call('HINCRBY', sums, 'late', late) end
if unexposed > 0 then call('HINCRBY', sums, 'unexposed', unexposed) end
for name, cell in pairs(cells) do
  if cell.n > 0 then call('HINCRBY', sums, name .. 'n', cell.n) end
  call('HSET', sums, name .. 'x', packed(cell.x), name .. 'xx', packed(cell.xx))
  if #cell.z > 0 or #cell.zz > 0 or #cell.xz > 0 then
    call('HSET', sums, name .. 'z', packed(cell.z), name .. 'zz', packed(cell.zz), name .. 'xz', packed(cell.xz))
  end
end
for _, name in ipairs({'units', 'values', 'sums', 'waiting', 'crossed', 'state'}) do
  call('EXPIRE', base .. name, kept)
end
call('EXPIRE', known, ids_kept)
local state = call('HMGET', base .. 'state', 'whole', 'incarnation')
return {state[1] or '', state[2] or '', answers}
"""

# Takes everything away but the number of this incarnation, which is a new one.
CLEAR: Final = b"""
local base = KEYS[1]
for _, name in ipairs({'units', 'values', 'sums', 'waiting', 'crossed', 'state'}) do
  redis.call('UNLINK', base .. name)
end
for i = 1, #ARGV - 2 do redis.call('UNLINK', base .. 'ids:' .. ARGV[i + 2]) end
redis.call('HSET', base .. 'state', 'incarnation', ARGV[1])
redis.call('EXPIRE', base .. 'state', ARGV[2])
return 1
"""

READ: Final = b"""
local base = KEYS[1]
local state = redis.call('HMGET', base .. 'state', 'whole', 'incarnation')
return {state[1] or '', state[2] or '', redis.call('SCARD', base .. 'crossed'), redis.call('HGETALL', base .. 'sums')}
"""

# Says that all is there, to the incarnation that was filled and to no other.
FINISH: Final = b"""
local state = KEYS[1] .. 'state'
if redis.call('HGET', state, 'incarnation') ~= ARGV[1] then return 0 end
redis.call('HSET', state, 'whole', ARGV[2])
return 1
"""


class Stored(NamedTuple):
    """What the store has of an experiment.

    Attributes:
        whole: the digest of the metrics whose sums are whole; empty: they are not.
        incarnation: of the keys; another one, or none, once they were lost.
        sums: the fields of the hash ``sums``.
    """

    whole: str
    incarnation: str
    crossed: int
    sums: dict[bytes, bytes]


def base_key(identity: str) -> bytes:
    """The beginning of all keys of an experiment."""
    return f"experiment-sums:{{{identity}}}:".encode()


def metrics_digest(experiment: PublishedExperiment) -> str:
    """Changes with what the sums mean."""
    return hashlib.sha256(repr([tuple(vars(each).values()) for each in experiment.metrics]).encode()).hexdigest()[:16]


def period(received: int) -> int:
    """The period of ids that a moment (microseconds) is in."""
    return received // (IDS_SECONDS * 1_000_000)


def arguments(
    experiment: PublishedExperiment, exposures: Sequence[Exposure], outcomes: Sequence[Outcome], at: int
) -> list[bytes]:
    """The arguments of ``SCRIPT``; ``outcomes`` were received in the same period, ``at``."""
    found = [
        b"%d" % at,
        b"%d" % KEPT_SECONDS,
        b"%d" % (2 * IDS_SECONDS),
        b"%d" % SKEW,
        b"%d" % MOST_WAITING,
        b"%d" % len(experiment.metrics),
    ]
    for metric in experiment.metrics:
        found += _metric(metric)
    found.append(b"%d" % len(exposures))
    for each in exposures:
        found += [each.unit.encode(), each.arm.encode(), b"%d" % each.epoch, b"%d" % each.time]
    found.append(b"%d" % len(outcomes))
    for one in outcomes:
        found += [
            one.unit.encode(),
            one.outcome.encode(),
            hashlib.blake2b(one.id.encode(), digest_size=16).digest(),
            struct.pack("<dd", one.value, one.time),
            b"1" if one.received - one.time > LATE else b"0",
        ]
    return found


def _metric(metric: OutcomeMetric) -> list[bytes]:
    kind = b"c" if metric.covariate else metric.kind[0].encode()
    return [metric.name.encode(), kind, metric.outcome.encode(), (metric.covariate or metric.denominator).encode()]


def exact(packed: bytes) -> float:
    """An exact sum, rounded once."""
    return float(sum(map(Fraction, _doubles(packed)), Fraction()))


def _doubles(packed: bytes) -> Iterable[float]:
    return (each for (each,) in struct.iter_unpack("<d", packed))
