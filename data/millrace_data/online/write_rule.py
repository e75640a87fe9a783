"""The store's write rule: of two rows of one entity the newer stays, decided in the store, atomically.

Newer is the greater (event time, created time), read from the row's header (``millrace_core.features.online.row``). At
equal times the row that comes later stays: it may be a correction in a source without created times. So writers may run
together, in any order and again, and no row is ever replaced by an older one, but for these:

- A row of another schema gives way whatever its times: newer says nothing between two meanings.
- A pass (``millrace_core.features.online.generation``) replaces rows that are void. A run that began before a pass does
  not replace what the pass, or anything after it, has written.

Where one row is not enough, several are kept (``millrace_core.features.online.stored_value``): a row later than now
beside the one that is visible until then, and under a row that a full run may yet take away the newest one that was
written since it began.

``KEYS`` are row keys. ``ARGV`` are a flag, ``1`` where all rows have one size and old ones are small enough to be
fetched whole and at once; the writer's present moment as rows have times, and ``Generation.doubtful`` (4 bytes); the
pass (``FullPass.packed``), empty of other writers; how many runs of rows follow that expire together; per run how many
rows end with it and the moment (milliseconds since 1970, empty where rows do not expire), or, where there are no runs,
per row its moment; then the rows, as one string where they have one size, else one by one. The answer is how many keys
hold other rows than before; the others had a newer row, or this very one.

``SWEEP`` is the other half of a pass: it takes away the void rows of its keys that no row has replaced. ``ARGV`` are
the pass, and a schema id whose rows stay, or nothing. The answer is how many keys are gone.

Several keys at once need one slot, so on a cluster a call takes rows of one slot.
"""

from __future__ import annotations

from typing import Final

from millrace_core.features.online.stored_value import MOST_LATER

# What both scripts have: whether a row is void, and the rows of a value.
_COMMON: Final = b"""
local call, words, sub, byte = redis.call, struct.unpack, string.sub, string.byte
local since, own, u0, u1, h0, h1
local function stamp_of(row)
  return byte(row) == 2 and #row >= 29 and words('>I4', row, 26) or 0
end
local function void(row)
  local stamp = stamp_of(row)
  local pushed = stamp % 2
  local generation = (stamp - pushed) / 2
  if generation >= since and (pushed == 1 or generation >= own) then return false end
  local a, b = words('>I4I4', row, 10)
  return a < u0 or a == u0 and b <= u1 or a > h0 or a == h0 and b > h1
end
local function split(value)
  if byte(value) ~= 3 then return {value} end
  local list, at = {}, 2
  while at < #value do
    local size = words('>I4', value, at)
    list[#list + 1] = sub(value, at + 4, at + 3 + size)
    at = at + 4 + size
  end
  return list
end
local function joined(list)
  if #list == 1 then return list[1] end
  local parts = {'\\3'}
  for i = 1, #list do parts[i + 1] = struct.pack('>I4', #list[i]) .. list[i] end
  return table.concat(parts)
end
"""

# A call per key costs three times what MGET, MSET and MSETEX cost, and that is what the time of a run is spent on.
# MSETEX came with Valkey 9.1 and Redis 8.4; on other servers, and for users that may not, each row expires by a call.
# There it is tried once per call of the rule, because each try is an error in the server's statistics or ACL log.
# Strings are never compared by order, which would depend on the server's locale.
SCRIPT: Final = (
    _COMMON
    + b"""
local n, fixed, runs = #KEYS, ARGV[1] == '1', tonumber(ARGV[4])
local n0, n1, doubtful = words('>I4I4I4', ARGV[2])
if ARGV[3] ~= '' then since, own, u0, u1, h0, h1 = words('>I4I4I4I4I4I4', ARGV[3]) end
local before = 4 + (runs > 0 and 2 * runs or n)
local rows = ARGV[before + 1]
local size = #rows / n
local olds = fixed and call('MGET', unpack(KEYS))
local changed = 0
-- All rows of a call have one format, one schema and one stamp.
local head, stamp = sub(rows, 1, 9), words('>I4', rows, 26)
local function alike(old, new)
  return old == new or #old == #new and sub(old, 2, 25) == sub(new, 2, 25) and sub(old, 30) == sub(new, 30)
end
local function restamped(row, generation)
  return sub(row, 1, 25) .. struct.pack('>I4', 2 * generation + 1) .. sub(row, 30)
end
-- Whether the row of the first time (four words) is newer than that of the second.
local function newer(a, b, c, d, e, f, g, h)
  return a > e or a == e and (b > f or b == f and (c > g or c == g and d > h))
end
local function later(a, b) return a > n0 or a == n0 and b > n1 end
-- The slow way, for the few keys that hold several rows, or are to.
local function several(i, new, moment)
  local e, f, g, h, stamp = words('>I4I4I4I4I4', new, 10)
  local pushed, ahead = stamp % 2 == 1, later(e, f)
  local generation = (stamp - stamp % 2) / 2
  local list, place, waiting, known = {}, nil, 0, false
  for _, old in ipairs(split(call('GET', KEYS[i]))) do
    local a, b, c, d = words('>I4I4I4I4', old, 10)
    local foreign = sub(old, 2, 9) ~= sub(new, 2, 9)
    local its = math.floor(stamp_of(old) / 2)
    local gone = since and void(old)
    if its > generation and not gone then
      if foreign or not pushed then return end
      generation = its
      new = restamped(new, its)
    end
    if not gone and not (foreign and (not ahead or later(a, b))) then
      local same = a == e and b == f and c == g and d == h
      known = known or same and alike(old, new)
      if not same then
        if not place and newer(e, f, g, h, a, b, c, d) then
          list[#list + 1] = new
          place = #list
        end
        if later(a, b) then waiting = waiting + 1 end
        list[#list + 1] = old
      end
    end
  end
  if not place then
    list[#list + 1] = new
    place = #list
  end
  if ahead and waiting >= @MOST@ then return end
  -- What no reader will be told any more goes: who reads sees the newest row that is not later.
  local kept, lands, seen, at = {}, nil, -1, nil
  for where, row in ipairs(list) do
    local a, b = words('>I4I4', row, 10)
    local its = stamp_of(row)
    local waits = later(a, b)
    if not (waits and at and at[1] == a and at[2] == b)
      and (waits or seen < 0 or seen < doubtful and math.floor(its / 2) >= doubtful) then
      kept[#kept + 1] = row
      if where == place then lands = #kept end
      if not waits then seen = math.max(seen, math.floor(its / 2)) end
    end
    at = waits and {a, b} or at
  end
  if not lands then return end
  if not known then changed = changed + 1 end
  if #kept == 1 then return new end
  -- The key expires with its newest row.
  if lands > 1 then
    call('SET', KEYS[i], joined(kept), 'KEEPTTL')
  elseif moment == '' then
    call('SET', KEYS[i], joined(kept))
  else
    call('SET', KEYS[i], joined(kept), 'PXAT', moment)
  end
end
-- Nearly all rows take the fast way: each call of a function that it makes is a tenth of what a row costs.
local function landing(i, moment)
  local old, new
  if fixed then
    old, new = olds[i], sub(rows, (i - 1) * size + 1, i * size)
    if old == new then return new end
    if not old then
      changed = changed + 1
      return new
    end
  else
    old, new = call('GETRANGE', KEYS[i], 0, 28), ARGV[before + i]
  end
  local alien = sub(old, 1, 9) ~= head
  local kind = not alien and 2 or #old >= 25 and byte(old)
  if kind == 2 and #old >= 29 then
    local a, b, c, d, t = words('>I4I4I4I4I4', old, 10)
    if since and void(old) then
      if not fixed then old = call('GET', KEYS[i]) end
      if not alike(old, new) then changed = changed + 1 end
      return new
    end
    -- A pass has begun since that the writer did not know of.
    if t > stamp and t - t % 2 > stamp then
      if stamp % 2 == 0 or alien then return end
      new = restamped(new, (t - t % 2) / 2)
    end
    local e, f = words('>I4I4', new, 10)
    local order = e - a
    if order == 0 then order = f - b end
    if order == 0 then
      local g, h = words('>I4I4', new, 18)
      order = g - c
      if order == 0 then order = h - d end
    end
    if order == 0 then
      if not fixed then old = call('GET', KEYS[i]) end
      if alike(old, new) then return new end
    elseif e > n0 or e == n0 and f > n1 then
      return several(i, new, moment)
    elseif order < 0 and not alien then
      if a > n0 or a == n0 and b > n1 or t < 2 * doubtful and stamp >= 2 * doubtful then
        return several(i, new, moment)
      end
      return
    end
  elseif kind == 1 or kind == 3 then
    return several(i, new, moment)
  end
  changed = changed + 1
  return new
end
if runs == 0 then
  for i = 1, n do
    local new = landing(i, ARGV[4 + i])
    if new then call('SET', KEYS[i], new, 'PXAT', ARGV[4 + i]) end
  end
end
local i, known = 0, true
for run = 1, runs do
  local last, moment = tonumber(ARGV[3 + 2 * run]), ARGV[4 + 2 * run]
  local landed, m = {}, 0
  while i < last do
    i = i + 1
    local new = landing(i, moment)
    if new then
      landed[m + 1], landed[m + 2] = KEYS[i], new
      m = m + 2
    end
  end
  if m > 0 and moment == '' then
    call('MSET', unpack(landed, 1, m))
  elseif m == 2 then
    call('SET', landed[1], landed[2], 'PXAT', moment)
  elseif m > 0 then
    landed[m + 1], landed[m + 2] = 'PXAT', moment
    known = known and type(redis.pcall('MSETEX', m / 2, unpack(landed, 1, m + 2))) == 'number'
    if not known then
      call('MSET', unpack(landed, 1, m))
      for at = 1, m, 2 do call('PEXPIREAT', landed[at], moment) end
    end
  end
end
return changed
""".replace(b"@MOST@", b"%d" % MOST_LATER)
)

SWEEP: Final = (
    _COMMON
    + b"""
since, own, u0, u1, h0, h1 = words('>I4I4I4I4I4I4', ARGV[1])
local mine, gone = ARGV[2], 0
for i = 1, #KEYS do
  local value = call('GETRANGE', KEYS[i], 0, 28)
  local kind = #value >= 25 and byte(value)
  if kind == 3 then value = call('GET', KEYS[i]) end
  if kind == 1 or kind == 2 or kind == 3 then
    local list, kept = split(value), {}
    for _, row in ipairs(list) do
      if not void(row) or sub(row, 2, 9) == mine then kept[#kept + 1] = row end
    end
    if #kept == 0 then
      gone = gone + call('UNLINK', KEYS[i])
    elseif #kept < #list then
      call('SET', KEYS[i], joined(kept), 'KEEPTTL')
    end
  end
end
return gone
"""
)
