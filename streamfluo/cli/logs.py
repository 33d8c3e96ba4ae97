"""The log of a service: a line of text or JSON each, which a full or stuck disk behind it never holds up."""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import queue
import sys
import threading
import time

from ..engine.log_context import Context
from .console import console, one_line

MAX_WAITING = 1000  # lines; what comes beyond them is counted, and said once there is room
LEAVE_S = 1.0
ENVIRONMENT = "STREAMFLUO_LOG"  # how the daemon's processes hear of `--log`


class ServiceLog(logging.Handler):
    """Writes lines to a file descriptor on a thread of its own; what the disk refuses is dropped and counted."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.dropped = 0
        self._descriptor = descriptor
        self._lines: queue.Queue[str] = queue.Queue(MAX_WAITING)
        self._torn = False
        threading.Thread(target=self._write_all, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self.dropped += 1

    def leave(self) -> None:
        """Give what waits a second."""
        until = time.monotonic() + LEAVE_S
        while self._lines.unfinished_tasks and time.monotonic() < until:
            time.sleep(0.01)

    def _write_all(self) -> None:
        while True:
            line = self._lines.get()
            data = f"{line}\n".encode(errors="replace")
            try:
                written = os.write(self._descriptor, b"\n" + data if self._torn else data)
                self._torn = written < len(data)
            except OSError:
                self.dropped += 1
            self._lines.task_done()


class AsText(logging.Formatter):
    """`streamfluo: source session series: message`, in one line."""

    def format(self, record: logging.LogRecord) -> str:
        context = getattr(record, "context", {})
        of = f"[{' '.join(f'{name} {value}' for name, value in context.items())}] " if context else ""
        return one_line(f"streamfluo: {of}{super().format(record)}")


class AsJson(logging.Formatter):
    """A JSON object a line: utc, level, message, source, session, series, and of an error its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        utc = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "utc": f"{utc}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "context", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def say(line: str) -> None:
    """Print a line, unless the disk behind the output is full: that must not end a service."""
    try:
        console.print(line, soft_wrap=True)
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError, ValueError):  # what waits in the buffer would fail again at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def log_as(kind: str) -> None:
    """Make this process's log that of a service; `kind`: text or json, unless the environment says which."""
    try:
        descriptor = sys.stderr.fileno()
    except (OSError, ValueError):
        return  # no file behind it, as in a notebook: the log stays as it is
    handler = ServiceLog(descriptor)
    handler.setFormatter(AsJson() if os.environ.get(ENVIRONMENT, kind) == "json" else AsText())
    handler.addFilter(Context())
    logging.root.handlers[:] = [handler]
    atexit.register(handler.leave)
