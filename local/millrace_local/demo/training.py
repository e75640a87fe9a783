"""The demo's two models: trained on the point-in-time training set, exported to ONNX, and run offline."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

# ONNX Runtime reports home, and leaves a file in the temporary directory, unless told otherwise before its import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime
import pyarrow as pa

LABEL = "malignant"


def matrix(training_set: pa.Table, features: list[str]) -> np.ndarray:
    """The features as float32, shape (rows, features), as the models take them in training and in serving."""
    return np.column_stack([training_set[name].to_numpy() for name in features]).astype(np.float32)


def train(training_set: pa.Table, features: list[str], folder: Path) -> dict[str, float]:
    """Trains both models and writes ``<name>.onnx``; returns each one's accuracy on a held-out fifth."""
    values = matrix(training_set, features)
    labels = training_set[LABEL].to_numpy()
    held_out = np.arange(len(labels)) % 5 == 0
    folder.mkdir(parents=True, exist_ok=True)
    accuracy = {}
    for name, model in _untrained().items():
        model.fit(values[~held_out], labels[~held_out])
        accuracy[name] = float(model.score(values[held_out], labels[held_out]))
        (folder / f"{name}.onnx").write_bytes(_exported(model, values.shape[1]))
    return accuracy


def predict_offline(model: Path, values: np.ndarray) -> np.ndarray:
    """Probability of malignancy by the exported model itself, shape (rows,)."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    [probabilities] = session.run(["probabilities"], {"features": values})
    return np.asarray(probabilities)[:, 1]


def _untrained() -> dict[str, Any]:
    from sklearn.ensemble import GradientBoostingClassifier  # noqa: PLC0415 — slow to import, needed only here
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    return {
        "logistic": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "boosting": GradientBoostingClassifier(random_state=0),
    }


def _exported(model: Any, width: int) -> bytes:
    from skl2onnx import to_onnx  # noqa: PLC0415 — slow to import, needed only here
    from skl2onnx.common.data_types import FloatTensorType  # noqa: PLC0415

    tensor = FloatTensorType([None, width])
    exported = to_onnx(model, initial_types=[("features", tensor)], options={id(model): {"zipmap": False}})
    return bytes(exported.SerializeToString())
