"""Feast's own client beside Feast's own server, run in Feast's environment: ``feast_peer.py FOLDER FOLDER GATEWAY``.

The client has Feast's remote online store. It writes the same rows to Feast's server and to the gateway, reads them
back in each way that there is, and prints what it got from either.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import pandas as pd
import requests
import uvicorn
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    PushSource,
    RepoConfig,
    ValueType,
)
from feast.feature_server import get_app
from feast.infra.key_encoding_utils import EntityKeyProto
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Array, Bool, Float32, Float64, Int32, Int64, String, UnixTimestamp

TYPES = {
    "driver_id": Int64,
    "conv_rate": Float64,
    "small": Float32,
    "trips": Int64,
    "short": Int32,
    "note": String,
    "vip": Bool,
    "seen": UnixTimestamp,
    "vec": Array(Float32),
    "tags": Array(String),
    "times": Array(UnixTimestamp),
}
FEATURES = [name for name in TYPES if name != "driver_id"]
DRIVER = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
BATCH = FileSource(
    name="batch", path="nowhere.parquet", timestamp_field="event_timestamp", created_timestamp_column="created"
)
VIEW = FeatureView(
    name="driver_stats",
    entities=[DRIVER],
    ttl=timedelta(0),
    schema=[Field(name=name, dtype=kind) for name, kind in TYPES.items()],
    source=PushSource(name="driver_stats", batch_source=BATCH),
)
SERVICE = FeatureService(name="fraud_check", features=[VIEW[["conv_rate", "seen"]]])

AT = datetime(2026, 11, 25, 19, 48, 31, tzinfo=UTC)
SEEN = int(datetime(2026, 11, 20, 8, tzinfo=UTC).timestamp())
WHOLE: dict[str, Any] = {
    "driver_id": 1,
    "conv_rate": 0.25,
    "small": 0.1,
    "trips": 7,
    "short": -3,
    "note": "é",
    "vip": True,
    "seen": SEEN,
    "vec": [0.5, 1.5],
    "tags": ["a", ""],
    "times": [SEEN, 0],
}
ROWS = [
    WHOLE,
    WHOLE | {"driver_id": 2, "conv_rate": float("nan"), "note": None, "vip": False, "seen": 0, "vec": [-1.0]},
]
IDS = [1, 2, 9]


def store(folder: str, online: dict[str, Any]) -> FeatureStore:
    config = RepoConfig(
        project="rides",
        provider="local",
        registry=f"{folder}/registry.db",
        offline_store={"type": "file"},
        online_store=online,
        entity_key_serialization_version=3,
    )
    made = FeatureStore(config=config)
    made.apply([DRIVER, VIEW, SERVICE])
    return made


def push(url: str, body: dict[str, Any]) -> int:
    """Pushes with NaN as Python writes it; the status."""
    media = {"content-type": "application/json"}
    return requests.post(f"{url}/push", data=json.dumps(body), headers=media, timeout=20).status_code


def use(client: FeatureStore, url: str) -> dict[str, Any]:
    client.config.online_store.path = url
    for row in ROWS:
        frame = pd.DataFrame([row | {"event_timestamp": AT, "created": AT}])
        client.write_to_online_store("driver_stats", frame)
    body = {
        "push_source_name": "driver_stats",
        "df": {name: [value, value] for name, value in WHOLE.items()}
        | {
            "driver_id": [3, 4],
            "conv_rate": [1.0, float("nan")],
            "event_timestamp": [AT.isoformat()] * 2,
            "created": [AT.isoformat()] * 2,
        },
        "to": "online",
    }
    pushed = push(url, body)
    # Feast's client cannot read an empty array, wherever it comes from.
    empty = body["df"] | {"driver_id": [5, 6], "vec": [[], [1.0]], "tags": [[], ["a"]], "times": [[], [SEEN]]}
    assert push(url, body | {"df": empty}) == 200
    bad = push(url, body | {"df": body["df"] | {"note": [1, "a"], "vip": ["x", True]}})
    refs = [f"driver_stats:{name}" for name in FEATURES]
    entities = [{"driver_id": each} for each in (*IDS, 3, 4)]
    keys = [EntityKeyProto(join_keys=["driver_id"], entity_values=[Value(int64_val=each)]) for each in IDS]
    read = client._get_provider().online_read(client.config, VIEW, keys, FEATURES)
    raw = requests.post(
        f"{url}/get-online-features", json={"features": refs, "entities": {"driver_id": [*IDS, 3, 4, 5]}}, timeout=20
    ).json()
    return {
        "pushed": pushed,
        "refused": bad >= 400,
        "features": client.get_online_features(refs, entities).to_dict(),
        "full": client.get_online_features(refs, entities, full_feature_names=True).to_dict(),
        "service": client.get_online_features(client.get_feature_service("fraud_check"), entities).to_dict(),
        "online_read": [
            (str(at), {name: str(value) for name, value in sorted((values or {}).items())}) for at, values in read
        ],
        "raw": dict(sorted(zip(raw["metadata"]["feature_names"], raw["results"], strict=True))),
        "health": requests.get(f"{url}/health", timeout=20).status_code,
    }


@contextmanager
def feature_server(folder: str) -> Iterator[str]:
    """Feast's feature server, in a thread of this process, because Feast takes long to import; its URL."""
    made = get_app(store(folder, {"type": "sqlite", "path": f"{folder}/online.db"}), registry_ttl_sec=0)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(made, log_level="warning"))
        thread = Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def main(server_folder: str, client_folder: str, gateway: str) -> None:
    with feature_server(server_folder) as feast:
        client = store(client_folder, {"type": "remote", "path": feast})
        answers = [use(client, url) for url in (feast, gateway)]
    print(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
