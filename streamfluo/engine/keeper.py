"""The daemon's side of housekeeping: its process, and when it may work."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .daemon_config import DaemonConfig
from .export_pace import Pace

if TYPE_CHECKING:
    from .daemon import Worker

PATIENCE_S = 300.0  # with a process that gets what others leave, on a machine where that is little
LEAVE_S = 5.0  # that it is given to end; killed it begins the same session again


class Keeper:
    """The process that exports and deletes, while a config asks for it, and whether it may work now."""

    def __init__(self, worker: Worker) -> None:
        self._worker, self._pace = worker, Pace()
        self._ordered, self._runs = "", False

    def look(self, config: DaemonConfig, stations: Mapping[str, Mapping[str, Any]]) -> None:
        """Start it if it should run, end it if not, and tell it whether to work."""
        if config.disks.export is None:
            if self._runs:
                threading.Thread(target=self.stop, args=[PATIENCE_S], name="end housekeeping").start()
            self._runs = False
            return
        starts = self._worker.starts
        self._worker.look(max(config.daemon.hung_s, PATIENCE_S))
        self._runs = True
        order = self._pace.order(stations)
        if order != self._ordered or self._worker.starts != starts:
            self._ordered = order
            self._worker.order(order)

    def stop(self, patience_s: float) -> None:
        """End it; what it was at is begun again."""
        self._runs = False
        self._worker.stop(min(patience_s, LEAVE_S))

    def reload(self) -> None:
        """Have it read its config anew."""
        self._worker.reload()

    def facts(self) -> dict[str, Any]:
        """What it does, nothing where it does not run."""
        return {**self._worker.told, "starts": self._worker.starts} if self._runs else {}

    def told(self) -> dict[str, Any]:
        """What it does, under its name; nothing where it does not run."""
        return {"housekeeping": self.facts()} if self._runs else {}
