"""What keeps the layouts in a view's meta key (``keys.META_*``): one step in the store, whoever else writes."""

from __future__ import annotations

from typing import Final

import orjson

from millrace_core.features.online import keys
from millrace_core.features.online.generation import TOLERANCE
from millrace_core.features.online.row import Layout

# Layouts that a view remembers. Rows of a layout that was announced so many definitions ago count as not found.
LAYOUTS_KEPT: Final = 64

# Puts a layout at the end of the list of those announced (16 hex digits each), and forgets the oldest beyond the
# bound. Notes the greatest tolerance of pushes, by which a pass knows which later rows are rightly there. Answers the
# view's generation, and which rows are doubtful, 0 where none has begun.
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
redis.call('HSET', KEYS[1], 'layout:' .. ARGV[1], ARGV[2], 'layouts', table.concat(kept, ' '))
local known = redis.call('HMGET', KEYS[1], 'generation', 'doubtful', 'tolerance')
if tonumber(ARGV[4]) > tonumber(known[3] or ARGV[5]) then redis.call('HSET', KEYS[1], 'tolerance', ARGV[4]) end
return {tonumber(known[1] or '0'), tonumber(known[2] or '0')}
"""


def announcement(layout: Layout, tolerance: int = TOLERANCE) -> tuple[bytes, ...]:
    """The arguments of ``ANNOUNCE`` for a layout, and for how much later than now its rows may be (microseconds)."""
    numbers = (LAYOUTS_KEPT, tolerance, TOLERANCE)
    return layout.schema_id.hex().encode(), orjson.dumps(layout.as_dict()), *(b"%d" % each for each in numbers)


def key(project: str, view: str) -> bytes:
    """The key that the script takes."""
    return keys.meta(project, view)
