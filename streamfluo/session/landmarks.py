"""Where records of which frames begin in a file of values that is being written."""

from __future__ import annotations

from pathlib import Path

from ..core.records import Data
from .record_file import Damage, scan_records

STRETCH_BYTES = 256 << 10  # from landmark to landmark at first: so much is read at a time
MAX_LANDMARKS = 4096  # of a file; then every second one is let go


class Landmarks:
    """Where records begin in a file of values, every so many bytes, and of which frame. Who writes notes them; another
    thread may read. `nbytes` of the file were there before and are looked through once they are asked for."""

    def __init__(self, nbytes: int = 0) -> None:
        self._noted: list[tuple[int, int]] = []
        self._before: list[tuple[int, int]] = []
        self._unknown_nbytes, self._every = nbytes, STRETCH_BYTES

    def note(self, start: int, frame: int) -> None:
        """A record of frames from `frame` on begins at `start`."""
        noted = self._noted
        if not noted or start - noted[-1][0] >= self._every:
            noted.append((start, frame))
            if len(noted) >= MAX_LANDMARKS:
                del noted[1::2]
                self._every *= 2

    def all(self, path: Path, data: Data) -> list[tuple[int, int]]:
        """Return (start, frame) of the landmarks of a file, in order."""
        unknown, self._unknown_nbytes = self._unknown_nbytes, 0
        if unknown:
            found = Landmarks()
            for record in scan_records(path, data):
                if isinstance(record, Damage) or record.start >= unknown:
                    break
                index, count = record.fields.get("index"), record.fields.get("count")
                if isinstance(index, int) and isinstance(count, int) and count > 0:
                    found.note(record.start, index)
            self._before = found._noted
        return [*self._before, *self._noted]
