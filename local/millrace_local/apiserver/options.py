"""The query parameters of write requests."""

from __future__ import annotations

from dataclasses import dataclass

from millrace_local.apiserver.errors import bad_request
from millrace_local.apiserver.request import Request

_VALIDATIONS = ("Ignore", "Strict", "Warn")
_MANAGER_LIMIT = 128


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """Dry run, field manager, field validation, and whether apply takes over fields of others."""

    dry_run: bool = False
    manager: str = "unknown"
    validation: str = "Warn"
    force: bool = False

    @classmethod
    def of(cls, request: Request) -> WriteOptions:
        """Reads the options from the query.

        Raises:
            StatusError: 400 for an unknown value.
        """
        query = request.query
        dry_run, validation = query.get("dryRun", ""), query.get("fieldValidation") or "Warn"
        if dry_run not in ("", "All"):
            raise bad_request(f'dryRun: Unsupported value: "{dry_run}": supported values: "All"')
        if validation not in _VALIDATIONS:
            supported = ", ".join(f'"{name}"' for name in _VALIDATIONS)
            raise bad_request(f'fieldValidation: Unsupported value: "{validation}": supported values: {supported}')
        manager = query.get("fieldManager") or request.user_agent.partition("/")[0] or "unknown"
        return cls(dry_run == "All", manager[:_MANAGER_LIMIT], validation, request.flag("force"))
