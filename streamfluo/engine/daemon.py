"""The daemon: a station for each source, each a process of its own, watched and started again.

A process each, since what ends one must not end the others: an adapter of a camera that crashes, a chain that takes all
of a core. A station tells how it fares in a line of JSON each second; one that says nothing, or whose threads hang, is
killed. Started again it goes on in its series: a recording survives kill −9 at any moment.
"""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from ..core.control import Answer, Request, Start, Stop
from ..core.errors import ConfigError, SourceError, StreamfluoError
from ..network.control import ControlServer
from ..network.server import DataServer
from ..network.socket import free_endpoint
from ..session.lock import take
from .alarm import Alarm, briefly
from .daemon_config import CONTROL, DaemonConfig, load_daemon_config
from .daemon_control import DaemonControl
from .keeper import Keeper
from .metrics import Metrics
from .service_manager import ServiceManager
from .station_line import StationLine

LOOK_S = 0.25
PAUSES_S = (0.5, 30.0)  # before a station that ended is started again: at first, and at most
GOOD_S = 60.0  # a station that ran for so long begins with the first pause again
START_S = 60.0  # until a process has said something at all, on a busy machine
LEAVE_S = 30.0  # for frames that wait, when the daemon ends; then they stay in the journal
MAX_LINE = 64 << 10
DAEMON_LOCK = ".daemon.lock"

log = logging.getLogger("streamfluo")


class Worker:
    """A process of the daemon, `verb` path words: a station, and what it told last."""

    def __init__(self, path: Path, name: str, verb: str = "station") -> None:
        self.name = name
        self._words = [verb, str(path), *([name] if verb == "station" else [])]
        self._process: subprocess.Popen[str] | None = None
        self._heard_s = self._began_s = 0.0
        self._again_s, self._pause_s = 0.0, PAUSES_S[0]
        self.starts = 0
        self.told: dict[str, Any] = {"name": name, "state": "starting"}
        self._line: StationLine | None = None
        self._holds: Stop | None = None  # asked to take no series: said again to a process that is started anew

    def look(self, hung_s: float) -> None:
        """Start it if it does not run, and end it if it does not live."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._again_s:
                self._start(now)
        elif (code := self._process.poll()) is not None:
            self._ended(f"ended with code {code}", now)
        elif hung := self._hung(now, hung_s):
            self._process.kill()
            self._process.wait()
            self._ended(f"{hung}; killed", now)

    def stop(self, patience_s: float) -> None:
        """End it: with all that waits processed if that takes no longer, at most with everything in the journal."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        for more in (process.terminate, process.kill):
            try:
                process.wait(patience_s)
                break
            except subprocess.TimeoutExpired:
                more()
        process.wait()
        self._hang_up()
        self.told = {**self.told, "state": "stopped"}

    def reload(self) -> None:
        """Have it read its config anew, for the next series."""
        if self._process is not None and hasattr(signal, "SIGHUP"):
            self._process.send_signal(signal.SIGHUP)

    def ask(self, request: Request) -> Future[Answer]:
        """Pass a request on, and return the answer that is to come. Raises SourceError where no process runs."""
        if self._line is None:
            raise SourceError(f"source {self.name!r}: it starts its process; {self.told.get('why') or 'ask again'}")
        self._holds = request if isinstance(request, Stop) else None if isinstance(request, Start) else self._holds
        return self._line.ask(request)

    def order(self, line: str) -> None:
        """Write a line to what it reads; of a process that has just ended nobody hears it."""
        if self._line is not None:
            self._line.order(line)

    def _start(self, now: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "streamfluo", *self._words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, errors="replace",
        )  # fmt: skip
        assert self._process.stdin is not None
        self._line = StationLine(self.name, self._process.stdin)
        if self._holds is not None:
            self._line.ask(self._holds)
        self.starts += 1
        self._heard_s = self._began_s = now
        heard = [self._process, self._line]
        threading.Thread(target=self._listen, args=heard, name=f"hear {self.name}", daemon=True).start()

    def _ended(self, why: str, now: float) -> None:
        self._process = None
        self._hang_up()
        self._pause_s = PAUSES_S[0] if now - self._began_s >= GOOD_S else min(2 * self._pause_s, PAUSES_S[1])
        self._again_s = now + self._pause_s
        self.told = {**self.told, "state": "starting", "why": why}
        log.warning("%s: %s; started again in %.1f s", self.name, why, self._pause_s)

    def _hung(self, now: float, hung_s: float) -> str:
        threads = self.told.get("hung") or ()
        if threads:
            return f"its threads {', '.join(map(str, threads))} hang"
        patience_s = hung_s if self._heard_s > self._began_s else max(hung_s, START_S)
        return f"said nothing for {patience_s:.0f} s" if now - self._heard_s > patience_s else ""

    def _hang_up(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def _listen(self, process: subprocess.Popen[str], line: StationLine) -> None:
        assert process.stdout is not None
        while text := process.stdout.readline(MAX_LINE):
            try:
                told = json.loads(text)
            except (ValueError, RecursionError):
                continue  # what a library prints
            if isinstance(told, dict) and not line.heard(told) and process is self._process:
                self.told, self._heard_s = told, time.monotonic()


class Daemon:
    """Runs the stations of a config until it is stopped, and answers hello and status.

    Raises ConfigError for a config that is wrong, SourceError for an endpoint that cannot be bound, SessionError where
    another daemon writes into the folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()
        self.config: DaemonConfig = load_daemon_config(self._path)
        self._lock = take(self.config.folder, DAEMON_LOCK)
        self._manager = ServiceManager()
        self._workers = {source.name: Worker(self._path, source.name) for source in self.config.sources}
        self._alarm = Alarm()
        self._keeper = Keeper(Worker(self._path, "housekeeping", "housekeeping"))
        self._stopping = self._reloads = False
        try:
            self._server = DataServer(
                None, self.config.daemon.status, program="daemon", hello=self._hello, status=self._status
            )
            self._asked = DaemonControl(lambda: self.config, lambda: dict(self._workers), self.reload_if_right)
            uri = self.config.daemon.control or free_endpoint(self.config.daemon.status)
            self._control = ControlServer(self._server.context, uri, self._asked.ask)
            address = self.config.daemon.metrics
            self._metrics = Metrics(address, self._told, self._counted) if address is not None else None
        except StreamfluoError:
            self._lock.release()
            raise

    @property
    def endpoint(self) -> str:
        """Where it answers."""
        return self._server.endpoint

    @property
    def metrics(self) -> str | None:
        """Where it answers Prometheus, host:port."""
        return None if self._metrics is None else self._metrics.address

    def run(self) -> None:
        """Run until `stop`. The service manager is told that it lives by the loop that looks after the stations."""
        self._control.start()
        self._manager.tell(READY=1, STATUS=self._in_words())
        told_s = 0.0
        try:
            while not self._stopping:
                if self._reloads:
                    self._reload()
                for worker in self._workers.values():
                    worker.look(self.config.daemon.hung_s)
                self._keeper.look(self.config, self._told())
                self._alarm.look(self._told(), self._keeper.facts(), self.config)
                if time.monotonic() - told_s >= (self._manager.watchdog_s or 2.0) / 2:
                    told_s = time.monotonic()
                    self._manager.tell(WATCHDOG=1, STATUS=self._in_words())
                self._serve(LOOK_S)
        finally:
            self._manager.tell(STOPPING=1)
            stops = [self._keeper.stop, *(worker.stop for worker in self._workers.values())]
            ends = [threading.Thread(target=stop, args=[LEAVE_S]) for stop in stops]
            for end in ends:
                end.start()
            for end in ends:
                end.join()
            self._control.close()
            self._asked.close()
            self._server.close()
            if self._metrics is not None:
                self._metrics.close()
            self._lock.release()

    def stop(self) -> None:
        """End; callable from a signal handler."""
        self._stopping = True

    def reload(self) -> None:
        """Read the config anew: each source takes it with its next series. Callable from a signal handler."""
        self._reloads = True

    def reload_if_right(self) -> None:
        """Read the config anew, from any thread. Raises ConfigError where it is wrong; then the old one stays."""
        load_daemon_config(self._path)
        self.reload()

    def _serve(self, for_s: float) -> None:
        until, poller, pause_s = time.monotonic() + for_s, self._server.poller(), 0.0
        while time.monotonic() < until and not self._stopping:
            poller.poll(int(pause_s * 1000))
            pause_s = self._server.turn()

    def _reload(self) -> None:
        self._reloads = False
        self._manager.reloading()
        try:
            config = load_daemon_config(self._path)
        except ConfigError as error:
            log.warning("goes on with the config that it has: %s", error)
        else:
            self._adopt(config)
        self._manager.tell(READY=1, STATUS=self._in_words())

    def _adopt(self, config: DaemonConfig) -> None:
        if config.daemon.status != self.config.daemon.status:
            log.warning("[daemon] status stays at %s until it is started again", self.endpoint)
        names = {source.name for source in config.sources}
        for name in [name for name in self._workers if name not in names]:
            leaves = self._workers.pop(name)
            threading.Thread(target=leaves.stop, args=[LEAVE_S], name=f"end {name}").start()
        for worker in self._workers.values():
            worker.reload()
        self._keeper.reload()
        self._workers |= {name: Worker(self._path, name) for name in names if name not in self._workers}
        self.config = config

    def _in_words(self) -> str:
        states = [str(worker.told.get("state")) for worker in self._workers.values()]
        return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))

    def _hello(self) -> Mapping[str, Any]:
        endpoints = {source.name: source.publish for source in self.config.sources if source.publish is not None}
        return {"endpoints": {**endpoints, CONTROL: self._control.endpoint}}

    def _told(self) -> dict[str, dict[str, Any]]:
        return {name: {**worker.told, "starts": worker.starts} for name, worker in list(self._workers.items())}

    def _counted(self) -> dict[str, Any]:
        return {**self._keeper.facts(), "warnings": len(self._alarm.sentences)}

    def _status(self) -> Mapping[str, Any]:
        refused = {"refused": dict(self._server.refused + self._control.refused)}
        warned = {"warnings": self._alarm.sentences} if self._alarm.sentences else {}
        counters = {**briefly(self._told()), **self._keeper.told(), **refused, **warned}
        return {"state": self._in_words(), "counters": counters}
