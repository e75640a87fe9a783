"""Some rows of a view, drawn at random, without reading the rest; and those that are later than a moment."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import Final

from millrace_core.features.offline.verify import StoredRow
from millrace_core.features.online import keys, stored_value
from millrace_data.online.store import Store

_SCAN: Final = 2_000
# A scan goes by the keys' hashes, which is as good as random: where a view has more keys, the first ones will do.
_PER_SAMPLE: Final = 100
_LEAST_SEEN: Final = 100_000
_AT_ONCE: Final = 1_000
_LOOKED_AT: Final = 1_000_000


def sample(store: Store, project: str, view: str, count: int, random: Random) -> list[StoredRow]:
    """At most ``count`` rows of a view; every key has the same chance where the view has fewer than 100,000 of them.

    Keys are scanned in steps, so the server serves others meanwhile.
    """
    drawn: list[bytes] = []
    enough = max(_LEAST_SEEN, _PER_SAMPLE * count)
    with store.explained():
        for seen, key in enumerate(islice(_keys(store, keys.prefix(project, view) + b"*"), enough)):
            if len(drawn) < count:
                drawn.append(key)
            elif (place := random.randrange(seen + 1)) < count:
                drawn[place] = key
    rows: list[bytes | None] = []
    for start in range(0, len(drawn), _AT_ONCE):
        rows += store.rows(drawn[start : start + _AT_ONCE])
    # A scan may meet a key twice, and a row may have expired meanwhile.
    present = {key: row for key, row in zip(drawn, rows, strict=True) if row is not None}
    return [StoredRow(key, row) for key, row in present.items()]


def later(store: Store, project: str, view: str, than: int) -> Iterator[StoredRow]:
    """The keys whose newest row is later than a moment, each once, among the first million keys of a view.

    Of values only the first bytes are read, so ``row`` is the part of it with the times.
    """
    met: set[bytes] = set()
    with store.explained():
        scan = islice(_keys(store, keys.prefix(project, view) + b"*"), _LOOKED_AT)
        while page := list(islice(scan, _AT_ONCE)):
            pipeline = store.client.pipeline(transaction=False)
            for key in page:
                pipeline.getrange(key, 0, stored_value.NEWEST_BYTES - 1)
            for key, head in zip(page, pipeline.execute(), strict=True):
                event = stored_value.newest_event_time(head)
                if event is not None and event > than and key not in met:
                    met.add(key)
                    yield StoredRow(key, head)


def _keys(store: Store, pattern: bytes) -> Iterator[bytes]:
    """Keys of all servers by turns, so that none of them has more than its share of the first ones."""
    scans: list[Iterator[bytes]] = [
        server.scan_iter(match=pattern, count=_SCAN) for server in store.servers.masters().values()
    ]
    while scans:
        for scan in tuple(scans):
            key = next(scan, None)
            if key is None:
                scans.remove(scan)
            else:
                yield key
