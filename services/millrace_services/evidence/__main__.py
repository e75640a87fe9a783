"""``python -m millrace_services.evidence``: one run of the job; takes its settings from the environment."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from millrace_core.base.blocked_import import UNUSED, block_imports
from millrace_core.base.errors import MillraceError, RejectError
from millrace_services.evidence.settings import EvidenceSettings

logger = logging.getLogger(__name__)


def main(environ: Mapping[str, str]) -> int:
    """Runs once; 0, 2 where the settings or the lake's address are wrong, 1 where something else failed."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        settings = EvidenceSettings.load(environ)
        logging.getLogger().setLevel(settings.log_level)
        return _run(settings, environ)
    except MillraceError as error:
        logger.error("%s", error)  # noqa: TRY400 its sentence says all
        return 2 if isinstance(error, RejectError) else 1


def _run(settings: EvidenceSettings, environ: Mapping[str, str]) -> int:
    from millrace_data.evidence import merging  # noqa: PLC0415 Arrow: wrong settings are told before
    from millrace_data.evidence.lake import Lake  # noqa: PLC0415

    lake = Lake(settings.lake_uri, environ, field="MILLRACE_LAKE_URI")
    rules = merging.Rules(retention=timedelta(seconds=settings.retention_seconds))
    done = merging.tidy(lake, rules, datetime.now(UTC), Path(tempfile.gettempdir()))
    logger.info(
        "%d hours merged, %d files that others have replaced and %d old days deleted, %d days failed",
        done.merged,
        done.files,
        done.days,
        done.failed,
    )
    return 1 if done.failed else 0


if __name__ == "__main__":
    block_imports(*UNUSED)
    sys.exit(main(os.environ))
