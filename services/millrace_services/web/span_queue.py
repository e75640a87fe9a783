"""The bounded queue between spans that have ended and the collector. Imports OpenTelemetry's SDK."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult


class SpanQueue(BatchSpanProcessor):
    """Takes spans from one thread, and lets the exporter send them in another.

    The SDK's own queue drops, too, and only says so in a log; here nothing comes to it that has no room.

    Args:
        most: spans that may wait or be on their way.
        batch: spans that are sent together; at most as many.
    """

    def __init__(self, exporter: SpanExporter, most: int, batch: int) -> None:
        self._most = most
        self._counted = _CountedExporter(exporter)
        self._taken = self._dropped = 0
        super().__init__(self._counted, most, max_export_batch_size=batch)

    def on_end(self, span: ReadableSpan) -> None:
        """Takes a span that ended; never waits."""
        context = span.context
        if context is None or not context.trace_flags.sampled:
            return
        sent, failed = self._counted.sent, self._counted.failed
        if self._taken - sent - failed >= self._most:
            self._dropped += 1
            return
        self._taken += 1
        super().on_end(span)

    def outcomes(self) -> Mapping[str, int]:
        """How many spans were ``sent``, ``dropped`` and ``failed``."""
        return {"sent": self._counted.sent, "dropped": self._dropped, "failed": self._counted.failed}

    def give_up(self) -> None:
        """Ends what the exporter is still trying."""
        self._counted.shutdown()


class _CountedExporter(SpanExporter):
    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.sent = self.failed = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            if result is SpanExportResult.SUCCESS:
                self.sent += len(spans)
            else:
                self.failed += len(spans)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()
