"""Settings from the environment: frozen, typed, loaded once in ``main`` and passed down.

A settings class derives from ``Settings``; each field's ``alias`` is the environment variable and its
``description`` the documentation. The environment is an argument, so nothing here reads the process's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import PydanticCustomError

from millrace_core.base.errors import RejectError


def _names(value: Any) -> Any:
    return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


def _of_a_header(value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise PydanticCustomError("header", "one line of ASCII characters is expected, since it is sent in a header")
    return value


# What a request's header has as it is, such as a token.
HeaderText = Annotated[str, AfterValidator(_of_a_header)]
# Several names in one variable, with commas between them.
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_names)]


# What the variables of a user's Secret begin with in a pod: none of them is the process's own, or its libraries'.
SECRET_PREFIX: Final = "MILLRACE_SECRET_"  # noqa: S105 a name


def with_secret(environ: Mapping[str, str]) -> Mapping[str, str]:
    """The environment together with what the pod's Secret says, for what takes its credentials from there."""
    said = {name: value for name, value in environ.items() if name.startswith(SECRET_PREFIX)}
    return {**environ, **{name.removeprefix(SECRET_PREFIX): value for name, value in said.items()}}


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
