"""Settings from the environment: frozen, typed, loaded once in ``main`` and passed down.

A settings class derives from ``Settings``; each field's ``alias`` is the environment variable and its
``description`` the documentation. The environment is an argument, so nothing here reads the process's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from millrace_core.base.errors import RejectError


def _names(value: Any) -> Any:
    return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


# Several names in one variable, with commas between them.
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]


class Settings(BaseModel):
    """Base of every settings class."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """Builds the settings from environment variables; empty values count as absent.

        Line ends behind a value are left out: they are what ``echo`` puts into a Secret.

        Raises:
            RejectError: a variable is missing or has a value of the wrong form; names the variable.
        """
        stripped = {name: value.rstrip("\r\n") for name, value in environ.items()}
        present = {name: value for name, value in stripped.items() if value != ""}
        try:
            return cls.model_validate(present)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            raise RejectError(
                f"environment variable {name}: {first['msg']}",
                hint="Set it as the settings class documents it",
                field=name,
                reason="BadSettings",
            ) from error
