"""The store's write rule: of two rows of one entity the newer stays, decided in the store, atomically.

Newer is the greater (event time, created time), read from the row's header (``millrace.features.row``). At equal times
the row that comes later stays: it may have another schema, or be a correction in a source without created times. So
writers may run together, in any order and again, and no row is ever replaced by an older one.

``KEYS`` are row keys; ``ARGV`` are two flags, then one row per key, then, where rows expire, one moment per key. The
flags: ``1`` where old rows are small enough to be fetched whole and at once, and ``1`` where rows expire. The answer is
how many keys hold other bytes than before; the others had a newer row, or this very one.

Several keys at once need one slot, so on a cluster a call takes the rows of one entity.
"""

from __future__ import annotations

from typing import Final

# MSET and one fetch of all old rows cost a third of a call per key, and that is what the time of a run is spent on.
# Strings are never compared by order, which would depend on the server's locale.
SCRIPT: Final = b"""
local call, unpack_words = redis.call, struct.unpack
local n, small, expires = #KEYS, ARGV[1] == '1', ARGV[2] == '1'
local olds = small and call('MGET', unpack(KEYS)) or {}
local changed, pairs_ = 0, {}
for i = 1, n do
  local key, new = KEYS[i], ARGV[2 + i]
  local old = olds[i]
  if not small then
    old = call('GETRANGE', key, 0, 24)
    if old == '' then old = false end
  end
  local newer = not old
  local lands = newer
  if old and #old >= 25 then
    local a, b, c, d = unpack_words('>I4I4I4I4', old, 10)
    local e, f, g, h = unpack_words('>I4I4I4I4', new, 10)
    if e ~= a then newer = e > a
    elseif f ~= b then newer = f > b
    elseif g ~= c then newer = g > c
    else newer = h > d end
    local equal = e == a and f == b and g == c and h == d
    lands = newer or equal
    if equal then
      if not small then old = call('GET', key) end
      newer = old ~= new
    end
  elseif old then
    newer, lands = true, true
  end
  if newer then changed = changed + 1 end
  if lands then
    if expires then
      call('SET', key, new, 'PXAT', ARGV[2 + n + i])
    else
      pairs_[#pairs_ + 1] = key
      pairs_[#pairs_ + 1] = new
    end
  end
end
if #pairs_ > 0 then call('MSET', unpack(pairs_)) end
return changed
"""
