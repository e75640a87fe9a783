"""What the connections of one server share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from millrace_http.door import Door
from millrace_http.limits import Limits


@dataclass
class Guard:
    """What the connections of one server share.

    Args:
        limits: of this server.
        probes: paths that are answered even where there are too many connections.
        refused: told of each refusal's status.
    """

    limits: Limits = field(default_factory=Limits)
    probes: frozenset[bytes] = frozenset({b"/health/live", b"/health/ready"})
    refused: Callable[[int], None] = lambda _: None

    def __post_init__(self) -> None:
        self.door = Door(self.limits)

    def fit_files(self) -> None:
        """Has no more connections than the process may have files; for a server that is about to listen."""
        self.limits = self.limits.within_files()
        self.door = Door(self.limits)
