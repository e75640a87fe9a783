"""Features at predict time: one read from the gateway for all rows, laid out as the model's inputs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson

from millrace_core.api import feature_reference
from millrace_core.base.bearer import OPEN, Bearer
from millrace_core.base.errors import MillraceError, NotFoundError, RejectError, ReportError, TooLargeError
from millrace_core.evidence.record import FeatureValues
from millrace_services.inference.feature_layout import full_name, layout, prove, tensor
from millrace_services.inference.note import Note
from millrace_services.inference.settings import FeatureSettings
from millrace_services.inference.signature import Signature
from millrace_services.inference.tensors import Array
from millrace_services.web import trace
from millrace_services.web.errors import DependencyError

Entities = Mapping[str, Sequence[Any]]
Feeds = dict[str, Array]

READ: Final = "/get-online-features"
METADATA: Final = "/get-feature-metadata"
CONNECTIONS: Final = 256
KEEP_ALIVE_SECONDS: Final = 60

_BAD_REQUEST: Final = 400
_NOT_FOUND: Final = 404
_TOO_LARGE: Final = 413
_OK: Final = 200
# Seconds between questions for types where a view is not known: it may have been applied with the model.
_LOOK_AGAIN: Final = (0.5, 1.0, 2.0)

logger = logging.getLogger(__name__)


class FeatureJoin:
    """Reads the features of a deployment and puts them into the model's inputs.

    Args:
        bearer: what is sent to the gateway.
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
        bearer: Bearer = OPEN,
        seconds: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._layout = layout(settings, signature)
        self._names = [full_name(ref) for ref in settings.refs]
        # Of each view the first feature stands for the row that was read.
        self._views: dict[str, str] = {}
        for ref, name in zip(settings.refs, self._names, strict=True):
            self._views.setdefault(feature_reference.parse(ref).label, name)
        self._gateway = gateway_url.rstrip("/")
        self._url = self._gateway + READ
        self._fixed = {"features": settings.refs, "full_feature_names": True, "project": project}
        self._bearer = bearer
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
            feature's values are not of the input's type, or the answer cannot be read. DependencyError: the gateway
            cannot be reached, has no answer within the timeout, or lacks what it needs itself.
        """
        began = perf_counter()
        body = {**self._fixed, "entities": {**entities, **(fields or {})}}
        request = orjson.dumps({**body, "request": also} if also else body)
        try:
            status, content = await self._post(self._url, request)
        finally:
            self._seconds(perf_counter() - began)
        try:
            columns = self._columns(_read(status, content), entities, note)
        except (KeyError, ValueError, TypeError) as error:
            raise ReportError(f"the gateway's answer cannot be read: {error!r}") from error
        return {name: tensor(spec, refs, columns) for name, (spec, refs) in self._layout.items()}

    async def prove(self) -> None:
        """Proves by the types that the gateway knows that the features fit the model, before the first request comes.

        A gateway that is not there, or that does not know a view, proves nothing and ends no start: a pod that starts
        meanwhile serves as soon as it is back.

        Raises:
            RejectError: the features do not fit, or no gateway would read them together (``BadFeatures``).
        """
        try:
            types = await self._types()
        except NotFoundError as error:
            logger.warning("whether the features fit the model is not proven: %s", error)
        except RejectError as error:
            raise RejectError(error.message, hint=error.hint, field="spec.features", reason="BadFeatures") from error
        except MillraceError as error:
            logger.warning("whether the features fit the model is not proven: %s", error)
        except (KeyError, ValueError, TypeError) as error:
            logger.warning("whether the features fit the model is not proven: the gateway answered %r", error)
        else:
            prove(self._layout, types)

    async def _types(self) -> dict[str, str]:
        """The type of each feature by full name."""
        request = orjson.dumps(self._fixed)
        status, content = await self._post(self._gateway + METADATA, request)
        for wait in _LOOK_AGAIN:
            if status != _NOT_FOUND:
                break
            await asyncio.sleep(wait)
            status, content = await self._post(self._gateway + METADATA, request)
        return {each["name"]: each["type"] for each in _read(status, content)["features"]}

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def _post(self, url: str, request: bytes) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(self._settings.timeout):
                return await self._answer(url, request)
        except TimeoutError:
            raise DependencyError(
                f"the gateway gave no features within {self._settings.timeout:g} s",
                hint="Try again, or raise spec.features.timeout",
                delay=1,
            ) from None

    async def _answer(self, url: str, request: bytes) -> tuple[int, bytes]:
        headers = {"content-type": "application/json", **trace.outgoing(), **self._bearer.headers()}
        for last in (False, True):
            try:
                # The gateway redirects nobody, and what else would is not to have the token.
                async with self._client.post(url, data=request, headers=headers, allow_redirects=False) as response:
                    return response.status, await response.read()
            except aiohttp.ClientError as error:
                # A pooled connection may have been closed under our hands by a gateway that stops; a read may be
                # repeated.
                if last:
                    raise DependencyError(
                        f"the gateway {url} cannot be reached: {error or type(error).__name__}", delay=1
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
    raise DependencyError(f"the gateway answers {status}: {said}", delay=1)


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
