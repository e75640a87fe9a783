"""Bearer tokens (RFC 6750): which ones a service takes, and which one is sent to it.

A file has a token on each line: a service takes each of them, and a caller sends the first. The file is read again
when it is another one, so tokens change without a restart: add the new one below, then swap the two, then take the old
one out.
"""

from __future__ import annotations

import hmac
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from pydantic import Field

from millrace_core.base.errors import RejectError
from millrace_core.base.settings import Settings

logger = logging.getLogger(__name__)

TOKEN: Final = "MILLRACE_TOKEN"  # noqa: S105 a name
TOKEN_FILE: Final = "MILLRACE_TOKEN_FILE"  # noqa: S105 a name

# Attempts are not counted, so a token must not be one that is guessed.
_LEAST: Final = 16
_MOST: Final = 4096
_MOST_BYTES: Final = 64 * 1024
# https://www.rfc-editor.org/rfc/rfc6750#section-2.1
_FORM: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")

Mark = tuple[int, int, int, int]


class Bearer:
    """The tokens of one file, or those given; none at all where there is neither.

    It shows none of them in its ``repr``.

    Args:
        tokens: those given.
        file: has them.
        field: the setting that names the file, for messages.

    Raises:
        RejectError: the file cannot be read, has no token, or one that is none.
    """

    __slots__ = ("_fault", "_field", "_file", "_mark", "_tokens")

    def __init__(self, tokens: Sequence[str] = (), file: Path | None = None, field: str = TOKEN_FILE) -> None:
        self._file, self._field = file, field
        self._mark: Mark | None = None
        self._fault = ""
        self._tokens = tuple(each.encode() for each in tokens)
        if file is not None:
            self._look(file)

    def __bool__(self) -> bool:
        return bool(self._tokens)

    def __repr__(self) -> str:
        return f"Bearer({len(self._tokens)} tokens{f' of {self._file}' if self._file else ''})"

    def headers(self) -> dict[str, str]:
        """The header that a request carries; empty where there is no token."""
        tokens = self._current()
        return {"authorization": f"Bearer {tokens[0].decode()}"} if tokens else {}

    def admits(self, token: bytes) -> bool:
        """Whether it is one of them; takes as long whichever it is."""
        return sum(hmac.compare_digest(token, each) for each in self._current()) > 0

    def _current(self) -> tuple[bytes, ...]:
        """The file's tokens; those that it had last where it has none now, as while it is being written."""
        if self._file is None:
            return self._tokens
        try:
            self._look(self._file)
        except RejectError as error:
            fault = str(error)
        else:
            fault = ""
        if fault and fault != self._fault:
            logger.warning("the tokens that were read last stay: %s", fault)
        self._fault = fault
        return self._tokens

    def _look(self, file: Path) -> None:
        try:
            about = os.stat(file)  # noqa: PTH116 for each request: a third of what Path takes
            mark = about.st_dev, about.st_ino, about.st_mtime_ns, about.st_size
            if mark == self._mark:
                return
            with file.open("rb") as opened:
                content = opened.read(_MOST_BYTES + 1)
        except OSError as error:
            raise RejectError(
                f"the file of tokens {file} cannot be read: {error.strerror or error}",
                hint="Name a file with a token on each line; in a pod it comes from a Secret with the key tokens",
                field=self._field,
                reason="BadToken",
            ) from error
        self._tokens = tuple(each.encode() for each in _listed(content, file, self._field))
        self._mark = mark


# Where no token is asked for, or sent.
OPEN: Final = Bearer()


class TokenSettings(Settings):
    """The tokens of a process."""

    token_file: Path | None = Field(
        None,
        alias=TOKEN_FILE,
        description="File with bearer tokens, each on a line of its own, of at least 16 characters. Registry and "
        "gateway take requests with one of them alone, but for probes and /metrics; the first is sent to them. It is "
        "read again when it changes. Empty: no token is asked for, and none is sent",
    )

    def bearer(self) -> Bearer:
        """These tokens.

        Raises:
            RejectError: the file cannot be read, has no token, or one that is none.
        """
        return OPEN if self.token_file is None else Bearer(file=self.token_file)


def of(environ: Mapping[str, str], token: str | os.PathLike[str] | None = None) -> Bearer:
    """What a program of a user sends.

    Args:
        environ: has it as ``MILLRACE_TOKEN``, or the file's name as ``MILLRACE_TOKEN_FILE``, if nothing else is said.
        token: a token, or as a path the file that has it on its first line.

    Raises:
        RejectError: it is no token, or the file cannot be read or has none.
    """
    if token is not None:
        field = "token"
    elif token := environ.get(TOKEN, "").strip():
        field = TOKEN
    elif name := environ.get(TOKEN_FILE, "").strip():
        token, field = Path(name), TOKEN_FILE
    else:
        return OPEN
    if isinstance(token, str):
        return Bearer([_checked(token.strip(), "what came", field)])
    return Bearer(file=Path(token), field=field)


def _listed(content: bytes, file: Path, field: str) -> list[str]:
    if len(content) > _MOST_BYTES:
        raise RejectError(f"{file} has more than {_MOST_BYTES} bytes", field=field, reason="BadToken")
    lines = content.decode("latin-1").splitlines()
    found = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise RejectError(
            f"{file} is empty",
            hint="Write a token into it, such as `openssl rand -hex 32` makes; without the setting none is asked for",
            field=field,
            reason="BadToken",
        )
    return [_checked(token, f"line {number} of {file}", field) for number, token in found]


def _checked(token: str, where: str, field: str) -> str:
    if not _FORM.fullmatch(token):  # which is not shown
        why = "has other characters than letters, digits and -._~+/ (with = at its end)"
    elif not _LEAST <= len(token) <= _MOST:
        why = f"has {len(token)} characters, {_LEAST} to {_MOST} are expected"
    else:
        return token
    raise RejectError(
        f"{where} is no token: it {why}",
        hint="`openssl rand -hex 32` makes one",
        field=field,
        reason="BadToken",
    )
