"""The log of predictions: what is taken of each answer, and how it is opened.

Arrow is imported where the log is on alone, and never on the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import TYPE_CHECKING, Final

from millrace_core.api import names
from millrace_core.base.errors import RejectError
from millrace_core.base.settings import with_secret
from millrace_core.evidence.gathered import Gathering
from millrace_core.evidence.record import NOTHING, Origin, PredictionRecord, Redaction
from millrace_core.evidence.sampling import keeps
from millrace_services.inference import bfloat16
from millrace_services.inference.feature_layout import full_name
from millrace_services.inference.note import Note
from millrace_services.inference.prediction_cache import KEPT
from millrace_services.inference.served import ServedModel
from millrace_services.inference.settings import InferenceSettings, LogSettings
from millrace_services.inference.signature import Signature
from millrace_services.inference.tensors import Array
from millrace_services.web.hot import Call
from millrace_services.web.metrics import Metrics

if TYPE_CHECKING:
    from millrace_data.evidence.writer import EvidenceWriter

# How long the end of the process may take for what is not in the lake yet.
CLOSE_SECONDS: Final = 15.0
_GATHER_SECONDS: Final = 0.25
# Of a record without its body and its answer.
_BYTES: Final = 1024
# Envoy has it behind the host of a request that it mirrors.
_SHADOW: Final = b"-shadow"
_MISTAKES: Final = (400, 413)


class PredictionLog:
    """Takes what was noted of each request, in some microseconds, for a thread that writes it.

    Args:
        add: takes a record and about how many bytes it holds; never waits.
        brain_floats: names of inputs and outputs of BF16, whose arrays hold bits.
    """

    def __init__(
        self,
        settings: LogSettings,
        service: str,
        add: Callable[[PredictionRecord, int], None],
        brain_floats: Collection[str] = (),
    ) -> None:
        self._brain_floats = frozenset(brain_floats)
        self._sample = settings.sample
        self._service = service.encode()
        self._add = add
        self._arm = names.ARM_HEADER.encode()
        self._experiment = names.EXPERIMENT_HEADER.encode()
        self._unit = settings.unit_header.lower().encode()

    def take(self, call: Call, note: Note, status: int, answered: int) -> None:
        """Takes a request that was answered with a status, and ``answered`` bytes."""
        if self._sample < 1.0 and not keeps(note.id, self._sample):
            return
        arm = experiment = unit = None
        shadow = False
        for name, value in call.scope["headers"]:
            if name == self._arm:
                arm = value.decode("latin-1")
            elif name == self._experiment:
                experiment = value.decode("latin-1")
            elif name == b"host":
                host = value.partition(b":")[0]
                shadow = host.endswith(_SHADOW) and host != self._service
            if name == self._unit:
                unit = value.decode("latin-1")
        if self._brain_floats:
            note.inputs, note.outputs = self._numbers(note.inputs), self._numbers(note.outputs)
        # What names no input of ours may be anything, and has no rule of redaction: of a mistake nothing is kept.
        known = status not in _MISTAKES
        self._add(
            PredictionRecord(
                note.id,
                time.time_ns() // 1000,
                status,
                (*note.timings, time.perf_counter() - note.began),
                note.rows,
                arm,
                experiment,
                unit,
                shadow,
                note.cache in KEPT,
                note.entities if known else NOTHING,
                note.features if known else None,
                note.fields if known else NOTHING,
                note.inputs if known else NOTHING,
                note.outputs,
            ),
            _BYTES + len(call.body) + answered,
        )

    def _numbers(self, tensors: Mapping[str, Array]) -> Mapping[str, Array]:
        return {
            name: bfloat16.to_float32(value) if name in self._brain_floats else value for name, value in tensors.items()
        }


async def flush_often(gathering: Gathering) -> None:
    """Gives on what was gathered, again and again; with the writer's own time it makes less than a second."""
    while True:
        await asyncio.sleep(_GATHER_SECONDS)
        gathering.flush()


def open_writer(
    settings: InferenceSettings,
    log: LogSettings,
    model: ServedModel,
    metrics: Metrics,
    environ: Mapping[str, str],
    ending: Callable[[], bool],
) -> EvidenceWriter:
    """What the log is written with. Imports Arrow, and looks whether the lake may be used: not for an event loop.

    Args:
        ending: whether the server drains.

    Raises:
        RejectError: the spool cannot be written, or the lake is none.
    """
    from millrace_core.evidence import rows  # noqa: PLC0415 Arrow
    from millrace_data.evidence.lake import Lake  # noqa: PLC0415
    from millrace_data.evidence.shipping import Shipper, of_service  # noqa: PLC0415
    from millrace_data.evidence.spool import Spool  # noqa: PLC0415
    from millrace_data.evidence.writer import EvidenceWriter  # noqa: PLC0415
    from millrace_data.objects.door import Door  # noqa: PLC0415

    door, secrets = Door(settings.outgoing), with_secret(environ)

    @cache  # which keeps no failure
    def lake() -> Lake:
        return Lake(log.uri, secrets, door)

    lost, origin, spool = _lost(metrics), _origin(settings, log, model), Spool(log.spool)
    shipper = Shipper(
        spool,
        lake,
        of_service(settings.project, model.name),
        settings.pod_uid,
        lambda rows: lost("spool", rows),
        log.spool_bytes,
    )
    try:
        lake()
    except RejectError:
        spool.close()
        raise
    except Exception:  # noqa: S110 its server has no address now; predictions do not wait for that
        pass
    metrics.gauge("millrace_log_spool_bytes", "Bytes of predictions that are not in the lake yet", spool.bytes)
    return EvidenceWriter(lambda groups: rows.table_of(groups, origin), spool, shipper, lost, ending=ending)


def _lost(metrics: Metrics) -> Callable[[str, int], None]:
    """Counts predictions that are not logged, by where they were lost."""
    count = metrics.labelled_counter("millrace_log_dropped", "Predictions that the log has lost, by where", "reason")
    for reason in ("queue", "unwritable", "spool"):
        count((reason,), 0)
    return lambda reason, predictions: count((reason,), predictions)


def _origin(settings: InferenceSettings, log: LogSettings, model: ServedModel) -> Origin:
    """What all records of this server have in common."""
    return Origin(
        settings.project,
        model.name,
        model.deployment,
        model.version,
        model.digest,
        log.sample,
        tuple(Redaction(each.column, each.how) for each in log.redact),
    )


def check_redaction(log: LogSettings, signature: Signature, refs: list[str]) -> None:
    """Refuses the redaction of what cannot be in the log, such as a misspelled name.

    Raises:
        RejectError: names the column, and those that there are.
    """
    known = {
        "input": list(signature.inputs),
        "output": signature.output_names,
        "feature": [full_name(ref) for ref in refs],
    }
    for at, each in enumerate(log.redact):
        kind, _, name = each.column.partition(".")
        if kind in known and name not in known[kind]:
            there = ", ".join(f"{kind}.{other}" for other in known[kind]) or "none"
            raise RejectError(
                f"the log has no column {each.column!r}",
                hint=f"Of this kind it has {there}",
                field=f"spec.inference.log.redact[{at}].column",
                reason="BadLog",
            )
