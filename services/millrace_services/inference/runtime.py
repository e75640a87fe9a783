"""ONNX Runtime itself: sessions on an NVIDIA GPU, or why there is none, and on the CPU."""

from __future__ import annotations

import ctypes
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from millrace_core.base.shown import line

# ONNX Runtime reports home unless told otherwise before it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument

__all__ = [
    "VERSION",
    "Fail",
    "InvalidArgument",
    "bfloat16_value",
    "first_line",
    "has_cuda",
    "is_devices_fault",
    "is_out_of_memory",
    "on_cpu",
    "on_gpu",
    "run",
    "run_options",
]

logger = logging.getLogger(__name__)

VERSION: Final[str] = ort.__version__

_CUDA: Final = "CUDAExecutionProvider"
_CPU: Final = "CPUExecutionProvider"
_CUDA_OPTIONS: Final = {
    # A search by trial would run at every new number of rows, in the middle of serving.
    "cudnn_conv_algo_search": "HEURISTIC",
    # Ten bits of mantissa are not what a model on the CPU answers.
    "use_tf32": "0",
}
_BFLOAT16: Final = 16  # TensorProto.DataType of ONNX
_ERRORS_ONLY: Final = 3
_FATAL_ONLY: Final = 4
# The code and its name, where in ONNX Runtime's sources the fault was found, and where on the machine.
_NOISE: Final = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : |/onnxruntime_src/\S+:\d+ .*?\)(?: const)?(?: \[with [^\]]*\])? | ; GPU=.*"
)
_READ: Final = 4096  # a model's names are in these messages, of any length
_DEVICES_FAULT: Final = re.compile(r"\bCU[A-Z]+ failure |BFCArena::")


def has_cuda() -> bool:
    """Whether this installation of ONNX Runtime can use a GPU at all."""
    return _CUDA in ort.get_available_providers()


def on_gpu(path: Path, threads: int) -> tuple[Any, str]:
    """A session that runs some of the model on the first GPU; or None, and why."""
    if not has_cuda():
        return None, "this installation of ONNX Runtime has no CUDA provider"
    ort.preload_dlls()  # CUDA and cuDNN as packages of Python's are on no path of the loader's
    options = _options(threads, _ERRORS_ONLY)  # why CUDA was not initialised stands nowhere else
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        session = ort.InferenceSession(
            path,
            options,
            providers=[(_CUDA, _CUDA_OPTIONS), _CPU],
            enable_fallback=0,  # ONNX Runtime's own would go to the CPU without a word, at any later run too
        )
    except Exception as error:
        return None, first_line(error)
    if session.get_providers()[0] != _CUDA:
        return None, "CUDA could not be initialised here: its libraries or NVIDIA's driver are missing"
    parts = session.get_provider_graph_assignment_info()
    if not any(part.ep_name == _CUDA for part in parts):
        return None, "CUDA has none of this model's operators"
    _tell_what_stays(parts)
    return session, ""


def on_cpu(path: Path, threads: int, *, optimize: bool = True) -> Any:
    """A session on the CPU; raises what ONNX Runtime raises.

    Args:
        threads: of one run.
        optimize: False only to see whether the file loads at all.
    """
    options = _options(threads)
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(path, options, providers=[_CPU])


def run_options() -> Any:
    """Options of a run, by whose ``terminate`` another thread ends it between two operators, also those of a loop."""
    options = ort.RunOptions()
    options.log_severity_level = _FATAL_ONLY  # every error of a run is raised; a line on stderr says it again
    return options


def first_line(error: Exception) -> str:
    """What ONNX Runtime says, without its codes and what only its authors read."""
    return line(_NOISE.sub("", str(error).strip()[:_READ])) or type(error).__name__


def run(session: Any, outputs: list[str], feeds: dict[str, Any], options: Any) -> list[Any]:
    """What ``session.run`` gives, for models with BF16 too, which numpy has not: arrays of their bits take its place.

    Args:
        feeds: inputs; what is to be BF16 is an ``OrtValue`` of ``bfloat16_value``.
    """
    values = {
        name: value if isinstance(value, ort.OrtValue) else ort.OrtValue.ortvalue_from_numpy(value)
        for name, value in feeds.items()
    }
    return [_array(value) for value in session.run_with_ort_values(outputs, values, options)]


def bfloat16_value(bits: Any) -> Any:
    """A tensor of BF16 over an array of its bits."""
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, _BFLOAT16)


def _array(value: Any) -> Any:
    if value.element_type() != _BFLOAT16:
        return value.numpy()
    size = value.tensor_size_in_bytes()
    content = ctypes.string_at(value.data_ptr(), size) if size else b""
    return np.frombuffer(content, np.uint16).reshape(value.shape())


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory arena of a device could not give what an operator asked for."""
    return "BFCArena::" in str(error)


def is_devices_fault(error: BaseException | None) -> bool:
    """Whether memory, CUDA or one of its libraries failed, not the model at its input."""
    return _DEVICES_FAULT.search(str(error)) is not None


def _tell_what_stays(parts: Sequence[Any]) -> None:
    """Warns of operators that run on the CPU beside a GPU: what they take and give is copied each time."""
    operators = [(part.ep_name, node.op_type) for part in parts for node in part.get_nodes()]
    staying = [kind for where, kind in operators if where != _CUDA]
    if staying:
        logger.warning(
            "%d of the model's %d operators run on the CPU, for CUDA has none of them: %s",
            len(staying),
            len(operators),
            ", ".join(sorted(set(staying))),
        )


def _options(threads: int, severity: int = _FATAL_ONLY) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = severity  # an error is raised, too, and standard error is for the log's own lines
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
