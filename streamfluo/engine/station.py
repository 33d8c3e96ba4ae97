"""A station: one source of the daemon, in a process of its own, series after series into sessions."""

from __future__ import annotations

import gc
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from ..core.errors import ConfigError, SessionError, SourceError, StreamfluoError
from ..core.source import Source
from ..core.spec import Spec
from ..network.connections import give_back_memory
from ..network.control import Handle
from ..session.disk_calls import DiskCalls
from ..sources.opening import open_source
from . import log_context
from .cataloguing import Cataloguing
from .config import Config
from .daemon_config import DaemonConfig, load_daemon_config
from .disk_facts import disk_facts, room_facts, root_for_new, root_of
from .engine import Engine
from .known_series import KnownSeries
from .totals import Totals
from .watchdog import Watchdog
from .watched_folder import SCHEME, NothingNewError, WatchedFolder

TELL_S = 1.0
IDLE_S = 0.2
PAUSES_S = (0.5, 30.0)  # before a source that is not there is asked again: at first, and at most

log = logging.getLogger("streamfluo")


Building = Callable[[Config, Spec], AbstractContextManager[None]]


def _nothing_around(config: Config, spec: Spec) -> AbstractContextManager[None]:
    return nullcontext()


class Stop(BaseException):
    """The station is to end while it waits for its source."""


class Held(BaseException):
    """The station is to wait for no source for now."""


class Station:
    """Takes series after series of a source until it is stopped; tells each second how it fares.

    What it waits for, and why, is in what it tells: a source that is not there, a series that is recorded already. A
    chain that does not fit a series is said, and the series recorded without it. `building` is entered while a chain
    is built. Raises ConfigError for a config or a source's name that is wrong.
    """

    def __init__(
        self, path: Path, name: str, tell: Callable[[Mapping[str, Any]], None], building: Building = _nothing_around
    ) -> None:
        self._path, self._name, self._tell, self._building = path, name, tell, building
        self.config: DaemonConfig = load_daemon_config(path)
        self.config.source(name)
        log_context.note(source=name)
        self._known = KnownSeries(self.config.roots, name)
        self._source: Source | None = None
        self._watched: WatchedFolder | None = None
        self._engine: Engine | None = None
        self._watchdog: Watchdog | None = None
        self._stopping = self._opening = self._reloads = False
        self._complained = ""
        self._goes_on = threading.Event()
        self._goes_on.set()
        self._said: dict[str, Any] = {"state": "waiting", "why": "", "session": ""}
        self._series, self._totals, self._calls = 0, Totals(), DiskCalls()
        self._cataloguing = Cataloguing()

    def run(self) -> None:
        """Take series until `stop`."""
        threading.Thread(target=self._report, name="report", daemon=True).start()
        pause_s = PAUSES_S[0]
        try:
            while not self._stopping:
                try:
                    self._idle()
                    self._take(self._next())
                    pause_s = PAUSES_S[0]
                except Held:
                    continue
                except (StreamfluoError, OSError) as error:
                    self._close_source()
                    self._wait(str(error), pause_s, isinstance(error, SessionError | OSError))
                    nothing_new = isinstance(error, NothingNewError)
                    pause_s = PAUSES_S[0] if nothing_new else min(2 * pause_s, PAUSES_S[1])
        except Stop:
            pass
        finally:
            self._close_source()
            self._say("stopped")
            self._tell(self.status())
            self._cataloguing.close()

    def stop(self) -> None:
        """End with what has arrived written; callable from a signal handler, on the thread of `run`."""
        self._stopping = True
        if self._engine is not None:
            self._engine.stop(leave=False)  # the next daemon goes on with this series
        elif self._opening:
            raise Stop

    def reload(self) -> None:
        """Take the config anew for the next series; callable from a signal handler."""
        self._reloads = True

    def hold(self) -> str:
        """End the series that runs, take no other; returns what comes of it. Callable from any thread."""
        self._goes_on.clear()
        if (engine := self._engine) is not None:
            engine.stop(leave=False)
            return "the series ends with everything written; no other is taken until start"
        if self._opening:
            interrupt_main()
        return "no series is taken until start"

    def go_on(self) -> str:
        """Take series again; returns what comes of it. Callable from any thread."""
        was_idle = not self._goes_on.is_set()
        self._goes_on.set()
        return "the next series is taken" if was_idle else "it takes series already"

    def leave(self) -> None:
        """Wait for no source, if it is to be idle; called by a signal, on the thread of `run`."""
        if self._opening and not self._goes_on.is_set():
            raise Held

    @property
    def control(self) -> Handle | None:
        """Who does what is asked of the series that runs; None between series."""
        engine = self._engine
        return None if engine is None else engine.control.ask

    @property
    def next_index(self) -> int | None:
        """The frame that comes next in the series that runs."""
        engine = self._engine
        return None if engine is None else engine.next_index

    @property
    def why(self) -> str:
        """What it does while no series runs."""
        return ": ".join(word for word in (self._said["state"], self._said["why"]) if word)

    def _idle(self) -> None:
        """Wait while no series is to be taken."""
        if not self._goes_on.is_set():
            self._close_source()
            self._say("idle", "stopped by control")
            while not (self._stopping or self._goes_on.wait(IDLE_S)):
                pass
            if self._stopping:
                raise Stop

    def status(self) -> dict[str, Any]:
        """How it fares, in plain values."""
        engine = self._engine
        health = None if engine is None else engine.health()
        counted = self._totals.with_run(health, engine.refused) if engine is not None else self._totals.with_run(None)
        said = {"name": self._name, "series": self._series, **self._said, **counted}
        if engine is not None and engine.state == "paused":
            said["state"] = "paused"
        said |= room_facts(root_of(self.config, self._said["session"]), said["bytes_per_s"])
        said |= disk_facts(self._calls, self.config.disks.disk)
        if engine is not None and health is not None:
            said |= {"waiting_frames": engine.waiting_frames, "steps_ms": health.steps_ms, "muted": dict(health.muted)}
            said |= {"stalled": dict(health.stalled), "backlog_bytes": sum(e.backlog for e in health.edges.values())}
            if said["bytes_per_s"]:
                waiting = max(frames for job, (frames, _) in engine.progress().items() if job != "values")
                said["backlog_s"] = round(waiting * engine.chain.spec.frame_nbytes / said["bytes_per_s"], 3)
            said["hung"] = self._watchdog.hung() if self._watchdog is not None else []
        return said

    def _next(self) -> Source:
        """The source of the next series, which has begun."""
        if self._reloads:
            self._reload()
        self._say("waiting")
        self._opening = True
        try:
            if self._source is not None and (following := self._source.following()) is not None:
                self._source = following
            else:
                self._close_source()
                self._source = self._opened(self.config.source(self._name).uri)
            return self._source
        finally:
            self._opening = False

    def _opened(self, uri: str) -> Source:
        if not uri.startswith(SCHEME):
            self._watched = None
            return open_source(uri, planes=True)
        if self._watched is None or self._watched.uri != uri:
            self._watched = WatchedFolder(uri, self.config.folder / f".{self._name}.watched.json")
        return self._watched.next()

    def _take(self, source: Source) -> None:
        """Record a series, with its chain, to its end. Raises SourceError for one that is there already."""
        settings, series = self.config.source(self._name), source.series
        known = self._known.find(series.uid)
        if known is not None and known.whole and not (self._watched is not None and self._watched.grew):
            self._over(True)
            source.finished()  # else its server would wait for us
            raise SourceError(f"{settings.uri}: series {series.uid[:40]} is recorded already, in {known.folder}")
        folder = known.folder if known else self._new_folder(source)
        self._known.note(series.uid, folder, whole=False)
        engine = self._built(source, folder, resume=(folder / "session.json").exists())
        self._series += 1
        self._watchdog, self._engine = Watchdog(engine, self.config.daemon.hung_s), engine
        self._complained = ""
        self._say("running", session=str(folder))
        log_context.note(session=str(folder), series=series.uid[:64])
        try:
            engine.start()
            while not engine.wait(TELL_S):
                pass
        finally:
            self._engine = None
            self._totals.ended(engine.health(), engine.refused)
            log_context.note(session="", series="")
        whole = engine.state == "finished" and not self._stopping
        if engine.gave_up:
            sys.exit(f"{self._name}: {engine.error}")  # a thread hangs in a call to the disk: a new process does not
        self._known.note(series.uid, folder, whole)
        if self.config.catalogue is not None:
            self._cataloguing.add(folder, self.config.catalogue)
        self._over(whole)
        gc.collect()  # an engine and its threads know each other; of 40 series 70 MB stayed until then
        give_back_memory()
        if engine.error is not None:
            raise SourceError(engine.error)

    def _over(self, whole: bool) -> None:
        if self._watched is not None and not self._stopping:
            self._watched.over(whole)

    def _new_folder(self, source: Source) -> Path:
        """A folder for the session of a series that begins, on the disk that has room."""
        root, why = root_for_new(self.config, self._totals.with_run(None)["bytes_per_s"])
        if why:
            log.warning("%s: %s", self._name, why)
        return self.config.names.new_folder(root, self._name, source.spec, source.series)

    def _built(self, source: Source, folder: Path, resume: bool) -> Engine:
        """The engine of a series; without its chain where that does not fit."""
        settings = self.config.source(self._name)
        chain: Config = self.config.chain(settings, source.spec, source.series)
        try:
            with self._building(chain, source.spec):
                return Engine(source, chain, folder, resume=resume, program="daemon", calls=self._calls)
        except ConfigError as error:
            log.warning("%s: recorded without its chain: %s", self._name, error)
            return Engine(
                source, self.config.recording(settings), folder, resume=resume, program="daemon", calls=self._calls
            )

    def _reload(self) -> None:
        self._reloads = False
        try:
            config = load_daemon_config(self._path)
            config.source(self._name)
        except ConfigError as error:
            log.warning("%s: goes on with the config that it has: %s", self._name, error)
        else:
            self.config = config
            self._known.roots = config.roots

    def _wait(self, why: str, pause_s: float, cannot_write: bool) -> None:
        if why != self._complained:
            self._complained = why
            log.warning("%s: waits: %s", self._name, why)
        self._say("waiting", why)
        self._said["cannot_write"] = cannot_write
        self._opening = True
        try:
            time.sleep(pause_s)
        finally:
            self._opening = False

    def _close_source(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.close()

    def _say(self, state: str, why: str = "", session: str = "") -> None:
        self._said = {"state": state, "why": why, "session": session}

    def _report(self) -> None:
        """The thread that tells."""
        while True:
            self._tell(self.status())
            time.sleep(TELL_S)


def interrupt_main() -> None:
    """Have the main thread's `leave` called, also while it waits for a source; nothing where there are no signals."""
    if hasattr(signal, "SIGUSR1") and (main := threading.main_thread().ident) is not None:
        signal.pthread_kill(main, signal.SIGUSR1)
