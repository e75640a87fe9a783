"""Errors of the online store."""

from __future__ import annotations

from socket import gaierror
from typing import Final

# Codes of what goes wrong before or instead of a reply; those of error replies are upper case.
CLOSED: Final = "closed"
TIMEOUT: Final = "timeout"
REFUSED: Final = "refused"
UNRESOLVED: Final = "unresolved"
FOREIGN: Final = "foreign"
NO_MASTER: Final = "no-master"


class StoreError(Exception):
    """The store replied with an error, or gave no reply.

    Attributes:
        code: the first word of an error reply, such as MOVED, or one of the codes above.
    """

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


def error_reply(text: str) -> StoreError:
    """The error of an error reply, such as ``MOVED 3999 127.0.0.1:6381``."""
    return StoreError(text, text.partition(" ")[0])


def no_connection(error: OSError | UnicodeError) -> StoreError:
    """The error of a connection that could not be made."""
    return StoreError(str(error), UNRESOLVED if isinstance(error, gaierror | UnicodeError) else REFUSED)
