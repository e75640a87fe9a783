"""The store's write rule: of two rows of one entity the newer stays, decided in the store, atomically.

Newer is the greater (event time, created time), read from the row's header (``millrace_core.features.online.row``). At
equal times the row that comes later stays: it may have another schema, or be a correction in a source without created
times. So writers may run together, in any order and again, and no row is ever replaced by an older one.

``KEYS`` are row keys. ``ARGV`` are a flag, ``1`` where all rows have one size and old ones are small enough to be
fetched whole and at once; how many runs of rows follow that expire together; per run how many rows end with it and the
moment (milliseconds since 1970, empty where rows do not expire), or, where there are no runs, per row its moment; then
the rows, as one string where they have one size, else one by one. The answer is how many keys hold other bytes than
before; the others had a newer row, or this very one.

Several keys at once need one slot, so on a cluster a call takes rows of one slot.
"""

from __future__ import annotations

from typing import Final

# A call per key costs three times what MGET, MSET and MSETEX cost, and that is what the time of a run is spent on.
# MSETEX came with Valkey 9.1 and Redis 8.4; on other servers, and for users that may not, each row expires by a call.
# There it is tried once per call of the rule, because each try is an error in the server's statistics or ACL log.
# Strings are never compared by order, which would depend on the server's locale.
SCRIPT: Final = b"""
local call, words, sub = redis.call, struct.unpack, string.sub
local n, fixed, runs = #KEYS, ARGV[1] == '1', tonumber(ARGV[2])
local before = 2 + (runs > 0 and 2 * runs or n)
local rows = ARGV[before + 1]
local size = #rows / n
local olds = fixed and call('MGET', unpack(KEYS))
local changed = 0
local function landing(i)
  local old, new
  if fixed then
    old, new = olds[i], sub(rows, (i - 1) * size + 1, i * size)
  else
    old, new = call('GETRANGE', KEYS[i], 0, 24), ARGV[before + i]
    if old == sub(new, 1, 25) then old = call('GET', KEYS[i]) end
  end
  if old == new then return new end
  if old and #old >= 25 then
    local a, b, c, d = words('>I4I4I4I4', old, 10)
    local e, f, g, h = words('>I4I4I4I4', new, 10)
    if a > e or a == e and (b > f or b == f and (c > g or c == g and d > h)) then return end
  end
  changed = changed + 1
  return new
end
if runs == 0 then
  for i = 1, n do
    local new = landing(i)
    if new then call('SET', KEYS[i], new, 'PXAT', ARGV[2 + i]) end
  end
end
local i, known = 0, true
for run = 1, runs do
  local last, moment = tonumber(ARGV[1 + 2 * run]), ARGV[2 + 2 * run]
  local landed, m = {}, 0
  while i < last do
    i = i + 1
    local new = landing(i)
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
"""
