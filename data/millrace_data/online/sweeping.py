"""The sweep of a pass: takes away the rows of a view that are void and that the pass has not replaced.

Keys are scanned in steps, so the server serves others meanwhile, and memory does not grow with the view. What becomes
of a key is decided in the store (``write_rule.SWEEP``), so rows that come meanwhile stay. Doing it again is harmless.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha1
from itertools import groupby
from typing import Any, Final

from millrace_core.features.online import keys
from millrace_core.features.online.generation import FullPass
from millrace_data.online.slots import slot
from millrace_data.online.store import Store, pages
from millrace_data.online.write_rule import SWEEP

# Keys per call of the script, which holds up the store's other clients.
_AT_ONCE: Final = 200
_HASH: Final = sha1(SWEEP, usedforsecurity=False).hexdigest()


def sweep(store: Store, project: str, view: str, full_pass: FullPass, stays: bytes) -> int:
    """Sweeps the rows of a view.

    Args:
        full_pass: what was before it goes.
        stays: the schema id whose rows stay all the same; empty: none.

    Returns:
        How many keys are gone.

    Raises:
        RetryError: the store does not answer. ReportError: it refuses.
    """
    gone, arguments = 0, [full_pass.packed(), stays]
    with store.explained():
        while True:
            masters = store.servers.masters()
            for server in masters.values():
                server.script_load(SWEEP)
                for page in pages(server, keys.prefix(project, view) + b"*"):
                    gone += _swept(store, server, page, arguments)
            store.servers.look_again()
            # Keys that moved to a server that was scanned already are met once more.
            if store.servers.masters().keys() == masters.keys():
                return gone


def _swept(store: Store, server: Any, page: list[bytes], arguments: list[bytes]) -> int:
    calls = list(_calls(page, by_slot=store.where.kind == "cluster"))
    pipeline = server.pipeline(transaction=False)
    for names in calls:
        pipeline.execute_command("EVALSHA", _HASH, len(names), *names, *arguments)
    done: list[Any] = pipeline.execute(raise_on_error=False) if calls else []
    gone = 0
    for names, answer in zip(calls, done, strict=True):
        if not isinstance(answer, Exception):
            gone += int(answer)
        elif store.where.kind == "cluster":  # some have moved meanwhile: each is swept where it is now
            gone += sum(int(store.client.eval(SWEEP, 1, name, *arguments)) for name in names)
        else:
            raise answer
    return gone


def _calls(page: list[bytes], *, by_slot: bool) -> Iterator[list[bytes]]:
    """The keys of a page, call by call; on a cluster a call has keys of one slot."""
    groups = [list(group) for _, group in groupby(sorted(page, key=slot), slot)] if by_slot else [page]
    for group in groups:
        for first in range(0, len(group), _AT_ONCE):
            yield group[first : first + _AT_ONCE]
