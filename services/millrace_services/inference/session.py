"""One loaded ONNX model: where it runs, what it takes and gives, and how long a row takes."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Literal

import numpy as np

from millrace_core.base.errors import MillraceError, RejectError, ReportError
from millrace_services.inference import proof, runtime
from millrace_services.inference.batching import Batching, buckets, cost_key
from millrace_services.inference.blank_input import Blank, candidates
from millrace_services.inference.costs import Costs
from millrace_services.inference.graph_shapes import shaped
from millrace_services.inference.runtime import InvalidArgument, first_line, is_devices_fault, is_out_of_memory
from millrace_services.inference.signature import Signature
from millrace_services.inference.tensors import Array, OutputTensor, TensorSpec, from_output, spec_of

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
# Where no run takes longer, to wake another thread for its share takes as long as the share, and a busy machine wakes
# it late.
_ONE_THREAD_SECONDS: Final = 200e-6


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
        row_seconds: what one row took when warm; infinity before.
        nan_outputs: names of the outputs that were NaN for blank input, which they may be for any.
        costs: what runs take by the shapes of their inputs.
        batching: how many rows several requests may share a run with.
    """

    def __init__(self, session: Any, signature: Signature, device: str) -> None:
        self.signature = signature
        self.device = device
        self.row_seconds = float("inf")
        self.nan_outputs: tuple[str, ...] = ()
        self.costs = Costs()
        self.batching = Batching()
        self._session = session
        self._blank = Blank()
        self._bfloat16 = [spec.name for spec in signature.inputs.values() if spec.datatype == "BF16"]
        outputs = signature.outputs.values()
        self._by_bits = bool(self._bfloat16) or any(spec.datatype == "BF16" for spec in outputs)

    def run(self, feeds: dict[str, Array], outputs: list[str], options: Any = None) -> list[OutputTensor]:
        """The named outputs. Thread-safe; releases the GIL while it computes.

        Args:
            options: of ``runtime.run_options``, by which another thread may stop it.

        Raises:
            StoppedError: it was stopped.
            RejectError: the model refuses the values or sizes (an index out of range, rows that do not match).
            OutOfMemoryError: there is not the memory for so much.
            ReportError: its device or the memory failed; on a GPU that may be so whatever ONNX Runtime says.
        """
        try:
            return [from_output(value) for value in self._ran(feeds, outputs, options)]
        except Exception as error:
            if options is not None and options.terminate:
                raise StoppedError from error
            shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in feeds.items())
            if is_out_of_memory(error):
                raise OutOfMemoryError(
                    f"this input, {shapes}, takes more memory than the {self.device.upper()} has left",
                    hint="Send fewer rows at once, or try again when others have given theirs back",
                ) from error
            if is_devices_fault(error) or (self.device == "gpu" and not isinstance(error, InvalidArgument)):
                raise ReportError(f"the model fails: {first_line(error)}", reason="ModelFailed") from error
            # It ran before, on other input.
            if len({values.shape[:1] for values in feeds.values()}) > 1 and not isinstance(error, InvalidArgument):
                raise RejectError(f"inputs differ in their numbers of rows: {shapes}", reason="BadTensor") from error
            raise RejectError(
                f"the model refuses this input, {shapes}: {first_line(error)}", reason="BadTensor"
            ) from error

    def _ran(self, feeds: dict[str, Array], outputs: list[str], options: Any) -> list[Any]:
        if not self._by_bits:
            return self._session.run(outputs, feeds, options)  # type: ignore[no-any-return]
        values = {**feeds, **{name: runtime.bfloat16_value(feeds[name]) for name in self._bfloat16}}
        return runtime.run(self._session, outputs, values, options)

    def still_runs(self) -> bool:
        """Whether the model runs on the blank row that it was warmed up with, or would with more memory."""
        try:
            self._run_blank(self._blank)
        except OutOfMemoryError:  # others hold it for now
            return True
        except MillraceError:
            return False
        return True

    def warm_up(self, step: Step = lambda _: None, most_rows: int = 1) -> MillraceError | None:
        """Runs the model on blank rows until memory is laid out, and measures it; proves whether rows mix.

        Where it does not take one value in each open dimension, more are tried. More rows are measured where requests
        may share runs, until a run gets long; else only where a run may be short enough for it to matter.

        Args:
            step: called with what is done now.
            most_rows: that several requests may share a run with, if the model allows it.

        Returns:
            Why it did not run, and so is not warm; None where it did.
        """
        step("its first runs, on 1 row")
        why_not = self._find_blank()
        if why_not is not None:
            return why_not
        self.row_seconds = self._measured(self._blank)
        if most_rows > 1 and self.row_seconds > _LONG_SECONDS:
            self.batching = Batching(1, f"one row takes {self.row_seconds:.1f} s")
        elif most_rows > 1:
            step("its runs on two rows, which show whether rows of several requests may share one")
            mixed = self._why_not_batched()
            self.batching = Batching(1, mixed) if mixed else Batching(most_rows)
        if self.batching.rows > 1:
            self._measure_batches(step)
        elif self.row_seconds <= _SHORT_SECONDS:
            step(f"its first runs on {_WARM_ROWS} rows")
            with suppress(MillraceError):  # a model of fixed size takes one row at a time
                self._measured(self._blank._replace(rows=_WARM_ROWS))
        return None

    def replace(self, load: Callable[[], Any]) -> None:
        """Runs on another session of the same model from now on, which is warm when this returns.

        Args:
            load: makes it, after the one that there was has given its memory back.
        """
        self._session = None
        self._session = load()
        self._run_blank(self._blank)

    def _find_blank(self) -> MillraceError | None:
        """Looks for blank input that the model runs on; why there is none."""
        first: MillraceError | None = None
        for blank in candidates(self.signature.inputs.values()):
            try:
                self._look_for_nan(self._feed(blank))
            except MillraceError as error:
                if isinstance(error, ReportError):
                    return error
                first = first or error
            else:
                self._blank = blank
                return None
        return first

    def _look_for_nan(self, feeds: dict[str, Array]) -> None:
        names = self.signature.output_names
        results = zip(names, self.run(feeds, names, runtime.run_options()), strict=True)
        self.nan_outputs = tuple(
            name for name, (values, _) in results if values.dtype.kind == "f" and np.isnan(values).any()
        )

    def _why_not_batched(self) -> str:
        if not self.signature.inputs:
            return "it has no inputs"
        if self._by_bits:
            return "it takes or gives BF16"
        arguments = (*self._session.get_inputs(), *self._session.get_outputs())
        lists = [(each.name, None if each.type.startswith("seq(") else each.shape) for each in arguments]
        return proof.fixed_axis(lists) or proof.mixed_rows(
            lambda feeds: self.run(feeds, self.signature.output_names, runtime.run_options()), self.signature.inputs
        )

    def _measure_batches(self, step: Step) -> None:
        for rows in buckets(self.batching.rows):
            step(f"its first runs on {rows} rows")
            try:
                seconds = self._measured(self._blank._replace(rows=rows))
            except MillraceError as error:
                fewer = rows // 2
                why_not = f"it does not run on {rows} rows: {error}"
                logger.warning("requests share runs of at most %d rows: %s", fewer, why_not)
                self.batching = Batching(max(1, fewer), why_not)
                return
            if seconds > _LONG_SECONDS:
                return

    def _measured(self, blank: Blank) -> float:
        """Seconds of the fastest of some runs: what the model takes where nothing else is in its way."""
        times = [self._run_blank(blank)]
        most = max(1, int(_LONG_SECONDS / max(times[0], 1e-9)))
        while len(times) <= min(most, _WARM_RUNS) or (len(times) < most and sum(times) < _WARM_SECONDS):
            times.append(self._run_blank(blank))
        seconds = min(times)
        self.costs.learn(cost_key(self.batching, self._feed(blank))[2], seconds)
        return seconds

    def blank_rows(self, rows: int) -> dict[str, Array]:
        """Blank input of so many rows, otherwise of the form that the model was warmed up with."""
        return self._feed(self._blank._replace(rows=rows))

    def _feed(self, blank: Blank) -> dict[str, Array]:
        return {spec.name: blank.tensor(spec) for spec in self.signature.inputs.values()}

    def _run_blank(self, blank: Blank) -> float:
        feeds = self._feed(blank)
        began = perf_counter()
        self.run(feeds, self.signature.output_names, runtime.run_options())
        return perf_counter() - began


def load_warm(
    path: Path, device: Device, threads: int, step: Step = lambda _: None, most_rows: int = 1
) -> ModelSession:
    """Loads a model file and warms it up: ``step`` and ``most_rows`` are as ``warm_up`` has them, all else as ``load``.

    Of several threads a model whose runs are all short gets one, the caller's.

    A model that did not run once is refused, too (``NeverRan``): nothing would tell a client's mistake from its own. A
    GPU that has not the memory, or no kernel for what the model does, may tell only when the model runs; then it is as
    if there were none.
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
        raise RejectError(
            f"the model did not run once on blank input, so it is not ready: {why_not}",
            hint="Give its open dimensions sizes for which it runs, when you export it",
            field="spec.model.uri",
            reason="NeverRan",
        ) from why_not
    if loaded.device == "cpu" and threads > 1 and loaded.costs.longest() <= _ONE_THREAD_SECONDS:
        step("its loading for one thread")
        loaded.replace(lambda: _on_cpu(path, 1, str(path), optimize=True))
    if loaded.nan_outputs:
        logger.warning("the model answers NaN to blank input: %s", ", ".join(loaded.nan_outputs))
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
    return ModelSession(session, _signature(session, path), chosen)


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
        why = first_line(error).replace(str(path), "it")
        raise RejectError(
            f"{shown} ({path.stat().st_size} bytes) is not an ONNX model that ONNX Runtime {runtime.VERSION} "
            f"can load: {why}",
            hint=_advice(why),
            field="spec.model.uri",
            reason="BadModel",
        ) from error


def _advice(why: str) -> str:
    """What to do about a model that ONNX Runtime does not load, by its own words."""
    for words, advice in _ADVICE:
        if words.search(why):
            return advice
    return "Export the model again, and try it by onnxruntime.InferenceSession before you upload it"


# The first that fits.
_ADVICE: Final = (
    (
        re.compile(r"[Ll]ocale"),
        "Text operators need the locale en_US.UTF-8: Millrace's images have it; elsewhere, generate it (localedef -i "
        "en_US -f UTF-8 en_US.UTF-8)",
    ),
    (
        re.compile(r"external data|External data|external initializer|model_path must not be empty|data file"),
        "Its weights are in files that are not beside it: save the model as one file "
        "(onnx.save_model(…, save_as_external_data=False))",
    ),
    (
        re.compile(r"is not a registered function/op|No Op registered|custom op|Could not find an implementation"),
        "The model has an operator that this ONNX Runtime does not know: export it with operators of ONNX itself, and "
        "with an opset that this version knows",
    ),
    (
        re.compile(r"IR version|opset|Opset"),
        "Export the model for an older opset or IR version",
    ),
    (
        re.compile(r"Protobuf parsing failed|ModelProto does not have a graph|INVALID_PROTOBUF"),
        "The file is cut off, or of another format; export and upload it again",
    ),
)


def _signature(session: Any, path: Path) -> Signature:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    with_shape = shaped(path)
    dimensions = {
        (argument.name, place): size
        for argument in inputs
        for place, size in enumerate(argument.shape)
        if isinstance(size, str)
    }
    return Signature(_specs(inputs, with_shape), _specs(outputs, with_shape), dimensions)


def _specs(arguments: Sequence[Any], with_shape: Collection[str] | None) -> list[TensorSpec]:
    return [
        spec_of(
            argument.name,
            argument.type,
            argument.shape,
            ranked=bool(argument.shape) or with_shape is None or argument.name in with_shape,
        )
        for argument in arguments
    ]
