"""Structured logs: one JSON object per line on stderr, with the trace of the request it belongs to."""

from __future__ import annotations

import logging
import sys
import traceback
from datetime import UTC, datetime

import orjson

from millrace_services.web import trace

# What a service runs of ours.
_OWN = ("millrace_core", "millrace_data", "millrace_services")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonFormatter(logging.Formatter):
    """``{"time", "level", "logger", "message", "trace_id", "span_id", "request_id", …extra}`` on one line.

    The names of the trace's fields are OpenTelemetry's for logs that are not OTLP:
    https://opentelemetry.io/docs/specs/otel/compatibility/logging_trace_context/
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if trace.active():
            now = trace.current()
            line |= {"trace_id": now.trace_id, "span_id": now.span_id, "request_id": now.request_id}
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = "".join(traceback.format_exception(record.exc_info[1]))
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def configure(level: str) -> None:
    """Sends every logger's records to stderr as JSON; the chatty ones of libraries only from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for package in _OWN:
        logging.getLogger(package).setLevel(level)
