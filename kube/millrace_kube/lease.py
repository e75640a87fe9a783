"""Leader election by a Lease: at most one process acts.

The protocol is client-go's: whoever writes its name into the Lease leads, and keeps on leading as long as it renews. It
stops by itself (the fence) before anybody else may take over: ``DEADLINE`` after its last renewal, while others wait
``DURATION``. Others measure that on their own clock from when they saw the Lease change, never by its ``renewTime``:
clocks need not agree. So after a crash the next one waits ``DURATION``, however long ago the crash was; only of a
process of its own machine and boot it knows at once that it has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import socket
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from millrace_core.base.errors import MillraceError, RejectError
from millrace_kube import errors
from millrace_kube.client import Client
from millrace_kube.resources import LEASES, Object
from millrace_kube.times import micro_stamp, now

_log = logging.getLogger(__name__)

DURATION: Final = 15.0
DEADLINE: Final = 10.0
RETRY: Final = 3.0
ANSWER: Final = 2 * RETRY
# Until the next try of a leader that could not renew: a request that got no answer leaves it no time for ``RETRY``.
_SOON: Final = 0.5


def elapsed() -> float:
    """Seconds that also count while the machine sleeps, unlike ``time.monotonic``."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class LeaderLease:
    """One candidate for the Lease.

    Args:
        client: a client without a fence.
        identity: this process; see ``identity``.
        is_dead: whether the process of an identity is known to have ended.
        clock: seconds by which validity and silence are measured; ``wall``: the time of day, as ``renewTime`` has it.
        duration: seconds of silence after which others take over; ``deadline``: after which this process stops leading;
            ``retry``: between tries; ``answer``: for the API server's answers to one try.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        identity: str,
        *,
        is_dead: Callable[[str], bool],
        clock: Callable[[], float] = elapsed,
        wall: Callable[[], datetime] = now,
        duration: float = DURATION,
        deadline: float = DEADLINE,
        retry: float = RETRY,
        answer: float = ANSWER,
    ) -> None:
        self._client = client
        self._place = (namespace, name)
        self._identity = identity
        self._is_dead = is_dead
        self._clock = clock
        self._wall = wall
        self._duration = duration
        self._deadline = deadline
        self._retry = retry
        self._answer = answer
        self._valid_until = float("-inf")
        self._may_be_ours = False  # A write of our name was sent; whether it took effect is another matter.
        self._seen: tuple[str, float] = ("", 0.0)
        self._trouble = ""

    @property
    def held(self) -> bool:
        """Whether this process leads now."""
        return self._clock() < self._valid_until

    def fence(self) -> None:
        """For ``Client``: raises where a write would not be this process's to make."""
        if not self.held:
            raise errors.LostLeadershipError("this process does not hold the Lease; nothing was written")

    async def acquire(self) -> None:
        """Returns once this process leads."""
        waiting = False
        while not await self._try():
            if not waiting:
                _log.info("waiting for the Lease %s/%s", *self._place)
            waiting = True
            await asyncio.sleep(self._retry)
        _log.info("leading: holds the Lease %s/%s as %s", *self._place, self._identity)

    async def keep(self) -> None:
        """Renews until leadership is lost, then returns at once."""
        with contextlib.suppress(TimeoutError):
            renewed = True
            while self.held:
                async with asyncio.timeout(self._valid_until - self._clock()):
                    await asyncio.sleep(self._retry if renewed else min(_SOON, self._retry))
                    renewed = await self._try()

    async def release(self) -> None:
        """Lets go, so that the next one need not wait; also of a Lease whose writing was cut short. Best effort."""
        ours, self._may_be_ours, self._valid_until = self._may_be_ours, False, float("-inf")
        if ours:
            lease = await self._client.get(LEASES, *self._place)
            if lease and lease["spec"].get("holderIdentity") == self._identity:
                free = {key: value for key, value in lease["spec"].items() if key != "holderIdentity"}
                await self._client.replace(LEASES, {**lease, "spec": free})

    async def _try(self) -> bool:
        """One attempt to acquire or renew; False, and perhaps no longer held, where it did not succeed."""
        began = self._clock()
        try:
            async with asyncio.timeout(self._answer):
                lease = await self._client.get(LEASES, *self._place)
                if lease is not None and not self._is_free(lease):
                    self._may_be_ours, self._valid_until = False, float("-inf")
                    return False
                self._may_be_ours = True
                write = self._client.create if lease is None else self._client.replace
                await write(LEASES, self._written(lease))
        except RejectError:
            raise
        except (MillraceError, TimeoutError) as error:
            trouble = str(error) or "no answer in time"
            if trouble != self._trouble:
                _log.warning("cannot write the Lease, trying on: %s", trouble)
            self._trouble = trouble
            return False
        self._trouble = ""
        self._valid_until = began + self._deadline
        return True

    def _is_free(self, lease: Object) -> bool:
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder in ("", self._identity):
            return True
        if self._valid_until > float("-inf"):
            return False  # it was ours a moment ago, and somebody took it
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen[0]:
            self._seen = (version, self._clock())
        duration = float(spec.get("leaseDurationSeconds") or self._duration)
        return self._clock() - self._seen[1] > duration or self._is_dead(holder)

    def _written(self, lease: Object | None) -> Object:
        before = (lease or {}).get("spec") or {}
        renewed = micro_stamp(self._wall())
        mine = before.get("holderIdentity") == self._identity
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": math.ceil(self._duration),
            "acquireTime": before.get("acquireTime", renewed) if mine else renewed,
            "renewTime": renewed,
            "leaseTransitions": int(before.get("leaseTransitions") or 0) + (0 if mine or lease is None else 1),
        }
        if lease is not None:
            return {**lease, "spec": spec}
        metadata = {"namespace": self._place[0], "name": self._place[1]}
        return {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec}


def identity(pid: int | None = None) -> str:
    """``host_boot.pid-namespace.pid.start``: one process, so that others of its machine can tell when it has ended.

    Raises:
        OSError: there is no such process.
    """
    pid = os.getpid() if pid is None else pid
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
    space = Path("/proc/self/ns/pid").stat().st_ino
    # stat(5): field 3 is the state and 22 the start in ticks since boot; the name in parentheses may hold blanks.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    if fields[0] in "ZX":
        raise ProcessLookupError(pid)
    return f"{socket.gethostname()}_{boot}.{space}.{pid}.{fields[19]}"


def is_dead(holder: str) -> bool:
    """Whether ``holder`` is a process of this very machine and boot that runs no more. In doubt: no."""
    try:
        host, _, rest = holder.rpartition("_")
        boot, space, pid, _started = rest.split(".")
        mine = identity().rpartition("_")
        if (host, boot, space) != (mine[0], *mine[2].split(".")[:2]):
            return False
    except (OSError, ValueError):
        return False
    try:
        return identity(int(pid)) != holder
    except (OSError, ValueError):
        return True
