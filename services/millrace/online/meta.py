"""Scripts that keep a view's meta key (``keys.META_*``): each one step in the store, whoever else writes."""

from __future__ import annotations

from typing import Final

import orjson

from millrace.features import keys
from millrace.features.row import Layout

# Layouts that a view remembers. Rows of a layout that was announced so many definitions ago count as not found.
LAYOUTS_KEPT: Final = 64

# Sets the watermark where it is later than the present one or the present one is of another schema.
ADVANCE: Final = b"""
local schema, present = unpack(redis.call('HMGET', KEYS[1], 'schema', 'watermark'))
if schema ~= ARGV[1] or not present or tonumber(present) < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'schema', ARGV[1], 'watermark', ARGV[2])
end
"""

# Puts a layout at the end of the list of those announced (16 hex digits each), and forgets the oldest beyond the bound.
ANNOUNCE: Final = b"""
local list = redis.call('HGET', KEYS[1], 'layouts') or ''
local kept = {}
for id in string.gmatch(list, '%x+') do
  if id ~= ARGV[1] then kept[#kept + 1] = id end
end
kept[#kept + 1] = ARGV[1]
while #kept > tonumber(ARGV[3]) do
  redis.call('HDEL', KEYS[1], 'layout:' .. table.remove(kept, 1))
end
return redis.call('HSET', KEYS[1], 'layout:' .. ARGV[1], ARGV[2], 'layouts', table.concat(kept, ' '))
"""


def announcement(layout: Layout) -> tuple[bytes, bytes, bytes]:
    """The arguments of ``ANNOUNCE`` for a layout."""
    return layout.schema_id.hex().encode(), orjson.dumps(layout.as_dict()), b"%d" % LAYOUTS_KEPT


def key(project: str, view: str) -> bytes:
    """The key that both scripts take."""
    return keys.meta(project, view)
