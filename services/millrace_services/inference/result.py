"""What a container leaves behind for the operator: one JSON object as Kubernetes' termination message."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

import orjson

from millrace_core.base.errors import MillraceError, RejectError
from millrace_services.web import termination

logger = logging.getLogger(__name__)

KUBERNETES: Final = Path("/dev/termination-log")


def report(path: Path, result: dict[str, Any]) -> None:
    """Writes the result; where nobody collects it (no such file, no permission) it is left out."""
    if path == KUBERNETES and not path.exists():
        return
    try:
        path.write_bytes(orjson.dumps(result))
    except OSError as error:
        logger.warning("cannot write the result to %s: %s", path, error.strerror)


def of_error(error: MillraceError) -> dict[str, Any]:
    """``{"error": {"reason", "message", "field"}}``, short enough for the termination message."""
    return {"error": termination.shortened(error.as_dict())}


def exit_code(error: MillraceError) -> int:
    """2 where a retry will not help, else 1."""
    return 2 if isinstance(error, RejectError) else 1
