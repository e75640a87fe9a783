"""A session with the feature store, from an empty folder and no server: run it as it is, or cell by cell.

In a checkout: pip install '.[embedded,notebook]'
"""

# %% Some history: purchases of users, in Parquet, and a feature view over it.
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from millrace import Dataset, FeatureStore

lake = Path("lake/purchases").absolute()
lake.mkdir(parents=True, exist_ok=True)
random = np.random.default_rng(7)
begin = datetime(2026, 1, 1)
history = pd.DataFrame(
    {
        "user_id": random.integers(1, 101, 5_000),
        "event_timestamp": [
            begin + timedelta(minutes=int(minute)) for minute in random.integers(0, 60 * 24 * 30, 5_000)
        ],
        "amount": random.gamma(2.0, 20.0, 5_000).round(2),
    }
)
history.to_parquet(lake / "january.parquet")

Path("purchases.yaml").write_text(f"""
apiVersion: millrace.dev/v1alpha1
kind: FeatureView
metadata: {{name: purchases}}
spec:
  entities: [{{name: user_id, type: int64}}]
  source:
    parquet: {{uri: "file://{lake}/"}}
    timestampField: event_timestamp
  features:
  - {{name: amount, type: float64}}
  - {{name: bought_at, type: timestamp, column: event_timestamp}}
  - {{name: weekend, type: bool, expression: "dayofweek(bought_at) in (0, 6)"}}
  - {{name: cart_ratio, type: float64, expression: "request.cart / nullif(amount, 0)"}}
  requestFields: [{{name: cart, type: float64}}]
  materialization: {{schedule: "*/15 * * * *"}}
""")
features = ["purchases:amount", "purchases:weekend", "purchases:cart_ratio"]

# %% A training set: whom, when, and what the request would have brought; then the features as they were known.
store = FeatureStore.from_files(["purchases.yaml"], online="embedded")
asked = pd.DataFrame(
    {
        "user_id": random.integers(1, 101, 1_000),
        "event_timestamp": [begin + timedelta(hours=int(hour)) for hour in random.integers(0, 24 * 30, 1_000)],
        "cart": random.gamma(2.0, 20.0, 1_000),
    }
)
training_set = store.get_historical_features(asked, features)
print(training_set.to_pandas().head())

# %% Keep it: a folder named by its content, which a model can name as what it was trained on.
dataset = training_set.save("datasets")
assert Dataset.load(dataset.uri).to_arrow().equals(dataset.to_arrow())
print("dataset", dataset.id)

# %% Bring the latest row of every user online, and read some.
run = store.materialize("purchases")
print(f"{run.rows:,} users, {run.written:,} written in {run.seconds:.1f} s")
online = store.get_online_features(features, [{"user_id": 1}, {"user_id": 2}], request={"cart": [30.0, 30.0]})
print(online.to_pandas())

# %% Is what is served what a model is trained on?
verdict = store.verify("purchases", sample=1000)
print(f"{verdict.values:,} values compared, {verdict.different} differ")
assert verdict.clean
