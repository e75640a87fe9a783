"""The one door out: every connection that a user's object asks for, and every local file, is checked here.

What is resolved is checked, and what was checked is connected to: no name is asked for a second time in between, so
that it cannot mean another address then. Libraries that connect by themselves are led through ``passage``.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from millrace_core.base import destinations
from millrace_core.base.addresses import canonical, parsed
from millrace_core.base.destinations import Destination, Outgoing
from millrace_core.base.errors import RejectError, RetryError
from millrace_core.base.shown import shown
from millrace_core.base.timeouts import CONNECT_SECONDS

if TYPE_CHECKING:
    from millrace_data.objects.passage import Passage

# All addresses of a host for a port, as texts.
Resolve = Callable[[str, int], Sequence[str]]

REASON: Final = "NotAllowed"
PORTS: Final = {"http": 80, "https": 443}


def resolve(host: str, port: int) -> Sequence[str]:
    """What the machine's own resolver knows.

    Raises:
        OSError: there is no such host, or nobody who knows.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


@dataclass(frozen=True)
class Door:
    """Where this process may go for others.

    Args:
        outgoing: the settings of the rule.
        resolve: finds the addresses of a host.
    """

    outgoing: Outgoing = destinations.OPEN
    resolve: Resolve = resolve

    @property
    def guarded(self) -> bool:
        """Whether anything is refused but hosts that libraries read differently."""
        return not self.outgoing.open

    def require(self, destination: Destination, field: str) -> None:
        """Refuses what is refused whatever it resolves to: of an open door a host that libraries read differently.

        Raises:
            RejectError: it may not be connected to.
        """
        self._require(destination, None, field)

    def addresses(self, destination: Destination, field: str) -> Sequence[str]:
        """The addresses of a host, all of which are allowed.

        Args:
            field: of the object, where the host came from.

        Raises:
            RejectError: it may not be connected to; says which setting allows it.
            RetryError: it has no address now.
        """
        self._require(destination, None, field)
        _, host, port = destination
        name = canonical(host) or host
        if parsed(name) is not None:
            return (name,)
        try:
            found = self.resolve(name, port)
        except OSError as error:
            raise RetryError(
                f"the host {name} has no address",
                hint="Check the name, and that it can be resolved here",
                field=field,
                reason="Unreachable",
            ) from error
        self._require(destination, found, field)
        return found

    def connect(self, destination: Destination, field: str, seconds: float = CONNECT_SECONDS) -> socket.socket:
        """A connection to the first allowed address that takes one.

        Raises:
            RejectError, RetryError: as ``addresses``. OSError: none takes one.
        """
        failed: OSError | None = None
        for address in self.addresses(destination, field):
            try:
                return socket.create_connection((address, destination.port), seconds)
            except OSError as error:
                failed = error
        raise failed or OSError(f"{destination.host} has no address")

    def file(self, path: str, field: str) -> str:
        """The real path of a local file or folder, which is within the folders that are allowed.

        Raises:
            RejectError: it is not.
        """
        if not self.guarded:
            return path
        real = os.path.realpath(path)
        if any(Path(real).is_relative_to(os.path.realpath(folder)) for folder in self.outgoing.folders):
            return real
        within = ", ".join(self.outgoing.folders) or "none"
        raise RejectError(
            f"{shown(path, 200)} is not within a folder whose files may be read (allowed: {within})",
            hint=f"Use s3:// or https://; or have it mounted, and its folder added to {destinations.SETTING}.folders "
            "(values of the Helm chart)",
            field=field,
            reason=REASON,
        )

    @cached_property
    def passage(self) -> Passage:
        """The way out for libraries that connect by themselves. It lives as long as the process."""
        from millrace_data.objects.passage import Passage  # noqa: PLC0415 most processes have no need of it

        return Passage(lambda destination: self.connect(destination, ""))

    def _require(self, destination: Destination, addresses: Sequence[str] | None, field: str) -> None:
        refusal = destinations.refusal(self.outgoing, destination, addresses)
        if refusal is not None:
            raise RejectError(refusal.sentence, hint=refusal.hint, field=field, reason=REASON)


OPEN: Final = Door()
