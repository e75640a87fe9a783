"""What the API server refused of several writes of one turn, while the others go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from millrace_core.base.errors import MillraceError, RejectError
from millrace_kube.errors import ForbiddenError

# How soon to try again what was refused: no watch tells that a quota, a webhook or a role has changed.
REFUSED_SECONDS: Final = 30.0


class Refusals:
    """Use ``noted()`` around each write that others do not depend on.

    Attributes:
        first: the first refusal, for a condition; None: nothing was refused.
    """

    def __init__(self) -> None:
        self.first: MillraceError | None = None

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Ends its block at a refusal and notes it. What a retry alone mends (no answer, a conflict) is raised."""
        try:
            yield
        except (RejectError, ForbiddenError) as error:
            self.first = self.first or error
