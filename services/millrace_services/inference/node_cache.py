"""Models that a node has had, by their digests, in a folder that its pods share.

``<folder>/<hex of the digest>/`` holds ``model`` and, below ``beside``, the files with its external data. An entry
appears whole, by a rename. Nothing in it is believed: a pod copies an entry into a volume of its own and takes the copy
only if that has the digest that it looked for. So neither a torn disk, nor another pod that may write to the folder,
can have it serve other bytes than those; what such a pod can do is to empty the folder, or fill the disk.

Locks are ``flock``: they end with their process, also by a signal.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Final

from millrace_core.base.errors import RejectError
from millrace_services.inference import model_files
from millrace_services.inference.model_files import Downloaded

logger = logging.getLogger(__name__)

_CHUNK: Final = 4 * 1024 * 1024
_MODEL: Final = "model"
_BESIDE: Final = "beside"
_LOCKS: Final = "locks"
_ENTRY: Final = re.compile("[0-9a-f]{64}")
_FRESH: Final = ".new-"
_GONE: Final = ".old-"
_ROOM: Final = "room"
# Longer than most downloads: whoever waits longer for another pod's goes on with one of its own.
WAIT_SECONDS: Final = 900.0
_PAUSE_SECONDS: Final = 0.1
# Of Linux, since 4.5: two files share their blocks until one is written.
_FICLONE: Final = 0x40049409


class NodeCache:
    """The models of one folder.

    Args:
        folder: where they are.
        most: bytes that all of them may take; those used longest ago go first.
        wait: seconds to wait for another pod that fetches the same model.
    """

    def __init__(
        self,
        folder: Path,
        most: int,
        *,
        wait: float = WAIT_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._most = most
        self._wait = wait
        self._sleep = sleep
        self._now = now

    @contextmanager
    def turn(self, digest: str) -> Iterator[bool]:
        """While the block runs, no other pod of the node fetches this model, or it has waited long enough.

        Yields:
            Whether the model is there by now.
        """
        lock = None
        try:
            lock = self._lock(_hex(digest), fcntl.LOCK_EX, self._wait)
        except OSError as error:
            _tell("cannot be locked", error)
        try:
            yield (self._folder / _hex(digest) / _MODEL).is_file()
        finally:
            if lock is not None:
                os.close(lock)

    def take(self, digest: str, model: Path) -> Downloaded | None:
        """Copies a model to ``<model>.part``, with the files beside it; None where it is not here, or is damaged.

        What was copied has the digest.
        """
        try:
            lock = self._lock(_hex(digest), fcntl.LOCK_SH, 0)
        except OSError as error:
            _tell("cannot be read", error)
            return None
        if lock is None:  # another pod fetches it, and has none yet
            return None
        try:
            return self._taken(digest, model)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                _tell("cannot be read", error)
            return None
        finally:
            os.close(lock)

    def put(self, digest: str, model: Path, names: list[str]) -> bool:
        """Keeps a model that was fetched and has the digest; whether it is kept now.

        Args:
            names: of the files beside it.
        """
        entry = self._folder / _hex(digest)
        files = {_MODEL: model, **{f"{_BESIDE}/{name}": model.parent / name for name in names}}
        try:
            if entry.exists():
                return True
            sizes = {name: path.stat().st_size for name, path in files.items()}
            with self._reserved(entry.name, sizes) as fresh:
                if fresh is None:
                    return False
                for name, path in files.items():
                    _copied(path, fresh / name, reserved=True)
                _sync_folders(fresh)
                with suppress(FileExistsError):  # another pod was faster
                    _renamed(fresh, entry)
                return True
        except OSError as error:
            _tell("cannot be written", error)
            return False

    def _taken(self, digest: str, model: Path) -> Downloaded | None:
        entry = self._folder / _hex(digest)
        part = model.with_name(model.name + model_files.PART)
        model.parent.mkdir(parents=True, exist_ok=True)
        # Of a download that broke off: it would say that parts of what is copied now are whole.
        part.with_name(part.name + ".json").unlink(missing_ok=True)
        own = _copied(entry / _MODEL, part)
        found = own
        if own.digest != digest:
            names = []
            with suppress(RejectError):
                names = model_files.names_beside(part, model, "the cached model")
            beside = {}
            for name in names:
                (model.parent / name).parent.mkdir(parents=True, exist_ok=True)
                beside[name] = _copied(entry / _BESIDE / name, model.parent / name)
            found = model_files.combined(own, beside)
        if found.digest != digest:
            logger.warning("the cached model %s is damaged, and fetched anew", digest)
            part.unlink()
            self._remove(entry)
            return None
        with suppress(OSError):  # a cache that may only be read is one as well
            os.utime(entry)
        return found

    @contextmanager
    def _reserved(self, name: str, sizes: Mapping[str, int]) -> Iterator[Path | None]:
        """A new folder with files of these sizes, which take their room as they are written; None: there is none."""
        size = sum(sizes.values())
        if size > self._most:
            yield None
            return
        room = self._lock(_ROOM, fcntl.LOCK_EX, self._wait)
        if room is None:
            yield None
            return
        fresh, alive = self._folder / f"{_FRESH}{name}-{secrets.token_hex(8)}", -1
        try:
            try:
                if not self._make_room(size):
                    yield None
                    return
                fresh.mkdir()
                alive = os.open(fresh, os.O_RDONLY | os.O_DIRECTORY)
                fcntl.flock(alive, fcntl.LOCK_EX)
                for file, length in sizes.items():
                    (fresh / file).parent.mkdir(parents=True, exist_ok=True)
                    with (fresh / file).open("xb") as opened:
                        opened.truncate(length)
            finally:
                os.close(room)
            yield fresh
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
            if alive >= 0:
                os.close(alive)

    def _make_room(self, size: int) -> bool:
        """Removes what dead processes left and, as needed, what was used longest ago and is in nobody's use."""
        entries, used = [], 0
        for path in self._folder.iterdir():
            if path.name.startswith((_FRESH, _GONE)):
                if _abandoned(path):
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    used += _size(path)
            elif _ENTRY.fullmatch(path.name):
                entries.append((path.stat().st_mtime_ns, path))
                used += _size(path)
        for _, path in sorted(entries):
            if used + size <= self._most:
                break
            taken = _size(path)
            if self._evicted(path):
                used -= taken
        return used + size <= self._most

    def _evicted(self, entry: Path) -> bool:
        lock = self._lock(entry.name, fcntl.LOCK_EX, 0)
        if lock is None:
            return False
        try:
            self._remove(entry)
            (self._folder / _LOCKS / entry.name).unlink(missing_ok=True)
        finally:
            os.close(lock)
        return True

    def _remove(self, entry: Path) -> None:
        gone = self._folder / f"{_GONE}{entry.name}-{secrets.token_hex(8)}"
        with suppress(OSError):
            entry.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)

    def _lock(self, name: str, kind: int, seconds: float) -> int | None:
        """The descriptor that holds a lock; None where another process held it for so long."""
        path = self._folder / _LOCKS / name
        path.parent.mkdir(exist_ok=True)
        until = self._now() + seconds
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                if _same(descriptor, path):
                    return descriptor
                os.close(descriptor)  # it was removed with its entry just now
                continue
            except BlockingIOError:
                os.close(descriptor)
            if self._now() >= until:
                return None
            self._sleep(_PAUSE_SECONDS)


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _copied(source: Path, target: Path, *, reserved: bool = False) -> Downloaded:
    """Copies a regular file onto the disk, and digests what was copied.

    Args:
        reserved: whether the target has its size already.
    """
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(reading, "rb", buffering=0) as file, target.open("r+b" if reserved else "w+b", buffering=0) as copy:
        if not stat.S_ISREG(os.fstat(reading).st_mode):
            raise OSError(errno.EINVAL, "no regular file")
        shares = _shared(copy.fileno(), reading)
        digest, size = hashlib.sha256(), 0
        buffer = memoryview(bytearray(_CHUNK))
        while count := (copy if shares else file).readinto(buffer):
            if not shares:
                _write(copy, buffer[:count])
            digest.update(buffer[:count])
            size += count
        os.fsync(copy.fileno())
    return Downloaded(f"sha256:{digest.hexdigest()}", size)


def _write(file: FileIO, left: memoryview) -> None:
    """Writes all of it: where a disk gets full, a write takes the beginning alone, and only the next one fails."""
    while left:
        left = left[file.write(left) :]


def _shared(target: int, source: int) -> bool:
    """Whether the file system lets two files share their blocks; then they do."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def _abandoned(folder: Path) -> bool:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _renamed(fresh: Path, entry: Path) -> None:
    try:
        fresh.rename(entry)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise FileExistsError(error.errno, error.strerror) from error
        raise
    _sync(entry.parent)


def _sync_folders(folder: Path) -> None:
    for path, _, _ in os.walk(folder):
        _sync(Path(path))


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _size(folder: Path) -> int:
    size = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                size += (Path(path) / name).stat(follow_symlinks=False).st_size
    return size


def _tell(what: str, error: OSError) -> None:
    logger.warning("the node's cache of models %s, and the source is read: %s", what, error.strerror or error)
