"""A simulated camera, or a recording in its place, in another process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..core.errors import SourceError


@contextmanager
def served(uri: str, fps: float | None, *more: str) -> Iterator[str]:
    """Serve `uri` from another process and yield its endpoint: `fps` frames a second, or as fast as they are taken.

    Raises SourceError.
    """
    command = [sys.executable, "-m", "streamfluo", "replay", uri, "--bind", "tcp://127.0.0.1:0"]
    rate = ["--max"] if fps is None else ["--fps", str(fps)]
    server = subprocess.Popen([*command, *rate, "--wait", *more], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        if " at " not in line:
            raise SourceError("the simulated camera did not start; its message stands above")
        yield line.rsplit(" at ", 1)[1].strip()
        with suppress(subprocess.TimeoutExpired):  # on a busy machine; every frame came, and it is ended below
            server.wait(timeout=10)
    finally:
        server.terminate()
        server.communicate()
