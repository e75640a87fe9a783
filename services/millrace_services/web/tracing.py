"""Whether a service makes spans, and where it sends them. Where no endpoint is set nothing of it is imported.

OpenTelemetry's own variables say it: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Final

from millrace_core.base.errors import RejectError
from millrace_services.web.trace import Attributes

if TYPE_CHECKING:
    from millrace_services.web.metrics import Metrics
    from millrace_services.web.spans import Spans

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HTTP: Final = "http/protobuf"
_NO_SPAN: Final[AbstractContextManager[None]] = nullcontext()


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Whether an endpoint is set, and nothing switches traces off.

    Raises:
        RejectError: they are wanted in a form that this process does not speak.
    """
    exporter = environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    off = exporter == "none" or environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if off or not any(environ.get(name) for name in _ENDPOINTS):
        return False
    if exporter != "otlp":
        raise RejectError(
            f"traces are sent by otlp, {exporter!r} came",
            hint="Leave it out, or say none",
            field="OTEL_TRACES_EXPORTER",
        )
    name = next((name for name in _PROTOCOLS if environ.get(name)), _PROTOCOLS[0])
    if (protocol := environ.get(name) or _HTTP) != _HTTP:
        raise RejectError(
            f"traces are sent by {_HTTP}, {protocol!r} came",
            hint=f"Leave it out, and name the collector's port for {_HTTP}, which is 4318 by custom",
            field=name,
        )
    return True


def opened(environ: Mapping[str, str], service: str, resource: Attributes, metrics: Metrics) -> Spans | None:
    """The spans of a service, sent where ``environ``, which is the process's own, says; None: nobody wants them.

    Args:
        service: its name, where ``OTEL_SERVICE_NAME`` says no other.
        resource: what holds for all spans.

    Raises:
        RejectError: the variables cannot be followed, or the library is not installed.
    """
    if not is_wanted(environ):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        from millrace_services.web.spans import Spans  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise RejectError(
            "traces need the libraries of the extra tracing",
            hint="pip install 'millrace[tracing]', or unset the variable",
            field=next(name for name in _ENDPOINTS if environ.get(name)),
        ) from error
    most = _count(environ, "OTEL_BSP_MAX_QUEUE_SIZE", 2048)
    batch = _count(environ, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)
    return Spans(OTLPSpanExporter(), service, resource, metrics, most, min(most, batch))


def _count(environ: Mapping[str, str], name: str, default: int) -> int:
    value = environ.get(name) or str(default)
    if not value.isdecimal() or not int(value):
        raise RejectError(f"{value!r} came, a number from 1 is expected", field=name)
    return int(value)


def no_span(_name: str, _attributes: Attributes | None = None) -> AbstractContextManager[None]:
    """In place of ``Spans.child`` where nobody wants spans."""
    return _NO_SPAN
