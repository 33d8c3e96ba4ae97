"""A live series that survives its server: where it stood, noted each second, so that a server started anew goes on.

Without it a camera program that died and came back would be another series, and every recorder on it would end. With
it the frames lost meanwhile are one gap, of the size that the clock and the frame rate say.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
import time
from functools import cache
from pathlib import Path

import msgspec
from platformdirs import user_state_path

from ..core.source import Source

log = logging.getLogger("streamfluo")

FORGOTTEN_S = 60.0  # a server away for longer begins a new series; consumers wait 10 s
NOTE_S = 1.0


class Mark(msgspec.Struct, frozen=True):
    """Where a live series stood: the next seq and index, when (UTC, ns), when it began, and how long it had run by the
    times of its frames. `steady_ns` is when by a clock that nobody sets, `boot` since which start of the machine."""

    uid: str
    t0_ns: int
    at_ns: int
    seq: int
    index: int
    ran_ns: int = 0
    steady_ns: int = 0
    boot: str = ""

    @property
    def away_ns(self) -> int:
        """How long ago that was; by the clock of the wall only if the machine was started anew since."""
        same = self.boot and self.boot == boot_id()
        return steady_ns() - self.steady_ns if same else time.time_ns() - self.at_ns

    def missed(self, away_ns: int, interval_s: float | None) -> int:
        """How many frames there would have been since: at the series' own rate, or at that of `interval_s`."""
        ran_s = self.ran_ns / 1e9
        rate_hz = self.index / ran_s if self.index >= 100 and ran_s > 1 else 1 / (interval_s or 1.0)
        return max(1, math.ceil(away_ns / 1e9 * rate_hz))


def steady_ns() -> int:
    """Nanoseconds since the machine was started, for all of its processes, or since something else that stays."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic_ns()


@cache
def boot_id() -> str:
    """Return what tells this start of the machine from others, "" where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class Continuation:
    """The note of one live series, found again by who serves what where. `mark` is what an earlier server left.

    A folder that cannot be written costs the continuation only: the series is served all the same.
    """

    def __init__(self, source: Source, uri: str, folder: Path | None = None) -> None:
        folder = folder or user_state_path("streamfluo") / "series"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            log.warning("%s: %s; a camera started anew will begin a new series", folder, error.strerror or error)
        name = f"{source.series.source} {source.spec.shape} {source.spec.dtype} {uri}"
        self._path = folder / f"{hashlib.blake2b(name.encode(), digest_size=12).hexdigest()}.json"
        self._noted = 0.0
        self.mark = self._read()

    def note(self, mark: Mark) -> None:
        """Keep where the series stands, once a second at most; a disk that refuses it costs the continuation only."""
        if time.monotonic() - self._noted < NOTE_S:
            return
        self._noted = time.monotonic()
        aside = self._path.with_suffix(f".{os.getpid()}")
        try:
            aside.write_bytes(msgspec.json.encode(mark))
            aside.replace(self._path)
        except OSError:
            _remove(aside)

    def forget(self) -> None:
        """The series has ended in order."""
        _remove(self._path)

    def _read(self) -> Mark | None:
        try:
            mark = msgspec.json.decode(self._path.read_bytes(), type=Mark)
        except (OSError, msgspec.DecodeError):
            return None
        return mark if 0 <= mark.away_ns / 1e9 < FORGOTTEN_S else None


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # not there, or not ours to remove: it is too old to be believed in a minute
        path.unlink()
