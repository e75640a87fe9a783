"""How much of what was sent may be in work at once, so that memory stays bounded however much comes."""

from __future__ import annotations

from millrace_services.web.errors import OverloadedError


class Admission:
    """Counts bytes of bodies from when they come until they are answered.

    Args:
        most: bytes at once; a single body that is larger goes in where nothing else is.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.taken = 0

    def enter(self, size: int, own: int = 0) -> None:
        """Takes room, for what already has ``own`` bytes of it. Raises ``OverloadedError`` where there is none."""
        if self.taken > own and self.taken + size > self._most:
            raise OverloadedError(
                f"{self.taken} bytes of requests are in work and {self._most} may be",
                hint="Send it again in a second, or to more gateways",
                delay=1,
            )
        self.taken += size

    def leave(self, size: int) -> None:
        """Gives room back."""
        self.taken -= size
