"""Where the end of a run is told: the termination log, which the operator reads, and the registry."""

from __future__ import annotations

import logging
import urllib.request
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import orjson

from millrace.features import times
from millrace.features.definition import Definition

logger = logging.getLogger(__name__)

# Kubernetes cuts a termination message off there.
_MOST_BYTES: Final = 4096
_MOST_MESSAGE: Final = 3000
_SECONDS: Final = 5.0


def write_termination_log(path: str | None, document: dict[str, Any]) -> None:
    """Writes the result; a place that cannot be written is a warning, since the exit code says the most of it."""
    if not path:
        return
    content = orjson.dumps(document)
    if len(content) > _MOST_BYTES:
        error = document["error"]
        content = orjson.dumps({"error": {**error, "message": f"{error['message'][:_MOST_MESSAGE]}…"}})[:_MOST_BYTES]
    try:
        Path(path).write_bytes(content)
    except OSError as error:
        logger.warning("the result cannot be written to %s: %s", path, error)


def record_run(registry_url: str | None, definition: Definition, document: dict[str, Any], finished: int) -> None:
    """Tells the registry; one that is down is a warning, never a failed run."""
    if registry_url is None:
        return
    url = f"{registry_url.rstrip('/')}/v1/runs/{quote(f'{definition.view}-{finished}')}"
    about = {"kind": "materialize", "namespace": definition.project, "view": definition.view}
    body = orjson.dumps({"finishedAt": times.render(finished), **about, **document})
    request = urllib.request.Request(  # noqa: S310 the operator's own URL
        url, body, {"content-type": "application/json"}, method="PUT"
    )
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS):  # noqa: S310
            pass
    except OSError as error:
        logger.warning("the registry at %s does not record the run: %s", registry_url, error)
