"""The demo's two models: trained on the point-in-time training set, exported to ONNX, and asked offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
from skl2onnx import to_onnx
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

LABEL = "malignant"


def matrix(training_set: pa.Table, features: list[str]) -> np.ndarray:
    """The features as float32, shape (rows, features): what the models take, in training and in serving."""
    return np.column_stack([training_set[name].to_numpy() for name in features]).astype(np.float32)


def train(training_set: pa.Table, features: list[str], folder: Path) -> dict[str, float]:
    """Trains both models and writes ``<name>.onnx``; returns each one's accuracy on the fifth it did not see."""
    values = matrix(training_set, features)
    labels = training_set[LABEL].to_numpy()
    held_out = np.arange(len(labels)) % 5 == 0
    models: dict[str, Any] = {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "boosting": GradientBoostingClassifier(random_state=0),
    }
    folder.mkdir(parents=True, exist_ok=True)
    accuracy = {}
    for name, model in models.items():
        model.fit(values[~held_out], labels[~held_out])
        accuracy[name] = float(model.score(values[held_out], labels[held_out]))
        exported = to_onnx(
            model,
            initial_types=[("features", _tensor(values.shape[1]))],
            options={id(model): {"zipmap": False}},
        )
        (folder / f"{name}.onnx").write_bytes(exported.SerializeToString())
    return accuracy


def predict_offline(model: Path, values: np.ndarray) -> np.ndarray:
    """Probability of malignancy by the exported model itself, shape (rows,)."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    [probabilities] = session.run(["probabilities"], {"features": values})
    return np.asarray(probabilities)[:, 1]


def _tensor(width: int) -> Any:
    from skl2onnx.common.data_types import FloatTensorType  # noqa: PLC0415 — slow to import, needed only here

    return FloatTensorType([None, width])
