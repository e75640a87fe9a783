"""Short texts that mean something: cron lines, durations, quantities, times, addresses, references, commands, paths.

Each parser gets each text, so that a form which is one parser's is another's odd input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from millrace_core.api import command, feature_reference
from millrace_core.base import addresses, cron, destinations, duration, go_duration, quantities, re2, timestamps
from millrace_core.base.errors import MillraceError
from millrace_core.features.online import store_url
from millrace_core.schema import formats
from millrace_local.apiserver import jsonpath, selectors
from millrace_local.mesh import istio
from millrace_operators.experiment import command as experiment_command
from millrace_operators.featureview import command as view_command

_NOW: Final = datetime(2026, 2, 28, 23, 59, 59, 999999, tzinfo=UTC)
_OBJECT: Final[dict[str, Any]] = {
    "a": {"b": [{"c.d": 1}, {"type": "Ready", "status": "True"}]},
    "metadata": {"name": "x"},
}


_CLUSTER: Final = destinations.Outgoing()


def _cron(text: str) -> None:
    line = cron.parse(text, field="spec.schedule")
    after = line.after(_NOW)
    if after is not None:
        assert after > _NOW
    cron.forwards(text)


def _duration(text: str) -> None:
    assert duration.microseconds(text) == round(duration.seconds(text) * 1_000_000) or duration.seconds(text) > 1e9


def _time(text: str) -> None:
    moment = timestamps.parse(text)
    assert timestamps.parse(timestamps.render(moment)) == moment


def _destination(text: str) -> None:
    destination = destinations.Destination("https", text, 443)
    assert destinations.refusal(_CLUSTER, destination, ["127.0.0.1"]), text
    destinations.refusal(_CLUSTER, destination, [text])
    addresses.canonical(text)


_PARSERS: Final[Mapping[str, Callable[[str], object]]] = {
    "cron": _cron,
    "time zone": cron.time_zone,
    "duration": _duration,
    "Go's duration": go_duration.parse_duration,
    "Istio's duration": lambda text: istio.seconds(text, "field"),
    "quantity": quantities.quantity,
    "time": _time,
    "date": timestamps.is_date,
    "store": store_url.parse,
    "reference": lambda text: feature_reference.parse(text, field="features[0]"),
    "command": lambda text: command.parse(text, "usage"),
    "command of an experiment": experiment_command.parse,
    "command of a view": view_command.parse,
    "labels": lambda text: selectors.label_selector(text)({"a": "1", "app": "x"}),
    "fields": lambda text: selectors.field_selector(text, ("spec.nodeName",)),
    "path": lambda text: jsonpath.find(_OBJECT, text),
    "pattern": re2.compile_pattern,
    "destination": _destination,
}
_REFUSALS: Final = {"quantity": (ValueError,), "pattern": (re2.PatternError,)}
_LONGEST: Final = 5000
_FORMATS: Final = (
    "date",
    "date-time",
    "duration",
    "uri",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "uuid",
    "email",
    "byte",
    "isbn",
)
SEEDS: Final = [
    text.encode()
    for text in (
        "*/15 0-6,9 1 JAN-MAR MON#2", "@daily", "TZ=Europe/Berlin 0 0 * * *", "0 0 31 2 *", "Europe/Berlin",
        "1w2d3h", "30s", "1.5h2m", "-1h30m", "500m", "2Gi", "1e3", "0.1", "12E",
        "2026-01-31T00:00:00Z", "2026-01-31T00:00:00.123456+02:00", "2026-02-28",
        "redis://user:p%40ss@h:6379/0?timeout=1", "redis+sentinel://a:1,b:2/name/0", "rediss+cluster://[::1]:7000",
        "stats:amount", "my-view__x:y", " pairs as p ( b = y , a=x ) : score ", "7:materialize 2026-01-01T00:00:00Z 2026-01-02T00:00:00Z", "8:promote v2", "9:pause",
        "app in (a, b),!x,y!=z,n>1", "metadata.name=a,spec.nodeName!=b", ".a.b[0]['c.d']", "{.a.b[?(@.type==\"Ready\")].status}",
        "^(a|b)+[[:alpha:]]{2,5}(?i:x)$", "127.0.0.1", "::ffff:10.0.0.1", "0x7f.1", "xn--bcher-kva.example", "/a/../b",
    )
]  # fmt: skip


def parse(body: bytes) -> None:
    """Gives a text to each parser; what one refuses, it says shortly."""
    text = body.decode(errors="replace")[:6000]
    for name, parser in _PARSERS.items():
        try:
            parser(text)
        except (MillraceError, *_REFUSALS.get(name, ())) as error:
            # Go's words for a pattern quote all of it.
            assert len(str(error)) < _LONGEST or name == "pattern", (name, len(str(error)))  # noqa: PT017
    for name in _FORMATS:
        if (has := formats.string_format(name)) is not None:
            has(text)
