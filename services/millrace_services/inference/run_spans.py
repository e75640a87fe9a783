"""Spans of runs of the model and of the waits before them.

A run that several requests share stands in the trace of the first of them, with links to all; in the others' traces
stands a span of the same time that links to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from millrace_services.inference.runs import Done

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from millrace_services.web.spans import Spans


class RunSpans:
    """Records them once a run is over, so that nothing of it is paid for while requests wait."""

    def __init__(self, spans: Spans) -> None:
        self._spans = spans

    def current(self) -> Span | None:
        """The span of the request that the present task answers, where it is recorded."""
        return self._spans.current()

    def ran(self, done: Done, rows: int, members: Sequence[tuple[Span | None, float]]) -> None:
        """A run is over.

        Args:
            rows: of all its requests.
            members: span of each request, and when it came, by ``perf_counter``.
        """
        wanted = [(span, came) for span, came in members if span is not None]
        if not wanted:
            return
        attributes = {"millrace.batch.rows": rows, "millrace.batch.requests": len(members)}
        links = [span.get_span_context() for span, _ in wanted] if len(members) > 1 else []
        for span, came in wanted:
            self._spans.record(span, "queue", came, done.began)
            run = self._spans.record(span, "run", done.began, done.began + done.seconds, attributes, links=links)
            if span is wanted[0][0]:
                links = [run]
