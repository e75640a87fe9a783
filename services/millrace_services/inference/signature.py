"""What a model takes and gives, and what its inputs must have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from millrace_core.base.errors import RejectError
from millrace_services.inference.tensors import BINARY_ONLY, Array, TensorSpec

# An input's dimension: the input's name, and its place in the shape.
Place = tuple[str, int]


class Signature:
    """Inputs and outputs of a model by name, in the model's order.

    Attributes:
        binary_only: names of the outputs that have no JSON form.

    Args:
        dimensions: names of the open dimensions of inputs, by place; of one name all have one size.
    """

    def __init__(
        self,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        dimensions: Mapping[Place, str] | None = None,
    ) -> None:
        self.inputs = {spec.name: spec for spec in inputs}
        self.outputs = {spec.name: spec for spec in outputs}
        self.output_names = list(self.outputs)
        self.binary_only = frozenset(spec.name for spec in outputs if spec.datatype in BINARY_ONLY)
        self._shared = _shared(dimensions or {})

    def check(self, feeds: Mapping[str, Array]) -> None:
        """Checks a request's inputs, each of which fits by itself, together.

        Raises:
            RejectError: one is missing, or dimensions of one name differ.
        """
        if len(feeds) != len(self.inputs):
            missing = next(name for name in self.inputs if name not in feeds)
            raise RejectError(f"input {missing!r} is missing", hint=self.described_inputs(), reason="BadTensor")
        for dimension, (first, *others) in self._shared.items():
            size = feeds[first[0]].shape[first[1]]
            for name, place in others:
                if feeds[name].shape[place] != size:
                    raise RejectError(
                        f"input {name!r}: shape {list(feeds[name].shape)} came beside {first[0]!r} of shape "
                        f"{list(feeds[first[0]].shape)}; dimension {dimension!r}, number {place} of the one and "
                        f"{first[1]} of the other (from 0), is the same in both",
                        reason="BadTensor",
                    )

    def described_inputs(self) -> str:
        """What the model takes, in a sentence."""
        if not self.inputs:
            return "The model takes no inputs"
        return "The model takes " + ", ".join(
            f"{spec.name} ({spec.datatype} {spec.expected()})" for spec in self.inputs.values()
        )


def _shared(dimensions: Mapping[Place, str]) -> dict[str, list[Place]]:
    places: dict[str, list[Place]] = {}
    for place, name in dimensions.items():
        places.setdefault(name, []).append(place)
    return {name: found for name, found in places.items() if len(found) > 1}
