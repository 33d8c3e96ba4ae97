"""Housekeeping: the daemon's process that exports sessions which are over, and deletes what is verified and due.

It runs at the lowest priority, one session at a time, and waits whenever it is told to on its standard input. What it
tried stands in a file: a session whose export ends the process comes after the others the fourth time, and ever later.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from zlib_ng import zlib_ng

from ..core.errors import ConfigError, SessionError, StreamfluoError
from ..session.exported import export_verified, note_of
from ..session.files import save_json
from ..session.reader import open_session
from .daemon_config import DaemonConfig, load_daemon_config
from .export_pace import PAUSE, SHARE
from .kept_sessions import Kept, kept_sessions
from .low_priority import step_back
from .retention import Verdict, retain

TELL_S = 1.0
IDLE_S = 2.0  # between two looks at the folder
RETAIN_S = 60.0
RESUMED_S = 300.0  # how long a session that was interrupted may still be gone on with
STILL_S = 60.0  # at the lowest priority a call may take long
MAX_TRIES, LAST_AGAIN_S = 3, 6 * 3600.0
AGAIN_S = (30.0, 3600.0)  # before an export that failed is tried again: at first, and at most
TRIES, UNFINISHED = ".exports.json", ".unfinished"
SHARE_OF_TIME = 0.15  # that it works where a series takes all: .4, at the lowest priority, slowed it by 4 %, this by .5

log = logging.getLogger("streamfluo")


class Ended(BaseException):
    """It is to end: what it was at is begun again."""


class Housekeeping:
    """Exports and deletes as `path` says until it is stopped; tells each second what it does."""

    def __init__(self, path: Path, tell: Callable[[Mapping[str, Any]], None]) -> None:
        self._path, self._tell = path, tell
        self.config: DaemonConfig = load_daemon_config(path)
        self._going, self._stopping, self._reloads = threading.Event(), False, False
        self._going.set()
        self._shares, self._worked_since_s = False, time.monotonic()
        self._said: dict[str, Any] = {"state": "idle", "why": "", "session": ""}
        self._exported = self._exported_bytes = self._deleted = self._deleted_bytes = 0
        self._waiting, self._worked_bytes = 0, 0
        self._began_s = self._moved_s = time.monotonic()
        self._over: dict[Path, float] = {}  # since when a session that did not finish has been over
        self._tries = _read_tries(self.config.folder / TRIES)
        self._refused: dict[str, str] = {}
        self._noted: dict[Path, int] = {}  # when an exported session was written last
        self._later: dict[str, tuple[float, float]] = {}  # when an export that failed is tried again, after what pause

    def run(self, orders: Iterable[str]) -> None:
        """Work until `stop`, or until nobody gives `orders` any more."""
        step_back()
        for name, work in (("report", self._report), ("orders", lambda: self._listen(orders))):
            threading.Thread(target=work, name=name, daemon=True).start()
        retained_s = -RETAIN_S
        try:
            while True:
                if self._reloads:
                    self._reload()
                session = next(iter(self._to_export()), None)
                if session is not None:
                    self._export(session)
                    retained_s = -RETAIN_S
                elif self.config.disks.retention is not None and time.monotonic() - retained_s >= RETAIN_S:
                    retained_s = time.monotonic()
                    self._say("deleting")
                    with contextlib.suppress(SessionError):  # somebody does it by hand
                        retain(self.config, self._judged, self._pause)
                else:
                    self._say("idle")
                    self._rest(IDLE_S)
        except Ended:
            pass
        finally:
            self._say("stopped")
            self._tell(self.status())

    def stop(self) -> None:
        """End soon; callable from a signal handler."""
        self._stopping = True
        self._going.set()

    def reload(self) -> None:
        """Read the config anew; callable from a signal handler."""
        self._reloads = True

    def status(self) -> dict[str, Any]:
        """What it does and has done, in plain values."""
        said = dict(self._said)
        if not self._going.is_set() and said["state"] != "idle":
            said["state"] = "paused"
        return {
            "name": "housekeeping", **said, "exported": self._exported, "exported_bytes": self._exported_bytes,
            "to_export": self._waiting, "deleted": self._deleted, "deleted_bytes": self._deleted_bytes,
            "worked_bytes": self._worked_bytes, "refused_exports": len(self._refused), "blocked": self._blocked(),
        }  # fmt: skip

    def _blocked(self) -> str:
        """What does not come back, in words; nothing while it is told to wait."""
        still_s = time.monotonic() - self._moved_s
        if still_s < STILL_S or not self._going.is_set():
            return ""
        return f"{self._said['state']} {self._said['session']} has not moved for {still_s:.0f} s"

    def _to_export(self) -> list[Kept]:
        """The sessions that are over and not exported as they are, the oldest names first."""
        if self.config.disks.export is None:
            return []
        found = [s for s in kept_sessions(self.config.roots, self.config.names.depth) if self._is_due(s)]
        self._waiting = len(found)
        return found

    def _is_due(self, session: Kept) -> bool:
        later, _ = self._later.get(session.name, (0.0, 0.0))
        if time.monotonic() < later or self._is_noted(session.folder):
            return False
        if (tries := self._tried(session)) >= MAX_TRIES:
            again_s = min(AGAIN_S[0] * 2.0 ** (tries - MAX_TRIES), LAST_AGAIN_S)
            if time.monotonic() - self._began_s < again_s:
                self._refused[session.name] = f"its export ended the process {tries} times"
                return False
        try:
            state = open_session(session.folder).state
        except StreamfluoError as error:
            self._give_up(session, str(error))
            return False
        if state == "running":
            self._over.pop(session.folder, None)
            return False
        since = self._over.setdefault(session.folder, time.monotonic())
        return state == "finished" or time.monotonic() - since >= RESUMED_S

    def _is_noted(self, folder: Path) -> bool:
        """Whether a session is exported as it is; read anew only once it has changed."""
        try:
            written_ns = (folder / "session.json").stat().st_mtime_ns
        except OSError:
            return True  # it is being deleted
        if self._noted.get(folder) != written_ns and note_of(folder) is not None:
            self._noted[folder] = written_ns
        return self._noted.get(folder) == written_ns

    def _export(self, session: Kept) -> None:
        export = self.config.disks.export
        assert export is not None
        self._try(session)
        self._say("exporting", session=str(session.folder))
        exports = self.config.disks.exports
        place, aside = exports / session.name, exports / UNFINISHED
        try:
            metadata = self.config.disks.metadata  # read again: what was wrong in it may be mended
            note = export_verified(open_session(session.folder), export.format, place, aside, self._pause, metadata)
        except (StreamfluoError, OSError) as error:
            log.warning("%s: not exported: %s", session.folder, error)
            self._give_up(session, str(error))
            return
        finally:
            self._untry(session)
        self._refused.pop(session.name, None)
        self._exported, self._exported_bytes = self._exported + 1, self._exported_bytes + note.nbytes
        if note.why:
            self._refused[session.name] = note.why
            log.warning("%s: exported, and not verified: %s", session.folder, note.why)

    def _judged(self, verdict: Verdict) -> None:
        name = verdict.session.name
        if verdict.but:
            if self._refused.get(name) != verdict.but:
                log.warning("%s", verdict)
            self._refused[name] = verdict.but
            return
        self._refused.pop(name, None)
        self._deleted, self._deleted_bytes = self._deleted + 1, self._deleted_bytes + verdict.nbytes
        log.warning("deleted %s: %s", verdict.session.folder, verdict.wish)

    # Waiting

    def _pause(self, nbytes: int) -> None:
        self._worked_bytes += nbytes
        self._moved_s = now = time.monotonic()
        if self._stopping:
            raise Ended
        if self._shares:
            time.sleep((now - self._worked_since_s) * (1 / SHARE_OF_TIME - 1))
            self._moved_s = time.monotonic()
        self._worked_since_s = self._moved_s
        if not self._going.is_set():
            self._going.wait()
            self._worked_since_s = time.monotonic()
            self._pause(0)

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._pause(0)
            time.sleep(0.05)

    def _listen(self, orders: Iterable[str]) -> None:
        for order in orders:
            self._shares = order.strip() == SHARE
            if order.strip() == PAUSE and not self._stopping:
                self._going.clear()
            else:
                self._going.set()
        self.stop()  # the daemon is gone

    def _reload(self) -> None:
        self._reloads = False
        with contextlib.suppress(ConfigError):  # the daemon says so, and goes on with what it has, too
            self.config = load_daemon_config(self._path)

    # What was tried

    def _tried(self, session: Kept) -> int:
        tries, facts = self._tries.get(session.name, (0, 0))
        return tries if facts == _facts_of(session) else 0

    def _try(self, session: Kept) -> None:
        self._tries[session.name] = self._tried(session) + 1, _facts_of(session)
        save_json(self.config.folder / TRIES, self._tries)

    def _untry(self, session: Kept) -> None:
        self._tries.pop(session.name, None)
        save_json(self.config.folder / TRIES, self._tries)

    def _give_up(self, session: Kept, why: str) -> None:
        _, pause_s = self._later.get(session.name, (0.0, AGAIN_S[0] / 2))
        pause_s = min(2 * pause_s, AGAIN_S[1])
        self._later[session.name] = time.monotonic() + pause_s, pause_s
        self._refused[session.name] = why
        self._say("idle", why=why)

    def _say(self, state: str, session: str = "", why: str = "") -> None:
        self._said = {"state": state, "why": why, "session": session}

    def _report(self) -> None:
        while True:
            self._tell(self.status())
            time.sleep(TELL_S)


def _facts_of(session: Kept) -> int:
    try:
        return zlib_ng.crc32((session.folder / "session.json").read_bytes())
    except OSError:
        return 0


def _read_tries(path: Path) -> dict[str, tuple[int, int]]:
    try:
        found = json.loads(path.read_text())
        return {str(name): (int(tries), int(facts)) for name, (tries, facts) in found.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
