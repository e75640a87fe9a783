"""Values that are easily lost on the way, pushed and read back over HTTP."""

from __future__ import annotations

import os
from base64 import b64encode
from typing import Any

from tests.builders import feature_view
from tests.running_service import RunningService
from tests.services.gateway.conftest import Publish, Store
from tests.services.gateway.test_feature_reads import ask, columns, published
from tests.services.gateway.test_push import push

KINDS = ("float64", "float32", "int64", "string", "bytes", "timestamp", "bool")
WIDE = (
    feature_view("wide")
    .having("spec.entities", [{"name": "text", "type": "string"}, {"name": "raw", "type": "bytes"}])
    .having("spec.features", [{"name": f"a_{kind}", "type": kind} for kind in KINDS])
)
KEYS = [
    ("", b""),
    ("{x}|\\y", b"\x00\xff{}|\\"),
    ("é\u0000\U0001f600 \r\n$5", bytes(range(256))),
    ("k" * 10_000, os.urandom(1000)),
]


def test_what_is_pushed_is_read_back_unchanged(gateway: RunningService, publish: Publish, store: Store) -> None:
    publish(published(WIDE.build(), "rides"))
    store.client.flushall()
    count = len(KEYS)
    df: dict[str, list[Any]] = {
        "text": [text for text, _ in KEYS],
        "raw": [b64encode(raw).decode() for _, raw in KEYS],
        "event_timestamp": ["1955-11-05T06:15:00.000001Z"] * count,
        "a_float64": ["NaN", "Infinity", "-Infinity", -0.0],
        "a_float32": [1.401298464324817e-45, 3.4028234663852886e38, "NaN", 0.10000000149011612],
        "a_int64": [2**63 - 1, -(2**63), 0, None],
        "a_string": ["", "\u0000", "x" * 10_000_000, "}],[{"],
        "a_bytes": [b64encode(value).decode() for value in (b"", b"\x00", os.urandom(100), b"null")],
        "a_timestamp": ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z", None],
        "a_bool": [True, False, None, True],
    }
    said = push(gateway, df, push_source_name="wide", project="rides").json()
    assert (said["accepted"], said["online"]["written"]) == (count, count), said
    entities = {"text": df["text"], "raw": df["raw"]}
    found = columns(ask(gateway, {"features": [f"wide:a_{kind}" for kind in KINDS], "entities": entities}))
    for name, column in found.items():
        assert column["values"] == df[name], name
    assert found["a_bool"]["event_timestamps"] == df["event_timestamp"]
    bad = ask(gateway, {"features": ["wide:a_bool"], "entities": {"text": ["x"], "raw": ["no base64"]}})
    assert (bad.status_code, bad.json()["field"]) == (400, "entities.raw[0]")
