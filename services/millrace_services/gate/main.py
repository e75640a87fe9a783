"""The command: judges, and leaves the result as the container's termination message.

A judgement is a success of the Job whatever it says; a failure of the Job is that there is none.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from millrace_core.base.errors import MillraceError, ReportError
from millrace_services.gate.judgement import judgement
from millrace_services.gate.settings import GateSettings
from millrace_services.inference import result
from millrace_services.web import logs, termination

logger = logging.getLogger(__name__)

# What a sentence is cut to, step by step, until all of them fit.
_LENGTHS: Final = (400, 240, 140, 80, 40)


def main(environ: Mapping[str, str]) -> int:
    """Judges; returns 0 with a judgement, 2 where a retry will not help, else 1."""
    log = Path(environ.get("MILLRACE_TERMINATION_LOG") or result.KUBERNETES)
    try:
        settings = GateSettings.load(environ)
        logs.configure(settings.log_level)
        began = perf_counter()
        found = judgement(settings, environ)
    except MillraceError as error:
        return _failed(log, error)
    except Exception as error:
        logger.exception("unexpected error")
        return _failed(log, ReportError(f"unexpected {type(error).__name__}: {error}", hint="The Job's log has more"))
    document = bounded({**found, "seconds": round(perf_counter() - began, 1)})
    logger.info("judged", extra={"verdict": document["verdict"], "rules": document["rules"]})
    result.report(log, document)
    return 0


def bounded(document: dict[str, Any]) -> dict[str, Any]:
    """The result with sentences so short that it fits into the termination message."""
    for length in _LENGTHS:
        rules = [
            {**rule, "rule": rule["rule"][:80], "message": _cut(rule["message"], length)} for rule in document["rules"]
        ]
        cut = {**document, "rules": rules}
        if termination.size(cut) <= termination.MOST_BYTES:
            break
    return cut


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _failed(log: Path, error: MillraceError) -> int:
    print(f"millrace: {error}", file=sys.stderr)  # noqa: T201 the one line a person reads
    result.report(log, result.of_error(error))
    return result.exit_code(error)
