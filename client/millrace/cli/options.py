"""Options that several groups of commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# A token itself would be in the list of processes that everybody sees.
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        help="File with the token for registry and gateway; default: MILLRACE_TOKEN, or the file MILLRACE_TOKEN_FILE.",
        show_default=False,
    ),
]
