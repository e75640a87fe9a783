"""Where the result of a run goes: the termination log, which the operator reads, and the registry."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from millrace_core.base.errors import RejectError
from millrace_core.base.timeouts import ANSWER_SECONDS
from millrace_core.features.definition.definition import Definition
from millrace_core.features.types import times
from millrace_services.materialize.settings import JobSettings
from millrace_services.web import termination

logger = logging.getLogger(__name__)


def write_termination_log(path: str | None, document: dict[str, Any]) -> None:
    """Writes the result; a place that cannot be written is a warning, since the exit code says the most of it."""
    if not path:
        return
    content = orjson.dumps(_bounded(document))
    try:
        Path(path).write_bytes(content)
    except OSError as error:
        logger.warning("the result cannot be written to %s: %s", path, error)


def _bounded(document: dict[str, Any]) -> dict[str, Any]:
    """What of the document fits: an error's message is cut, and of quality results failing ones stay the longest.

    Of the expressions that fail those stay that fail the most.
    """
    if "error" in document:
        document = {**document, "error": termination.shortened(document["error"])}
    if results := sorted(document.get("quality") or (), key=lambda each: (each["passed"], each["severity"])):
        document = {**document, "quality": results}
    while results and termination.size(document) > termination.MOST_BYTES:
        results.pop()
    if errors := dict(sorted((document.get("expressionErrors") or {}).items(), key=lambda each: -each[1])):
        document = {**document, "expressionErrors": errors}
    while errors and termination.size(document) > termination.MOST_BYTES:
        errors.popitem()
    return document


def record_run(settings: JobSettings, definition: Definition, document: dict[str, Any], finished: int) -> None:
    """Tells the registry; one that is down, or takes no token of ours, is a warning, never a failed run."""
    if settings.registry_url is None:
        return
    url = f"{settings.registry_url.rstrip('/')}/v1/runs/{quote(f'{definition.view}-{finished}')}"
    about = {"kind": "materialize", "namespace": definition.project, "view": definition.view}
    body = orjson.dumps({"finishedAt": times.render(finished), **about, **document})
    import httpx  # noqa: PLC0415 a run that failed early, or has no registry, need not wait for it

    try:
        headers = {"content-type": "application/json", **settings.bearer().headers()}
        httpx.put(url, content=body, headers=headers, timeout=ANSWER_SECONDS).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL, RejectError) as error:
        logger.warning("the registry at %s does not record the run: %s", settings.registry_url, error)
