"""One loaded ONNX model: where it runs, what it takes and gives, and how long a row takes."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Literal

import numpy as np

from millrace.base.errors import MillraceError, RejectError, ReportError
from millrace.inference.protocol import Signature
from millrace.inference.tensors import NUMPY, Array, TensorSpec, spec_of

# ONNX Runtime reports home unless told otherwise before it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

logger = logging.getLogger(__name__)

Device = Literal["auto", "gpu", "cpu"]

_CUDA: Final = "CUDAExecutionProvider"
_CPU: Final = "CPUExecutionProvider"
_WARM_RUNS: Final = 10
_WARM_ROWS: Final = 32
_SHORT_SECONDS: Final = 0.01


class ModelSession:
    """A warm ONNX Runtime session.

    Attributes:
        device: ``gpu`` or ``cpu``, the one chosen.
        signature: inputs and outputs in the model's order.
        row_seconds: what one row took when warm, or infinity where the model did not run on blank input.
    """

    def __init__(self, session: Any, signature: Signature, device: str) -> None:
        self.signature = signature
        self.device = device
        self.row_seconds = float("inf")
        self._further_seconds = 0.0
        self._session = session
        self._run: Callable[[list[str], dict[str, Array]], list[Any]] = (
            self._run_bound if device == "gpu" else session.run
        )

    def run(self, feeds: dict[str, Array], outputs: list[str]) -> list[Any]:
        """The named outputs. Thread-safe; releases the GIL while it computes.

        Raises:
            RejectError: the model refuses the values (an index out of range, rows that do not match).
            ReportError: the model fails for another reason (no memory, an operator's fault).
        """
        try:
            return self._run(outputs, feeds)
        except InvalidArgument as error:
            raise RejectError(f"the model refuses this input: {_first_line(error)}", reason="BadTensor") from error
        except Exception as error:
            if len({values.shape[:1] for values in feeds.values()}) > 1:
                rows = ", ".join(f"{name} {list(values.shape)}" for name, values in feeds.items())
                raise RejectError(f"inputs differ in their numbers of rows: {rows}", reason="BadTensor") from error
            raise ReportError(f"the model fails: {_first_line(error)}", reason="ModelFailed") from error

    def _run_bound(self, outputs: list[str], feeds: dict[str, Array]) -> list[Any]:
        # Binding keeps ONNX Runtime from copying each output through a pageable buffer of its own.
        binding = self._session.io_binding()
        for name, values in feeds.items():
            binding.bind_cpu_input(name, values)
        for name in outputs:
            binding.bind_output(name)
        self._session.run_with_iobinding(binding)
        result: list[Any] = binding.copy_outputs_to_cpu()
        return result

    def expected_seconds(self, rows: int) -> float:
        """What a run of that many rows should take: a straight line through two measured points."""
        return self.row_seconds + self._further_seconds * max(0, rows - 1)

    def warm_up(self) -> None:
        """Runs the model on blank rows until memory is laid out, and measures it.

        A second point is measured only where a run may be short enough for it to matter.
        """
        try:
            self.row_seconds = self._further_seconds = self._measured(1)
        except MillraceError as error:
            logger.warning("the model does not run on blank input, so it is not warm: %s", error)
            return
        if self.row_seconds <= _SHORT_SECONDS:
            with suppress(MillraceError):  # a model of fixed size takes one row at a time
                many = self._measured(_WARM_ROWS)
                self._further_seconds = max(0.0, (many - self.row_seconds) / (_WARM_ROWS - 1))

    def _measured(self, rows: int) -> float:
        """Seconds of the fastest of some runs: what the model takes where nothing else is in its way."""
        feeds = {spec.name: blank(spec, rows) for spec in self.signature.inputs.values()}
        seconds = []
        for _ in range(_WARM_RUNS):
            began = perf_counter()
            self.run(feeds, self.signature.output_names)
            seconds.append(perf_counter() - began)
        return min(seconds)


def load(path: Path, device: Device, threads: int, *, shown: str = "", optimize: bool = True) -> ModelSession:
    """Loads a model file.

    Args:
        threads: of one run, on the CPU.
        shown: how messages call the file.
        optimize: False only to see whether the file loads at all.

    Raises:
        RejectError: the file is missing or no ONNX model that this runtime can run (``BadModel``), or the device is
        not there
            (``NoDevice``).
    """
    if not path.is_file():
        raise RejectError(f"there is no model file {path}", field="MILLRACE_MODEL_PATH", reason="BadModel")
    providers = _providers(device)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = ort.InferenceSession(path, options, providers=providers)
    except Exception as error:
        raise RejectError(
            f"{shown or path} ({path.stat().st_size} bytes) is not an ONNX model that ONNX Runtime {ort.__version__} "
            f"can load: {_first_line(error).replace(str(path), 'it')}",
            hint="The file may be cut off or of another format; export and upload it again",
            field="spec.model.uri",
            reason="BadModel",
        ) from error
    chosen = "gpu" if session.get_providers()[0] == _CUDA else "cpu"
    if device == "gpu" and chosen == "cpu":
        raise _no_gpu("CUDA could not be initialised here")
    signature = Signature(_specs(session.get_inputs()), _specs(session.get_outputs()))
    return ModelSession(session, signature, chosen)


def _providers(device: Device) -> list[str]:
    has_cuda = _CUDA in ort.get_available_providers()
    if device == "gpu" and not has_cuda:
        raise _no_gpu("this installation of ONNX Runtime has no CUDA provider")
    return [_CUDA, _CPU] if has_cuda and device != "cpu" else [_CPU]


def _no_gpu(why: str) -> RejectError:
    return RejectError(
        f"a GPU is demanded, but {why}",
        hint="Run an image with millrace[gpu] on a node with an NVIDIA GPU, or set device to auto or cpu",
        field="spec.inference.device",
        reason="NoDevice",
    )


def _specs(arguments: Sequence[Any]) -> list[TensorSpec]:
    return [spec_of(argument.name, argument.type, argument.shape) for argument in arguments]


def blank(spec: TensorSpec, rows: int) -> Array:
    """Rows of zeros, false or empty strings; an open first dimension counts rows, any other open one is 1."""
    open_sizes = (rows, *[1] * len(spec.shape))
    shape = tuple(size if size >= 0 else free for size, free in zip(spec.shape, open_sizes, strict=False))
    if spec.datatype == "BYTES":
        return np.full(shape, "", dtype=object)
    return np.zeros(shape, NUMPY.get(spec.datatype, np.dtype(np.float16)))


def _first_line(error: Exception) -> str:
    """What ONNX Runtime says, without its codes: ``[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : …``."""
    lines = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error).strip()).splitlines()
    return lines[0][:300] if lines else type(error).__name__
