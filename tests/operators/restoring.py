"""An API server whose state is put back under those who watch it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from millrace_kube.resources import CONFIG_MAPS
from millrace_local.apiserver.process import RunningServer
from tests.api_server import start
from tests.operators.harness import Api, start_server


class Restorable:
    """One server on one port; ``keep`` remembers a state, the functions below bring it back.

    Between ``keep`` and these nobody but the test may write, or the state is not the one that was looked at.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept = 0
        self.server: RunningServer = start_server(folder)
        self._port = int(self.server.url.rpartition(":")[2])

    def keep(self) -> None:
        """Takes a backup."""
        self.server.stop()
        shutil.copytree(self._folder / "data", self._folder / "backup")
        self._kept = self._last_write()
        self._start()

    def resume(self) -> None:
        """The server comes back as it was when it died."""
        self._start()

    def older_backup(self) -> None:
        """The server dies and comes back with the backup: at a lower version."""
        self.server.kill()
        self._put_back()
        self._start()

    def lost_tail(self) -> None:
        """The server dies, and with it what it wrote last."""
        self.server.kill()
        with closing(sqlite3.connect(self._folder / "data" / "journal.db")) as journal:
            journal.execute("DELETE FROM writes WHERE revision > ?", (self._kept,))
            journal.commit()
        self._start()

    def older_objects_at_a_higher_version(self) -> None:
        """The server dies and comes back with the backup, at a version beyond all that was seen before.

        So does an etcd that is restored with ``--bump-revision``.
        """
        self.server.kill()
        seen = self._last_write()
        self._put_back()
        elsewhere = start(self._folder / "data", kubeconfig=self._folder / "elsewhere", faults=True)
        user = Api(elsewhere)
        user.create(CONFIG_MAPS, {"metadata": {"namespace": "kube-system", "name": "bump"}, "data": {"n": ""}})
        number = 0
        while number <= seen:
            number += 1
            user.merge(CONFIG_MAPS, "kube-system", "bump", {"data": {"n": str(number)}})
        user.close()
        elsewhere.stop()
        self._start()

    def _put_back(self) -> None:
        shutil.rmtree(self._folder / "data")
        shutil.copytree(self._folder / "backup", self._folder / "data")

    def _start(self) -> None:
        kubeconfig = self._folder / "kubeconfig"
        self.server = start(self._folder / "data", port=self._port, kubeconfig=kubeconfig, faults=True)

    def _last_write(self) -> int:
        with closing(sqlite3.connect(self._folder / "data" / "journal.db")) as journal:
            return int(journal.execute("SELECT max(revision) FROM writes").fetchone()[0])


RESTORES: tuple[Callable[[Restorable], None], ...] = (
    Restorable.older_backup,
    Restorable.lost_tail,
    Restorable.older_objects_at_a_higher_version,
)
