"""Sessions that are over, added to a catalogue by a process of its own: what fails there reaches no recording."""

from __future__ import annotations

import logging
import queue
import subprocess
import sys
import threading
from pathlib import Path

log = logging.getLogger("streamfluo")

MOST = 64  # that wait; a scan of the folder finds those beyond
PATIENCE_S = 600.0  # with one session at the lowest priority
LEAVE_S = 10.0  # for those that wait when a station ends


class Cataloguing:
    """Adds sessions to a catalogue one after the other, while others run; what goes wrong is one line of the log."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[tuple[Path, Path]] = queue.Queue(MOST)
        self._thread: threading.Thread | None = None
        self._told = ""

    def add(self, session: Path, file: Path) -> None:
        """Have a session added to the catalogue `file`; returns at once."""
        try:
            self._waiting.put_nowait((session, file))
        except queue.Full:
            self._tell(
                f"{file}: {MOST} sessions wait to be added; scan the folder: streamfluo catalogue {session.parent}"
            )
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="cataloguing", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Wait a while for what is still to be added."""
        if self._thread is not None:
            done = threading.Thread(target=self._waiting.join, daemon=True)
            done.start()
            done.join(LEAVE_S)

    def _work(self) -> None:
        while True:
            session, file = self._waiting.get()
            try:
                self._tell(_added(session, file))
            finally:
                self._waiting.task_done()

    def _tell(self, why: str) -> None:
        """Say why something was not added, once, until it is another reason or it went well."""
        if why and why != self._told:
            log.warning("not catalogued: %s", why)
        self._told = why


def _added(session: Path, file: Path) -> str:
    """Add a session by `streamfluo catalogue add`; return why it could not be, "" if it was."""
    words = [sys.executable, "-m", "streamfluo", "catalogue", "add", "--background", "--to", str(file), str(session)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=PATIENCE_S, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{session}: {error}"
    if done.returncode == 0:
        return ""
    said = done.stderr.strip().splitlines()
    return said[-1].removeprefix("streamfluo: ") if said else f"{session}: exit code {done.returncode}"
