"""Processes of containers: each leads a session and process group of its own, and none survives the agent.

Three mechanisms end orphans: the kernel kills a child whose parent dies (PR_SET_PDEATHSIG), the reaper kills the
process groups of an agent that died, and ``sweep`` kills every process with the mark of a pod in its environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from millrace_core.base.errors import ReportError
from millrace_local.node import reaper
from millrace_local.node.marks import NODE_MARK
from millrace_local.node.security import ProcessRights, User

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUSER = 0x10000000
_PLAIN = ProcessRights()
_libc = ctypes.CDLL(None, use_errno=True)


def _set_up(parent: int, reaper_pipe: int | None, rights: ProcessRights) -> Callable[[], None]:
    """What a child does before it becomes the command. Only system calls: it runs between fork and exec.

    It reports itself to the reaper, because an agent that is killed while it starts a command could not.
    """

    uid, gid = os.geteuid(), os.getegid()

    def prepare() -> None:
        if reaper_pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(reaper_pipe, f"+{os.getpid()}\n".encode())
        if rights.user is not None:
            _become(rights.user, uid, gid)
        if rights.no_new_privileges:
            _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        # After the change of user, which would undo it.
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(signal.SIGKILL + 128)

    return prepare


def _become(user: User, uid: int, gid: int) -> None:
    """Gives this process, of user ``uid`` and group ``gid``, the numbers of ``user`` in a user namespace of its own.

    Source: user_namespaces(7). Raises OSError where the machine does not allow it.
    """
    if _libc.unshare(_CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user.uid} {uid} 1"), ("gid_map", f"{user.gid} {gid} 1")):
        file = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(file, text.encode())
        os.close(file)


def _started(command: Sequence[str], **how: Any) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(command, **how)
    except subprocess.SubprocessError as error:  # what comes before the command failed
        raise OSError(errno.EPERM, "its user cannot be set") from error
    except ValueError as error:  # a NUL byte, or a variable without a name
        raise OSError(errno.EINVAL, str(error)) from error


def gives_users() -> bool:
    """Whether this machine lets a process have other numbers; starts one to see."""
    try:
        rights = ProcessRights(User(1, 1))
        subprocess.run(
            [sys.executable, "-I", "-S", "-c", ""], preexec_fn=_set_up(os.getpid(), None, rights), check=True
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return True


class ContainerProcess:
    """A running command. ``code`` is its exit code once it has ended, negative for a signal."""

    def __init__(self, popen: subprocess.Popen[bytes], ended: Callable[[], None]) -> None:
        self.pid = popen.pid
        self.code: int | None = None
        self._popen = popen
        self._ended = ended
        self._exited = asyncio.Event()
        self._pidfd = os.pidfd_open(popen.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._reap)

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self.code = self._popen.wait()
        self._ended()
        self._exited.set()

    async def wait(self) -> int:
        """Waits for the end of the command, not of its group; returns its exit code."""
        await self._exited.wait()
        return self.code if self.code is not None else 0

    def send(self, number: int) -> None:
        """Sends a signal to the command itself."""
        if self.code is None:
            signal.pidfd_send_signal(self._pidfd, number)

    def send_group(self, number: int) -> bool:
        """Sends a signal to the process group; False if it is empty. Signal 0 only checks."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    async def stop(self, grace: float) -> None:
        """SIGTERM to the command, then to the rest of its group; SIGKILL to all after ``grace`` seconds."""
        self.send(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self.wait()
                if self.send_group(signal.SIGTERM):
                    while self.send_group(0):  # noqa: ASYNC110 - the kernel tells nobody when a group ends
                        await asyncio.sleep(0.05)
        self.send_group(signal.SIGKILL)
        await self.wait()


class Processes:
    """Starts processes and ends all of them when it closes. An asynchronous context manager."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._mark = f"{NODE_MARK}={root}"
        self._lock: TextIO | None = None
        self._reaper: subprocess.Popen[bytes] | None = None
        self._running: set[ContainerProcess] = set()

    async def __aenter__(self) -> Processes:
        self._lock = self._locked()
        sweep({self._mark})
        self._reaper = subprocess.Popen(  # noqa: ASYNC220 - returns as soon as the program runs
            [sys.executable, "-I", "-S", reaper.__file__], stdin=subprocess.PIPE, start_new_session=True
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in list(self._running):
            process.send_group(signal.SIGKILL)
        for process in list(self._running):
            await process.wait()
        sweep({self._mark})
        if self._reaper and self._reaper.stdin:
            self._reaper.stdin.close()
            self._reaper.wait()
        if self._lock:
            self._lock.close()

    def _locked(self) -> TextIO:
        """Locks the folder for this agent: two agents would kill each other's processes."""
        self._root.mkdir(parents=True, exist_ok=True)
        file = (self._root / "node.lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise ReportError(f"another node runs in {self._root}", hint="Stop it, or pass another --root") from error
        return file

    def spawn(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        folder: Path,
        output: int,
        rights: ProcessRights = _PLAIN,
    ) -> ContainerProcess:
        """Starts ``command`` in ``folder``; ``output`` is the file descriptor for stdout and stderr.

        Raises:
            OSError: the command cannot be started, as in ``execve(2)``.
        """
        reaper_pipe = self._reaper.stdin.fileno() if self._reaper and self._reaper.stdin else None
        popen = _started(
            list(command),
            env=dict(environ),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=_set_up(os.getpid(), reaper_pipe, rights),
        )

        def ended() -> None:
            self._running.discard(process)
            if not process.send_group(0):
                self._notify_reaper(f"-{popen.pid}\n")

        process = ContainerProcess(popen, ended)
        self._running.add(process)
        return process

    async def output(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        folder: Path,
        seconds: float,
        rights: ProcessRights = _PLAIN,
    ) -> tuple[int, str]:
        """Runs a command to its end; returns its code and output.

        Raises:
            TimeoutError: it did not end within ``seconds`` seconds, and was killed.
            OSError: it cannot be started.
        """
        with os.fdopen(os.memfd_create("output"), "rb") as file:
            process = self.spawn(command, environ, folder, file.fileno(), rights)
            try:
                async with asyncio.timeout(seconds):
                    code = await process.wait()
            finally:
                self.forget(process)
            # The process shares the file's position.
            file.seek(0)
            return code, file.read().decode(errors="replace")

    def forget(self, process: ContainerProcess) -> None:
        """Kills the rest of an ended command's group."""
        if process.send_group(signal.SIGKILL):
            self._notify_reaper(f"-{process.pid}\n")

    def _notify_reaper(self, line: str) -> None:
        if self._reaper and self._reaper.stdin:
            with contextlib.suppress(BrokenPipeError):
                self._reaper.stdin.write(line.encode())
                self._reaper.stdin.flush()


def sweep(marks: set[str]) -> int:
    """Kills every process whose environment has one of ``marks`` (``NAME=value``); returns how many."""
    wanted = {mark.encode() for mark in marks}
    killed = 0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if wanted.intersection((folder / "environ").read_bytes().split(b"\0")):
                os.kill(int(folder.name), signal.SIGKILL)
                killed += 1
    return killed
