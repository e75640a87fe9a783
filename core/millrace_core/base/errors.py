"""The one error root of Millrace.

Three kinds say what the caller should do: retry it (``RetryError``), reject the request or definition that
caused it (``RejectError``), or report it to a person (``ReportError``). Each carries a sentence that says what to do
next. Only ``services/millrace_services/web`` maps errors to HTTP statuses; only the operators map them to conditions.
"""

from __future__ import annotations

from typing import Final

from millrace_core.base.shown import cut

# What came from outside is in messages and field paths, so neither grows with it.
_MESSAGE: Final = 4000
_FIELD: Final = 300


class MillraceError(Exception):
    """Root of every error that Millrace raises on purpose.

    Args:
        message: what happened, what came, what was expected; one sentence, no trailing full stop.
        hint: what to do about it.
        field: the field of the definition or request at fault, as a dotted path such as ``spec.source.parquet.uri``.
        reason: a CamelCase constant for conditions and machine readers; the class's own ``reason`` by default.
    """

    reason = "Error"

    def __init__(self, message: str, *, hint: str = "", field: str = "", reason: str = "") -> None:
        message = cut(message, _MESSAGE)
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.field = cut(field, _FIELD)
        if reason:
            self.reason = reason

    def __str__(self) -> str:
        where = f"{self.field}: " if self.field else ""
        return f"{where}{self.advice()}"

    def advice(self) -> str:
        """The message with the hint. What this one quotes of others may end with a mark of its own."""
        end = "" if self.message.endswith(("?", "!")) else "."
        return f"{self.message.rstrip('.')}{end} {self.hint}" if self.hint else self.message

    def as_dict(self) -> dict[str, str]:
        """The error as job results and HTTP bodies carry it: reason, message (with the hint) and field."""
        return {"reason": self.reason, "message": self.advice(), "field": self.field}


class RetryError(MillraceError):
    """Something outside failed that may well work next time; try again after ``delay`` seconds."""

    reason = "Unavailable"

    def __init__(self, message: str, *, hint: str = "", field: str = "", reason: str = "", delay: float = 5.0) -> None:
        super().__init__(message, hint=hint, field=field, reason=reason)
        self.delay = delay


class SourceChangedError(RetryError):
    """A source is no longer what it was when it was opened, so what was read of it may be of two versions."""

    reason = "SourceChanged"

    def __init__(self, message: str, *, hint: str = "", field: str = "") -> None:
        hint = hint or "Run it again; write new files beside the old ones rather than over them"
        super().__init__(message, hint=hint, field=field)


class RejectError(MillraceError):
    """The input is wrong and will stay wrong until its author changes it."""

    reason = "Invalid"


class NotFoundError(RejectError):
    """The input names something that does not exist."""

    reason = "NotFound"


class TooLargeError(RejectError):
    """The input is larger than is accepted."""

    reason = "TooLarge"


class ReportError(MillraceError):
    """A fault that neither a retry nor a better request mends; a person has to look."""

    reason = "Internal"
