"""The value under a row's key: one row, or several of which a reader sees one.

Nearly always it is a packed row (``row``). It is several where one alone would not do:

- A row that was pushed is later than now, within the tolerance. It becomes visible when its time comes, and until then
  the row before it is the one to read. So both are there, and others that are later still.
- A row is older than the stored one, and that one is from before a full run (``generation``) that may yet take it away.

Then the value is the byte 3, and for each row, the newest first, its length (4 bytes, big-endian) and the row. Golden
bytes, of two rows of 30 bytes each: ``03 0000001e 02… 0000001e 02…``. The store's write rule makes these values, and
makes one row of them again as soon as one is enough.

A row of format 1, from before rows had stamps, is one whose stamp is 0.
"""

from __future__ import annotations

from typing import Final

from millrace_core.features.online.row import FORMAT, HEADER_BYTES, TIME_OFFSET, corrupt

SEVERAL: Final = 3
# More rows later than now are not kept of one entity.
MOST_LATER: Final = 100
_UNSTAMPED: Final = 1
_STAMP: Final = slice(25, 29)
_EVENT: Final = slice(9, 17)
_LENGTH: Final = 4
# So many of a value tell when its newest row happened.
NEWEST_BYTES: Final = 1 + _LENGTH + _EVENT.stop


def event_time(row: bytes) -> int:
    """Event time of a row, microseconds."""
    return int.from_bytes(row[_EVENT], "big") - TIME_OFFSET


def newest_event_time(head: bytes) -> int | None:
    """Event time of a value's newest row, from the value's first ``NEWEST_BYTES`` bytes; None where it is no row."""
    row = head[1 + _LENGTH :] if head[:1] == bytes([SEVERAL]) else head
    return event_time(row) if len(row) >= _EVENT.stop and row[0] in (_UNSTAMPED, FORMAT) else None


def rows(value: bytes) -> list[bytes]:
    """The rows of a value, the newest first, in the present format.

    Raises:
        ReportError: the bytes are no such value.
    """
    if value[:1] == bytes([SEVERAL]):
        return [_row(each) for each in _split(value)]
    return [_row(value)]


def visible(value: bytes, as_of: int) -> bytes:
    """The row of a value that is read at a moment: the newest that is not later; where all are, the least late.

    Raises:
        ReportError: the bytes are no such value.
    """
    if value[:1] == bytes([FORMAT]):
        return value
    found = rows(value)
    return next((row for row in found if event_time(row) <= as_of), found[-1])


def _split(value: bytes) -> list[bytes]:
    found, at = [], 1
    while at < len(value):
        end = at + _LENGTH + int.from_bytes(value[at : at + _LENGTH], "big")
        found.append(value[at + _LENGTH : end])
        at = end
    if at != len(value) or not found:
        raise corrupt(value)
    return found


def _row(value: bytes) -> bytes:
    if len(value) >= _STAMP.start and value[0] == _UNSTAMPED:
        value = bytes([FORMAT]) + value[1 : _STAMP.start] + bytes(4) + value[_STAMP.start :]
    if len(value) < HEADER_BYTES or value[0] != FORMAT:
        raise corrupt(value)
    return value
