"""The seam between routes and where files lie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from millrace_services.registry.mlflow.errors import MlflowError, absent


class Entry(NamedTuple):
    """A file or a folder in a folder; ``size`` in bytes, None of a folder."""

    name: str
    size: int | None


class Content(NamedTuple):
    """A file that is open; ``chunks`` are to be read to their end, or closed."""

    size: int
    chunks: Iterator[bytes]


class Upload(Protocol):
    """A file that comes piece by piece, and is there only once it is whole."""

    def write(self, piece: bytes) -> None:
        """Takes the next bytes."""

    def finish(self) -> None:
        """Puts the file in its place, over the one that was there; it is on the disk from then on."""

    def abandon(self) -> None:
        """Forgets it; nothing is left. After ``finish`` it does nothing."""


class Place(Protocol):
    """Where files lie. Paths are as ``paths`` has checked them; threads may call it at the same time.

    All raise ``MlflowError`` for a path that is not there or cannot be, ``RetryError`` where nothing is to be had now.
    """

    def listed(self, path: str) -> list[Entry]:
        """What is in a folder, by name; nothing where there is no such folder."""

    def opened(self, path: str) -> Content:
        """A file."""

    def upload(self, path: str) -> Upload:
        """Begins a file."""

    def delete(self, path: str) -> None:
        """Deletes a file, or a folder with all that is in it; also what is not there."""


def shown(entries: list[Entry], folder: str = "") -> list[dict[str, Any]]:
    """Entries as answers have them; their paths begin with ``folder``."""
    before = f"{folder}/" if folder else ""
    return [
        {"path": before + each.name, "is_dir": True}
        if each.size is None
        else {"path": before + each.name, "is_dir": False, "file_size": each.size}
        for each in entries
    ]


def no_file(path: str) -> MlflowError:
    """There is no file of this path; 404."""
    return absent(f"No such artifact: '{path}'")
