"""One loaded ONNX model: where it runs, what it takes and gives, and how long a row takes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Literal

import numpy as np

from millrace_core.base.errors import MillraceError, RejectError, ReportError
from millrace_services.inference import proof, runtime
from millrace_services.inference.batching import Batching, buckets, cost_key
from millrace_services.inference.costs import Costs
from millrace_services.inference.runtime import Fail, InvalidArgument, first_line, is_devices_fault, is_out_of_memory
from millrace_services.inference.signature import Signature
from millrace_services.inference.tensors import NUMPY, Array, OutputTensor, TensorSpec, from_output, spec_of

logger = logging.getLogger(__name__)

Device = Literal["auto", "gpu", "cpu"]
Step = Callable[[str], None]

_WARM_RUNS: Final = 10
# Short runs are made for longer than a busy machine gives its processors to others.
_WARM_SECONDS: Final = 0.03
_WARM_ROWS: Final = 32
_SHORT_SECONDS: Final = 0.01
# Longer runs are measured less often, and no more rows than take that long.
_LONG_SECONDS: Final = 0.5


class StoppedError(Exception):
    """A run was stopped before its end."""


class OutOfMemoryError(RejectError):
    """What came takes more memory to compute than there is."""

    reason = "TooLarge"


class ModelSession:
    """A warm ONNX Runtime session.

    Attributes:
        device: ``gpu`` or ``cpu``, the one chosen.
        signature: inputs and outputs in the model's order.
        row_seconds: what one row took when warm, or infinity where the model did not run on blank input.
        costs: what runs take by the shapes of their inputs.
        batching: how many rows several requests may share a run with.
    """

    def __init__(self, session: Any, signature: Signature, device: str) -> None:
        self.signature = signature
        self.device = device
        self.row_seconds = float("inf")
        self.costs = Costs()
        self.batching = Batching()
        self._session = session

    def run(self, feeds: dict[str, Array], outputs: list[str], options: Any = None) -> list[OutputTensor]:
        """The named outputs. Thread-safe; releases the GIL while it computes.

        Args:
            options: of ``runtime.run_options``, by which another thread may stop it.

        Raises:
            StoppedError: it was stopped.
            RejectError: the model refuses the values (an index out of range, a division by zero, rows that do not
                match).
            OutOfMemoryError: there is not the memory for so much.
            ReportError: the model fails for another reason (an operator's fault, a lost GPU).
        """
        try:
            return [from_output(value) for value in self._session.run(outputs, feeds, options)]
        except InvalidArgument as error:
            raise RejectError(f"the model refuses this input: {first_line(error)}", reason="BadTensor") from error
        except Exception as error:
            if options is not None and options.terminate:
                raise StoppedError from error
            shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in feeds.items())
            if len({values.shape[:1] for values in feeds.values()}) > 1:
                raise RejectError(f"inputs differ in their numbers of rows: {shapes}", reason="BadTensor") from error
            if is_out_of_memory(error):
                raise OutOfMemoryError(
                    f"this input, {shapes}, takes more memory than the {self.device.upper()} has left",
                    hint="Send fewer rows at once, or try again when others have given theirs back",
                ) from error
            if isinstance(error, Fail) and self.device == "cpu":  # an operator says so; on a GPU CUDA may have
                raise RejectError(f"the model fails at this input: {first_line(error)}", reason="BadTensor") from error
            raise ReportError(f"the model fails: {first_line(error)}", reason="ModelFailed") from error

    def still_runs(self) -> bool:
        """Whether the model runs on the blank row that it was warmed up with, or would with more memory.

        True where it never did.
        """
        if self.row_seconds == float("inf"):
            return True
        try:
            self._run_blank(1)
        except OutOfMemoryError:  # others hold it for now
            return True
        except MillraceError:
            return False
        return True

    def warm_up(self, step: Step = lambda _: None, most_rows: int = 1) -> MillraceError | None:
        """Runs the model on blank rows until memory is laid out, and measures it; proves whether rows mix.

        More rows are measured where requests may share runs, until a run gets long; else only where a run may be short
        enough for it to matter.

        Args:
            step: called with what is done now.
            most_rows: that several requests may share a run with, if the model allows it.

        Returns:
            Why it did not run, and so is not warm; None where it did.
        """
        step("its first runs, on 1 row")
        try:
            self.row_seconds = self._measured(1)
        except MillraceError as error:
            return error
        if most_rows > 1 and self.row_seconds > _LONG_SECONDS:
            self.batching = Batching(1, f"one row takes {self.row_seconds:.1f} s")
        elif most_rows > 1:
            step("its runs on two rows, which show whether rows of several requests may share one")
            why_not = self._why_not_batched()
            self.batching = Batching(1, why_not) if why_not else Batching(most_rows)
        if self.batching.rows > 1:
            self._measure_batches(step)
        elif self.row_seconds <= _SHORT_SECONDS:
            step(f"its first runs on {_WARM_ROWS} rows")
            with suppress(MillraceError):  # a model of fixed size takes one row at a time
                self._measured(_WARM_ROWS)
        return None

    def _why_not_batched(self) -> str:
        if not self.signature.inputs:
            return "it has no inputs"
        arguments = (*self._session.get_inputs(), *self._session.get_outputs())
        lists = [(each.name, None if each.type.startswith("seq(") else each.shape) for each in arguments]
        return proof.fixed_axis(lists) or proof.mixed_rows(
            lambda feeds: self.run(feeds, self.signature.output_names), self.signature.inputs
        )

    def _measure_batches(self, step: Step) -> None:
        for rows in buckets(self.batching.rows):
            step(f"its first runs on {rows} rows")
            try:
                seconds = self._measured(rows)
            except MillraceError as error:
                fewer = rows // 2
                why_not = f"it does not run on {rows} rows: {error}"
                logger.warning("requests share runs of at most %d rows: %s", fewer, why_not)
                self.batching = Batching(max(1, fewer), why_not)
                return
            if seconds > _LONG_SECONDS:
                return

    def _measured(self, rows: int) -> float:
        """Seconds of the fastest of some runs: what the model takes where nothing else is in its way."""
        times = [self._run_blank(rows)]
        most = max(1, int(_LONG_SECONDS / max(times[0], 1e-9)))
        while len(times) <= min(most, _WARM_RUNS) or (len(times) < most and sum(times) < _WARM_SECONDS):
            times.append(self._run_blank(rows))
        seconds = min(times)
        self.costs.learn(cost_key(self.batching, self._blank(rows))[2], seconds)
        return seconds

    def _blank(self, rows: int) -> dict[str, Array]:
        return {spec.name: blank(spec, rows) for spec in self.signature.inputs.values()}

    def _run_blank(self, rows: int) -> float:
        feeds = self._blank(rows)
        began = perf_counter()
        self.run(feeds, self.signature.output_names)
        return perf_counter() - began


def load_warm(
    path: Path, device: Device, threads: int, step: Step = lambda _: None, most_rows: int = 1
) -> ModelSession:
    """Loads a model file and warms it up: ``step`` and ``most_rows`` are as ``warm_up`` has them, all else as ``load``.

    A GPU that has not the memory, or no kernel for what the model does, may tell only when the model runs; then it is
    as if there were none.
    """
    step("its loading")
    loaded = load(path, device, threads)
    why_not = loaded.warm_up(step, most_rows)
    if why_not is not None and loaded.device == "gpu" and is_devices_fault(why_not.__cause__):
        _without_gpu(device, str(why_not))
        step("its loading")
        loaded = load(path, "cpu", threads)
        why_not = loaded.warm_up(step, most_rows)
    if why_not is not None:
        logger.warning("the model does not run on blank input, so it is not warm: %s", why_not)
    return loaded


def load(path: Path, device: Device, threads: int, *, shown: str = "", optimize: bool = True) -> ModelSession:
    """Loads a model file.

    Args:
        device: ``auto`` falls back to the CPU, and a warning says why where ONNX Runtime could use a GPU.
        threads: of one run, on the CPU.
        shown: how messages call the file.
        optimize: False only to see whether the file loads at all.

    Raises:
        RejectError: the file is missing or no ONNX model that this runtime can run (``BadModel``), or the device is
            not there or cannot run the model (``NoDevice``).
    """
    if not path.is_file():
        raise RejectError(f"there is no model file {path}", field="MILLRACE_MODEL_PATH", reason="BadModel")
    session, why_not = (None, "") if device == "cpu" else runtime.on_gpu(path, threads)
    chosen = "cpu" if session is None else "gpu"
    if session is None:
        session = _on_cpu(path, threads, shown or str(path), optimize=optimize)
        if device != "cpu":
            _without_gpu(device, why_not)
    signature = Signature(_specs(session.get_inputs()), _specs(session.get_outputs()))
    return ModelSession(session, signature, chosen)


def _without_gpu(device: Device, why: str) -> None:
    if device == "gpu":
        raise RejectError(
            f"a GPU is demanded, but {why}",
            hint="Run an image with millrace[gpu] on a node with an NVIDIA GPU, or set device to auto or cpu",
            field="spec.inference.device",
            reason="NoDevice",
        )
    if runtime.has_cuda():
        logger.warning("the model runs on the CPU: %s", why)


def _on_cpu(path: Path, threads: int, shown: str, *, optimize: bool) -> Any:
    try:
        return runtime.on_cpu(path, threads, optimize=optimize)
    except Exception as error:
        raise RejectError(
            f"{shown} ({path.stat().st_size} bytes) is not an ONNX model that ONNX Runtime {runtime.VERSION} "
            f"can load: {first_line(error).replace(str(path), 'it')}",
            hint="The file may be cut off or of another format; export and upload it again",
            field="spec.model.uri",
            reason="BadModel",
        ) from error


def _specs(arguments: Sequence[Any]) -> list[TensorSpec]:
    return [spec_of(argument.name, argument.type, argument.shape) for argument in arguments]


def blank(spec: TensorSpec, rows: int) -> Array:
    """Rows of zeros, false or empty strings; an open first dimension counts rows, any other open one is 1."""
    open_sizes = (rows, *[1] * len(spec.shape))
    shape = tuple(size if size >= 0 else free for size, free in zip(spec.shape, open_sizes, strict=False))
    if spec.datatype == "BYTES":
        return np.full(shape, "", dtype=object)
    return np.zeros(shape, NUMPY.get(spec.datatype, np.dtype(np.float16)))
