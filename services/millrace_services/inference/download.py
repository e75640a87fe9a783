"""A download that survives its own interruption: ranged parallel parts, resume, checked sizes, atomic arrival.

While it runs there are ``<path>.part``, which takes room only for the bytes that came, and ``<path>.part.json``, which
says of which file (URI, size, tag) it holds which parts. A part is noted only after its bytes reached the disk, so what
is noted can be trusted after a crash. What a server says of the size is believed where it forbids the download (too
large, no room), and nowhere else.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import orjson

from millrace_core.base import retry
from millrace_core.base.errors import RejectError, RetryError
from millrace_data.objects.base import ObjectRange, ObjectReader
from millrace_data.objects.uri import ObjectUri
from millrace_services.inference.model_files import PART as PART_SUFFIX
from millrace_services.inference.model_files import Downloaded

logger = logging.getLogger(__name__)

PART: Final = 16 * 1024 * 1024
PARALLEL: Final = 8
ATTEMPTS: Final = 4
# Parts that may be fetched again after a crash: those since the last note.
_NOTED_PARTS: Final = 8
_CHUNK: Final = 1024 * 1024


class Download:
    """One file on its way from ``reader`` to ``path``.

    Args:
        most: most bytes of the model.
        others: bytes that the model's other files take of these.
        part: bytes of one range.
        pause: seconds before the first retry; later ones wait longer (``base.retry``).
    """

    def __init__(
        self,
        uri: ObjectUri,
        reader: ObjectReader,
        path: Path,
        *,
        most: int,
        others: int = 0,
        part: int = PART,
        pause: float = 0.5,
    ) -> None:
        self.path = path
        self.shown = uri.shown
        self.partial = path.with_name(path.name + PART_SUFFIX)
        self._uri = uri
        self._reader = reader
        self._note = path.with_name(path.name + PART_SUFFIX + ".json")
        self._most = most - others
        self._others = others
        self._part = part
        self._pause = pause

    def fetch(self) -> Downloaded:
        """Brings the whole file to ``partial``, going on where an earlier run broke off, and digests it.

        Raises:
            RejectError: the source has no such file, forbids it, or it is empty or too large.
            RetryError: the source is unreachable, the download broke off again and again, or the disk is full.
        """
        with on_disk(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for attempt in range(ATTEMPTS):
                try:
                    return self._once()
                except RetryError as error:
                    if attempt == ATTEMPTS - 1:
                        raise
                    logger.warning("trying again: %s", error)
                    time.sleep(retry.delay(attempt + 1, first=self._pause))
                except RejectError:
                    self.discard()
                    raise
        raise AssertionError("the last attempt returns or raises")

    def arrive(self) -> None:
        """Puts the fetched file in its place, whole or not at all."""
        with on_disk(self.path):
            self.partial.replace(self.path)
            self._note.unlink(missing_ok=True)
            sync_folder(self.path.parent)

    def discard(self) -> None:
        """Forgets what was fetched, so that the next run starts anew."""
        self.partial.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def _once(self) -> Downloaded:
        # The first read says how large the file is and whether ranges work, and is the first part at once.
        with self._reader.open(0, self._part) as piece:
            if piece.size == 0:
                raise self._empty()
            if piece.size is not None and piece.size > self._most:
                raise self._too_large(f"has {piece.size} bytes")
            if piece.size is None or not piece.ranged:
                return self._whole(piece)
            done = self._noted(piece) or self._prepared(piece)
            with self.partial.open("r+b") as file:
                return self._parts(file.fileno(), piece, done)

    def _whole(self, piece: ObjectRange) -> Downloaded:
        with self.partial.open("wb") as file:
            digest, written = hashlib.sha256(), 0
            for chunk in piece.chunks:
                if written + len(chunk) > self._most:
                    raise self._too_large(f"has more than {written} bytes")
                written += file.write(chunk)
                digest.update(chunk)
            if piece.size is not None and written != piece.size:
                raise self._broke_off(written, piece.size)
            if written == 0:
                raise self._empty()
            file.flush()
            os.fsync(file.fileno())
        return Downloaded(f"sha256:{digest.hexdigest()}", written)

    def _noted(self, piece: ObjectRange) -> set[int]:
        """The parts that an earlier run of the very same file left; none where there is nothing to go on with."""
        try:
            note = orjson.loads(self._note.read_bytes())
            same = note["identity"] == self._identity(piece) and self.partial.stat().st_size == piece.size
            done = set(note["done"]) if same and piece.tag else set()
        except (OSError, ValueError, KeyError, TypeError):
            return set()  # no note, or none of ours
        if done:
            logger.info("resuming", extra={"uri": self.shown, "parts": len(done)})
        return done

    def _prepared(self, piece: ObjectRange) -> set[int]:
        """A file of full size that takes no room, and no part done."""
        self._note.unlink(missing_ok=True)
        size = piece.size or 0
        with self.partial.open("wb") as file:
            if size > shutil.disk_usage(self.path.parent).free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            file.truncate(size)
        return set()

    def _parts(self, descriptor: int, first: ObjectRange, done: set[int]) -> Downloaded:
        size = first.size or 0
        digest = _Digest(descriptor, size, self._part)
        with ThreadPoolExecutor(PARALLEL, thread_name_prefix="fetch") as pool:
            futures = {
                pool.submit(self._part_from, descriptor, first, start): start
                for start in range(self._part, size, self._part)
                if start not in done
            }
            try:
                if 0 not in done:
                    self._write(descriptor, first, 0)
                    done.add(0)
                noted = len(done)
                for future in as_completed(futures):
                    future.result()
                    done.add(futures[future])
                    if len(done) - noted >= _NOTED_PARTS:
                        self._keep(descriptor, first, done)
                        noted = len(done)
                    digest.follow(done)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                done |= {start for future, start in futures.items() if _succeeded(future)}
                self._keep(descriptor, first, done)
                raise
        self._keep(descriptor, first, done)
        digest.follow(done)
        return Downloaded(digest.text, size)

    def _part_from(self, descriptor: int, first: ObjectRange, start: int) -> None:
        with self._reader.open(start, min(start + self._part, first.size or 0)) as piece:
            if (piece.size, piece.tag, piece.ranged) != (first.size, first.tag, True):
                raise RetryError(f"{self.shown} changed while it was read", field=self._uri.field, reason="Changed")
            self._write(descriptor, piece, start)

    def _write(self, descriptor: int, piece: ObjectRange, start: int) -> None:
        stop = min(start + self._part, piece.size or 0)
        position = start
        for chunk in piece.chunks:
            position += os.pwrite(descriptor, chunk[: stop - position], position)
            if position == stop:  # what is sent beyond it may have no end
                break
        if position != stop:
            raise self._broke_off(position - start, stop - start)

    def _keep(self, descriptor: int, piece: ObjectRange, done: set[int]) -> None:
        """Notes the parts that came, once they are on the disk; one sync for several, for it may take long."""
        os.fdatasync(descriptor)
        fresh = self._note.with_name(self._note.name + ".new")
        fresh.write_bytes(orjson.dumps({"identity": self._identity(piece), "done": sorted(done)}))
        fresh.replace(self._note)

    def _identity(self, piece: ObjectRange) -> dict[str, object]:
        return {"uri": self.shown, "size": piece.size, "tag": piece.tag, "part": self._part}

    def _empty(self) -> RejectError:
        return RejectError(f"{self.shown} is empty", field=self._uri.field, reason="BadModel")

    def _too_large(self, said: str) -> RejectError:
        beside = f" beside {self._others} of the model's other files" if self._others else ""
        return RejectError(
            f"{self.shown} {said}{beside}, {self._most + self._others} are the most",
            hint="Serve a smaller model, or have the operator's MILLRACE_MODEL_MAX_BYTES raised",
            field=self._uri.field,
            reason="TooLarge",
        )

    def _broke_off(self, got: int, expected: int) -> RetryError:
        return RetryError(
            f"{self.shown}: the download broke off after {got} of {expected} bytes",
            field=self._uri.field,
            reason="Truncated",
        )


class _Digest:
    """The digest of a file whose parts come in any order: it follows as far as there is no gap."""

    def __init__(self, descriptor: int, size: int, part: int) -> None:
        self._descriptor = descriptor
        self._size = size
        self._part = part
        self._digest = hashlib.sha256()
        self._position = 0

    def follow(self, done: set[int]) -> None:
        """Reads on through the parts that are there."""
        while self._position < self._size and self._position in done:
            stop = min(self._position + self._part, self._size)
            while self._position < stop:
                chunk = os.pread(self._descriptor, min(_CHUNK, stop - self._position), self._position)
                if not chunk:
                    raise OSError(errno.EIO, "the file became shorter")
                self._digest.update(chunk)
                self._position += len(chunk)

    @property
    def text(self) -> str:
        """As ``sha256:<hex>``."""
        return f"sha256:{self._digest.hexdigest()}"


def _succeeded(future: Future[None]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


@contextmanager
def on_disk(path: Path) -> Iterator[None]:
    """Says of a failing disk which one it is and how full."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise RetryError(
                f"no free disk at {path.parent} ({_free(path.parent)})",
                hint="Give the pod's model volume more room, or free some",
                reason="NoSpace",
            ) from error
        raise RetryError(f"cannot write {path}: {error.strerror}", reason="DiskError") from error


def _free(folder: Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free // 2**20} MiB free"
    except OSError:
        return "its size cannot be read"


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
