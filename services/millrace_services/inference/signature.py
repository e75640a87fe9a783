"""What a model takes and gives."""

from __future__ import annotations

from collections.abc import Sequence

from millrace_services.inference.tensors import TensorSpec


class Signature:
    """Inputs and outputs of a model by name, in the model's order."""

    def __init__(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        self.inputs = {spec.name: spec for spec in inputs}
        self.outputs = {spec.name: spec for spec in outputs}
        self.output_names = list(self.outputs)
