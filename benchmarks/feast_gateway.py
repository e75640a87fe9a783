"""Feast's feature server over rows that it has written: ``feast_gateway.py REDIS PORT``, REDIS being host:port.

As ``feast serve`` starts it, except that its worker is not replaced every 1,000 requests, which would break the
connections. Runs in Feast's environment (``feast_env``).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.feast_repository import opened, view

VIEWS, FEATURES, USERS = 3, 10, 1000


def main(redis: str, port: int) -> None:
    names = [f"f{i}" for i in range(FEATURES)]
    views = [view(f"v{i}", Path("nowhere.parquet"), names) for i in range(VIEWS)]
    rng = np.random.default_rng(0)
    with opened(views, "file", redis) as store:
        for each in views:
            frame = pd.DataFrame(
                {name: rng.random(USERS).astype("f4" if i % 2 else "f8") for i, name in enumerate(names)}
            )
            frame["user_id"], frame["event_timestamp"] = np.arange(USERS), pd.Timestamp.now("UTC")
            store.write_to_online_store(each.name, frame)
        store.serve("127.0.0.1", port, max_requests=0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
