"""Commands of the Redis protocol, put together for whole columns at once.

Format: https://redis.io/docs/latest/develop/reference/protocol-spec/ (arrays of bulk strings).
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha1
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace_core.features.definition.definition import Definition
from millrace_core.features.history.history import Rows
from millrace_core.features.online import generation, key_columns, row_encoder
from millrace_core.features.online.generation import NO_GENERATION, FullPass, Generation, stamp
from millrace_core.features.online.row import Layout
from millrace_core.features.types.arrow_numpy import Numbers, integers
from millrace_data.online.resp import Command
from millrace_data.online.slots import slot
from millrace_data.online.write_rule import SCRIPT

# Keys per call of the write rule. More would gain nothing and hold up the store's other clients.
KEYS_AT_ONCE: Final = 100
# Bytes of rows per call, unless one row alone is larger.
BYTES_AT_ONCE: Final = 1 << 20
# A key may outlive its row by this part of the ttl, so that many rows expire together and go by one call.
_OUTLIVES: Final = 1000
# By which servers know the script that they were given by SCRIPT LOAD.
SCRIPT_HASH: Final = sha1(SCRIPT, usedforsecurity=False).hexdigest().encode()


class WriteContext(NamedTuple):
    """Who writes: ``now`` is the present moment (microseconds), ``generation`` the view's, ``full_pass`` the pass that
    the rows are written by."""

    now: int
    generation: Generation = NO_GENERATION
    pushed: bool = False
    full_pass: FullPass | None = None

    @property
    def stamp(self) -> int:
        """Of the rows."""
        return stamp(self.generation.number, pushed=self.pushed)


class _Values(NamedTuple):
    """Values of a column, one after another; ``ends[i]`` is where value i begins."""

    data: memoryview
    ends: Numbers

    def between(self, first: int, last: int) -> memoryview:
        return self.data[self.ends[first] : self.ends[last]]


def row_commands(
    definition: Definition, rows: Rows, context: WriteContext, *, by_slot: bool = False, loaded: bool = False
) -> Iterator[Command]:
    """Calls of the write rule for rows of a view, at most one row per entity; flags as ``write_rows`` has them."""
    layout = Layout.of(definition)
    columns = {key.name: column for key, column in zip(definition.join_keys, rows.keys, strict=True)}
    return write_rows(
        key_columns.store_keys(definition, columns),
        row_encoder.encode(layout, rows.event_times, rows.created_times, rows.features, context.stamp),
        expiries(definition, rows),
        context,
        fixed=not layout.has_variable,
        by_slot=by_slot,
        loaded=loaded,
    )


def write_rows(
    keys: pa.Array,
    rows: pa.Array,
    moments: Numbers | None,
    context: WriteContext,
    *,
    fixed: bool,
    by_slot: bool = False,
    loaded: bool = False,
) -> Iterator[Command]:
    """Calls of the write rule for columns of keys and rows; in their order, or in that of their slots and moments.

    Args:
        keys: store keys (binary).
        rows: packed rows (binary).
        moments: when each row expires, int64 milliseconds since 1970; None where they do not.
        context: who writes; its stamp is in the rows already.
        fixed: whether rows have no variable section, so all have one size.
        by_slot: whether the keys of one call must be of one slot, as clusters want it.
        loaded: whether the servers were given the script, so that calls need not carry it.
    """
    # Rows that expire together are written together, if there are such.
    together = moments is not None and 2 * len(np.unique(moments)) <= len(moments)
    slots = np.zeros(len(keys), np.int64)
    if by_slot:
        slots = np.fromiter((slot(key.as_py()) for key in keys), np.int64, len(keys))
    if by_slot or together:
        order = np.lexsort((moments, slots) if together else (slots,))  # type: ignore[arg-type]
        slots, keys, rows = slots[order], keys.take(order), rows.take(order)
        moments = moments if moments is None else moments[order]
    all_keys, all_rows = _bulks(keys), _plain(rows) if fixed else _bulks(rows)
    each = None
    if moments is not None and not together:
        each = _bulks(pa.array(moments).cast(pa.string()).cast(pa.binary()))
    script, head = _script(loaded=loaded), _arguments(context, fixed=fixed)
    for first, last in _spans(len(keys), all_rows.ends, np.flatnonzero(np.diff(slots)) + 1):
        count = last - first
        runs = [] if each is not None else _runs(None if moments is None else moments[first:last], count)
        written = all_rows.between(first, last)
        parts: list[bytes | memoryview] = [
            b"*%d\r\n" % (7 + count + (2 * len(runs) or count) + (1 if fixed else count)),
            script,
            _bulk(b"%d" % count),
            all_keys.between(first, last),
            head,
            _bulk(b"%d" % len(runs)),
            *(_bulk(b"%d" % end) + _bulk(moment) for end, moment in runs),
            *(() if each is None else (each.between(first, last),)),
            *((b"$%d\r\n" % len(written), written, b"\r\n") if fixed else (written,)),
        ]
        yield Command(b"".join(parts), count, int(slots[first]))


def _script(*, loaded: bool) -> bytes:
    """The call's name and the script, as bulk strings."""
    return b"$7\r\nEVALSHA\r\n" + _bulk(SCRIPT_HASH) if loaded else b"$4\r\nEVAL\r\n" + _bulk(SCRIPT)


def _arguments(context: WriteContext, *, fixed: bool) -> bytes:
    """The first arguments of the script, which all calls have in common, as bulk strings."""
    moment = generation.packable(context.now).to_bytes(8, "big") + context.generation.doubtful.to_bytes(4, "big")
    full_pass = b"" if context.full_pass is None else context.full_pass.packed()
    return _bulk(b"1" if fixed else b"0") + _bulk(moment) + _bulk(full_pass)


def _runs(moments: Numbers | None, count: int) -> list[tuple[int, bytes]]:
    """Where each run of rows that expire together ends, and when they do; empty where they do not."""
    if moments is None:
        return [(count, b"")]
    ends = [*(np.flatnonzero(np.diff(moments)) + 1).tolist(), count]
    return [(end, b"%d" % moments[end - 1]) for end in ends]


def _spans(count: int, ends: np.ndarray[Any, Any], borders: np.ndarray[Any, Any]) -> Iterator[tuple[int, int]]:
    """Which rows go into each call: as many as may, and none from beyond a border."""
    first = 0
    for border in [*borders.tolist(), count]:
        while first < border:
            fitting = int(np.searchsorted(ends, ends[first] + BYTES_AT_ONCE)) - 1
            last = min(first + KEYS_AT_ONCE, border, max(first + 1, fitting))
            yield first, last
            first = last


def _bulk(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)


def _bulks(values: pa.Array) -> _Values:
    """As bulk strings."""
    lengths = pc.binary_length(values)
    head, rest = pa.scalar(b"$", pa.binary()), pa.scalar(b"\r\n", pa.binary())
    sizes = pc.min_max(lengths)
    if sizes["min"].is_valid and sizes["min"] == sizes["max"]:
        head = pa.scalar(b"$%d" % sizes["min"].as_py(), pa.binary())
        pieces = [head, values]
    else:
        pieces = [pc.binary_join_element_wise(head, lengths.cast(pa.string()).cast(pa.binary()), _NOTHING), values]
    return _plain(pc.binary_join_element_wise(*pieces, _NOTHING, rest))


def _plain(values: pa.Array) -> _Values:
    _, offsets, data = values.buffers()
    ends = np.frombuffer(offsets, np.int32, len(values) + 1, values.offset * 4).astype(np.int64)
    return _Values(memoryview(data) if data is not None else memoryview(b""), ends)


_NOTHING: Final = pa.scalar(b"", pa.binary())


def expiries(definition: Definition, rows: Rows) -> Numbers | None:
    """When the keys of rows go (int64 milliseconds since 1970).

    Readers check the age of a row themselves, so its key may outlive it by less than a thousandth of the ttl. Of a
    snapshot readers know no more than whether its key is there, so that goes in its very millisecond.
    """
    if rows.expires is not None:
        return moments(rows.expires, 0)
    if definition.ttl is None:
        return None
    step = max(definition.ttl // (_OUTLIVES * 1000), 1)
    return -(-moments(rows.event_times, definition.ttl) // step) * step


def moments(event_times: pa.Array, ttl: int) -> Numbers:
    """When rows of these event times (microseconds) expire: the first millisecond at which their age exceeds ``ttl``.

    The store removes a key only once its clock is past the moment; the reader's own check is exact.
    """
    last = np.clip(integers(event_times), -(2**61), 2**61) + ttl
    return np.maximum(last // 1000 + 1, 1)
