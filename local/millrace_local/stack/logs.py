"""Log files of the components: components append to them, the supervisor rotates them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from millrace_core.base.errors import NotFoundError

LARGEST_BYTES = 8 * 1024 * 1024
_POLL_SECONDS = 0.2
_TAIL_BYTES = 4096
# What programs say at each start or end, as warnings, of which nothing follows for who runs the platform: the store
# writes no snapshots, and Envoy is asked to end.
_OF_NO_CONCERN = ("WARNING Memory overcommit must be enabled!", "caught ENVOY_SIGTERM")


def rotate(path: Path) -> None:
    """Copies a large log to ``<name>.1``, in place of the previous copy, and empties it.

    The component keeps its file open and appends, so the file itself stays. Lines that it writes between the
    copy and the
    truncation are lost.
    """
    try:
        if path.stat().st_size > LARGEST_BYTES:
            shutil.copyfile(path, path.with_name(f"{path.name}.1"))
            with path.open("r+b") as log:
                log.truncate(0)
    except FileNotFoundError:
        return


def tail(path: Path, lines: int, *, since: int = 0) -> str:
    """The last lines of a log: of its last 4 KiB at most, and only of what follows ``since`` bytes."""
    try:
        with path.open("rb") as log:
            log.seek(max(path.stat().st_size - _TAIL_BYTES, since, 0))
            text = log.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.rstrip().splitlines()[-lines:])


def read(folder: Path, names: Sequence[str], *, follow: bool) -> Iterator[str]:
    """The lines of several logs; with ``follow`` also those to come. Several logs have the component's name before
    each line. Lines that are always there and of no concern are left out; the files have them.

    Raises:
        NotFoundError: there is no log of that name.
    """
    known = sorted(path.stem for path in folder.glob("*.log"))
    for name in names:
        if name not in known:
            raise NotFoundError(
                f"there is no log of {name!r}",
                hint=f"There are logs of {', '.join(known)}; of pods: kubectl logs -n NAMESPACE POD"
                if known
                else "There are no logs",
            )
    places = dict.fromkeys(names or known, 0)
    prefixed = len(places) > 1
    while True:
        for name in places:
            lines, places[name] = _since(folder / f"{name}.log", places[name])
            yield from (f"{name:<10} {line}" if prefixed else line for line in lines)
        if not follow:
            return
        time.sleep(_POLL_SECONDS)


def _since(path: Path, place: int) -> tuple[list[str], int]:
    """The complete lines after ``place`` bytes, and where they end; from the start if the log was emptied."""
    try:
        size = path.stat().st_size
        with path.open("rb") as log:
            log.seek(place if size >= place else 0)
            start, content = log.tell(), log.read()
    except FileNotFoundError:
        return [], 0
    whole = content[: content.rfind(b"\n") + 1]
    lines = whole.decode(errors="replace").splitlines()
    return [line for line in lines if not any(each in line for each in _OF_NO_CONCERN)], start + len(whole)
