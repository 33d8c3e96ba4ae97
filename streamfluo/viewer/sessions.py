"""The sessions that a program tells of: asked on a thread now and then, opened in a window of their own. No Qt."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import StreamfluoError
from ..network.control_client import Control

ASK_S = 30.0
MAX_SHOWN = 200
HERE = ("tcp://127.", "tcp://localhost:", "tcp://[::1]:", "ipc://")  # endpoints of programs of this machine


class SessionLine(NamedTuple):
    """What is known of a session; None where nobody says."""

    folder: str
    state: str
    started: str
    frames: int | None
    lost: int | None
    nbytes: int | None

    @property
    def name(self) -> str:
        """Its folder, and the one that lies in."""
        return "/".join(Path(self.folder).parts[-2:])


class Sessions:
    """What the program at `uri` says of the sessions beside its own; `why` where it says nothing."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.lines: list[SessionLine] = []
        self.why, self.revision = "", 0
        self._asked_s, self._waits = -ASK_S, False

    def ask_if_due(self) -> None:
        """Ask again, if the last answer is old; the answer comes later."""
        now_s = time.monotonic()
        if not self._waits and now_s - self._asked_s >= ASK_S:
            self._asked_s, self._waits = now_s, True
            threading.Thread(target=self._ask, name="sessions", daemon=True).start()

    def _ask(self) -> None:
        try:
            with Control(self.uri) as control:
                told = control.sessions()
            self.lines, self.why = [line for one in told[:MAX_SHOWN] if (line := line_of(one)) is not None], ""
        except StreamfluoError as error:
            self.why = str(error)[:300]
        finally:
            self.revision += 1
            self._waits = False


def line_of(told: Mapping[str, Any]) -> SessionLine | None:
    """Return what a program says of a session, None where that is nothing that can be shown."""
    if not isinstance(told, Mapping) or not isinstance(told.get("session"), str):
        return None
    frames, lost, nbytes = (
        n if isinstance(n := told.get(name), int) else None for name in ("frames", "lost", "nbytes")
    )
    state, started = (str(told.get(name) or "")[:200] for name in ("state", "started"))
    return SessionLine(told["session"][:4096], state, started, frames, lost, nbytes)


def open_in_window(uri: str, folder: str) -> str:
    """Open a viewer on a session that a program of this machine told of; returns why it cannot be, "" if it was.

    Nothing is written, and the folder must be that of a session.
    """
    if not uri.startswith(HERE) or "ssh=" in uri:
        return "it lies on another computer: there, streamfluo view shows it"
    path = Path(folder)
    if not path.is_absolute() or not (path / "session.json").is_file():
        return f"{folder}: no session is there any more"
    subprocess.Popen([sys.executable, "-m", "streamfluo", "view", "--", str(path)], start_new_session=True)
    return ""
