"""Features at predict time: one read from the gateway for all rows, laid out as the model's inputs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import numpy as np
import orjson

from millrace_core.api import feature_reference
from millrace_core.base.errors import MillraceError, NotFoundError, RejectError, ReportError, RetryError, TooLargeError
from millrace_core.evidence.record import FeatureValues
from millrace_services.inference.note import Note
from millrace_services.inference.settings import FeatureSettings
from millrace_services.inference.signature import Signature
from millrace_services.inference.tensors import NUMPY, Array, TensorSpec, cast
from millrace_services.web import trace
from millrace_services.web.errors import DeadlineError

Entities = Mapping[str, Sequence[Any]]
Feeds = dict[str, Array]

CONNECTIONS: Final = 256
KEEP_ALIVE_SECONDS: Final = 60

_BAD_REQUEST: Final = 400
_NOT_FOUND: Final = 404
_TOO_LARGE: Final = 413
_OK: Final = 200
_MATRIX: Final = 2


class FeatureJoin:
    """Reads the features of a deployment and puts them into the model's inputs.

    Args:
        seconds: called with the seconds that each read took.

    Raises:
        RejectError: the features do not fit the model's inputs; names both (``BadFeatures``).
    """

    def __init__(
        self,
        settings: FeatureSettings,
        signature: Signature,
        *,
        gateway_url: str,
        project: str,
        seconds: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._layout = layout(settings, signature)
        self._names = [full_name(ref) for ref in settings.refs]
        # Of each view the first feature stands for the row that was read.
        self._views: dict[str, str] = {}
        for ref, name in zip(settings.refs, self._names, strict=True):
            self._views.setdefault(feature_reference.parse(ref).label, name)
        self._url = gateway_url.rstrip("/") + "/get-online-features"
        self._fixed = {"features": settings.refs, "full_feature_names": True, "project": project}
        self._seconds = seconds
        # aiohttp takes a tenth of the processor time that httpx takes for a small request. It would look the proxy up
        # in the environment for each of them, so that is done here, once.
        self._client = aiohttp.ClientSession(
            proxy=_proxy(gateway_url),
            timeout=aiohttp.ClientTimeout(total=settings.timeout),
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=KEEP_ALIVE_SECONDS),
        )

    @property
    def inputs(self) -> frozenset[str]:
        """Names of the inputs that features fill."""
        return frozenset(self._layout)

    async def feeds(
        self,
        entities: Entities,
        fields: Entities | None = None,
        also: Entities | None = None,
        note: Note | None = None,
    ) -> Feeds:
        """The joined features of every entity row, by input name.

        Args:
            entities: join keys.
            fields: what the features' expressions read of the request; the gateway refuses one that none reads.
            also: what they may read of what the model itself is fed.
            note: gets what was read.

        Raises:
            NotFoundError: a value is missing and ``onMissing`` is ``fail``; or the gateway knows no such view or
            feature. RejectError: the gateway refuses the entities; TooLargeError: they are too many. ReportError: a
            feature's values are not of the input's type, or the answer cannot be read. DeadlineError: no answer within
            the timeout. RetryError: the gateway cannot be reached.
        """
        began = perf_counter()
        body = {**self._fixed, "entities": {**entities, **(fields or {})}}
        request = orjson.dumps({**body, "request": also} if also else body)
        try:
            async with asyncio.timeout(self._settings.timeout):
                status, content = await self._post(request)
        except TimeoutError:
            raise DeadlineError(
                f"the gateway gave no features within {self._settings.timeout:g} s",
                hint="Try again, or raise spec.features.timeout",
                delay=1,
            ) from None
        finally:
            self._seconds(perf_counter() - began)
        try:
            columns = self._columns(_read(status, content), entities, note)
        except (KeyError, ValueError, TypeError) as error:
            raise ReportError(f"the gateway's answer cannot be read: {error!r}") from error
        return {name: _tensor(spec, refs, columns) for name, (spec, refs) in self._layout.items()}

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def _post(self, request: bytes) -> tuple[int, bytes]:
        headers = {"content-type": "application/json", **trace.outgoing()}
        for last in (False, True):
            try:
                async with self._client.post(self._url, data=request, headers=headers) as response:
                    return response.status, await response.read()
            except aiohttp.ClientError as error:
                # A pooled connection may have been closed under our hands by a gateway that stops; a read may be
                # repeated.
                if last:
                    raise RetryError(
                        f"the gateway {self._url} cannot be reached: {error or type(error).__name__}", delay=1
                    ) from error
        raise AssertionError

    def _columns(self, answer: dict[str, Any], entities: Entities, note: Note | None) -> dict[str, list[Any]]:
        """Values per feature reference, None where there is none; in the order of the entity rows."""
        results = dict(zip(answer["metadata"]["feature_names"], answer["results"], strict=True))
        if note is not None:
            note.features = FeatureValues(
                {name: results[name]["values"] for name in self._names},
                {view: results[name]["event_timestamps"] for view, name in self._views.items()},
                {view: results[name]["statuses"] for view, name in self._views.items()},
            )
        columns, missing = {}, 0
        for ref in self._settings.refs:
            result = results[full_name(ref)]
            values, statuses = result["values"], result["statuses"]
            missing += len(statuses) - statuses.count("PRESENT")
            if self._settings.on_missing == "fail" and missing:
                raise _missing(ref, statuses, entities)
            # A value is null where nothing is visible, but for aggregates: theirs is that of empty windows, as in
            # training, whatever the status says of the row.
            columns[ref] = values
        if note is not None:
            note.missing = missing
        return columns


def full_name(ref: str) -> str:
    """A feature's name in the gateway's answer: ``view__feature`` for ``view:feature``."""
    return feature_reference.parse(ref).full_name


def layout(settings: FeatureSettings, signature: Signature) -> dict[str, tuple[TensorSpec, list[str]]]:
    """Which inputs receive which features, in order.

    One input takes all of them as rows of a matrix: the one named, or the model's only one. An array takes as many
    places of the row as it has elements, so one embedding may fill the row, or stand beside scalars. A model with
    several inputs and none named has one per feature, called like the feature, or ``view__feature`` where two views
    have one feature name.

    Raises:
        RejectError: no such input, or one too narrow for the features (``BadFeatures``).
    """
    inputs, refs = signature.inputs, settings.refs
    named = settings.input
    if named is not None and named not in inputs:
        raise _bad(f"the model has no input {named!r}, it has {', '.join(inputs)}", "spec.features.input")
    if named is None and len(inputs) == 1:
        (named,) = inputs
    for spec in inputs.values():
        if spec.datatype not in NUMPY:
            raise _bad(f"input {spec.name!r} takes {spec.datatype}, which features have no values for", "spec.features")
    if named is None:
        return {spec.name: (spec, [ref]) for ref in refs for spec in [_own_input(ref, signature)]}
    spec = inputs[named]
    # A wider input may be meant for arrays, whose lengths only their values tell.
    if len(spec.shape) != _MATRIX or -1 < spec.shape[1] < len(refs):
        raise _bad(
            f"{len(refs)} features make rows of at least {len(refs)} values, the model's input {named!r} takes "
            f"{list(spec.shape)}",
            "spec.features.refs",
        )
    return {named: (spec, list(refs))}


def _own_input(ref: str, signature: Signature) -> TensorSpec:
    short = feature_reference.parse(ref).feature
    spec = signature.inputs.get(full_name(ref)) or signature.inputs.get(short)
    if spec is None:
        raise _bad(
            f"the model has no input {short!r} for {ref}, it has {', '.join(signature.inputs)}", "spec.features.refs"
        )
    if len(spec.shape) not in (1, _MATRIX) or spec.shape[0] != -1:
        raise _bad(
            f"input {spec.name!r} takes {list(spec.shape)}, one value or one array per row is what {ref} gives",
            "spec.features.refs",
        )
    return spec


def _read(status: int, content: bytes) -> dict[str, Any]:
    if status == _OK:
        answer: dict[str, Any] = orjson.loads(content)
        return answer
    try:
        said = str(orjson.loads(content)["error"])
    except (ValueError, KeyError, TypeError):
        said = content[:200].decode("utf-8", "replace")
    placed = said if said.startswith("features: ") else f"features: {said}"
    if status == _NOT_FOUND:
        raise NotFoundError(placed)
    if status == _BAD_REQUEST:
        raise RejectError(placed)
    if status == _TOO_LARGE:
        raise TooLargeError(placed)
    raise RetryError(f"the gateway answers {status}: {said}", delay=1)


def _proxy(url: str) -> str | None:
    """The proxy that ``http_proxy``, ``https_proxy`` and ``no_proxy`` name for a URL."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


def _missing(ref: str, statuses: Sequence[str], entities: Entities) -> MillraceError:
    row = next(number for number, status in enumerate(statuses) if status != "PRESENT")
    entity = ", ".join(f"{key}={values[row]!r}" for key, values in entities.items())
    return NotFoundError(
        f"feature {ref}{' of ' if entity else ''}{entity} has no value ({statuses[row]})",
        hint="Ask for an entity that has one, or set spec.features.onMissing to default",
        field="entities",
        reason="FeatureMissing",
    )


def _tensor(spec: TensorSpec, refs: Sequence[str], columns: Mapping[str, list[Any]]) -> Array:
    kind = NUMPY[spec.datatype].kind
    by_place = _by_place(spec, refs, columns)
    default = _DEFAULTS[kind]
    rows = [[default if value is None else value for value in place] for place in by_place]
    values = np.array(rows, dtype=object if kind == "O" else None)
    if kind == "f" and values.dtype.kind == "U":
        values = np.array([[_NOT_FINITE.get(value, value) for value in row] for row in rows])
    if kind != "b" and values.dtype.kind == "b":
        values = values.astype(np.uint8)
    try:
        by_row = cast(values, spec).T
    except RejectError as error:
        raise _misfit(refs, str(error)) from error
    return np.ascontiguousarray(by_row if len(spec.shape) == _MATRIX else by_row[:, 0])


def _by_place(spec: TensorSpec, refs: Sequence[str], columns: Mapping[str, list[Any]]) -> list[Sequence[Any]]:
    """The values of each place of the rows: a scalar has one, an array one per element."""
    width = spec.shape[1] if len(spec.shape) == _MATRIX else 1
    made = {ref: _elements(ref, columns[ref]) if list in map(type, columns[ref]) else [columns[ref]] for ref in refs}
    missing = width - sum(map(len, made.values()))
    if missing and width != -1:
        # A feature without any value may be one of arrays: as long as the others leave room.
        nothing = [ref for ref in refs if columns[ref].count(None) == len(columns[ref])]
        if missing < 0 or len(nothing) != 1:
            raise _misfit(refs, f"they make rows of {width - missing} values, input {spec.name!r} takes {width}")
        made[nothing[0]] *= missing + 1
    return [place for ref in refs for place in made[ref]]


def _elements(ref: str, column: list[Any]) -> list[Sequence[Any]]:
    lengths = {len(value) for value in column if value is not None}
    if len(lengths) > 1:
        raise _misfit([ref], f"its arrays have different lengths: {', '.join(map(str, sorted(lengths)))}")
    nothing = (None,) * lengths.pop()
    return list(zip(*(nothing if value is None else value for value in column), strict=True))


def _misfit(refs: Sequence[str], why: str) -> ReportError:
    return ReportError(
        f"features {', '.join(refs)} do not fit the model: {why}", field="spec.features", reason="BadFeatures"
    )


# How the gateway writes floats that JSON has no number for.
_NOT_FINITE: Final = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_DEFAULTS: Final[dict[str, Any]] = {"f": float("nan"), "i": 0, "u": 0, "b": False, "O": ""}


def _bad(sentence: str, field: str) -> RejectError:
    return RejectError(sentence, field=field, reason="BadFeatures")
