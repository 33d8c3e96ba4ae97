"""Inputs of a session: what else happened while frames came, a file of records each, and on the frames' clock.

Samples stand with their time on this machine's monotonic clock, in nanoseconds of UTC as of the run's start. `frames`
are an input as well: each frame's index, its time by the camera and when it arrived, by which the two clocks are
compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.errors import SessionError, did_you_mean
from ..core.names import file_in
from ..core.step_values import StepValues, sized
from .clocks import Clock, fit_clock
from .disk_calls import DiskCalls
from .record_file import Damage, scan_records
from .values import StepRecords, ValuesWriter

FRAMES = "frames"  # an input of the run itself
# Of an input in memory while a disk refuses: two columns at 1 kHz for 40 minutes, the times of 1000 frames a second for
# as long; with ten inputs less than a camera's ring.
MAX_WAITING_BYTES = 64 << 20
LATEST_NS = 1 << 61  # the year 2043
MAX_BRIDGED_S = 1.0  # between two samples a frame has the value between theirs, if they are no further apart


def inputs_folder(session: Path) -> Path:
    """Return where a session keeps its inputs."""
    return session / "inputs"


class InputWriter:
    """Appends samples to an input's file behind what is whole in it; belongs to one thread.

    What the disk refuses waits in memory for the next try; `refused` says why, "" while it takes everything. Beyond
    MAX_WAITING_BYTES new samples are `dropped`, and the oldest are kept: they go on from what is on the disk, as the
    frames do that wait beside them, and what is missing is one stretch. `samples` counts both: the index of a record
    says how many are missing before it.
    """

    def __init__(self, session: Path, name: str, series_uid: str, calls: DiskCalls) -> None:
        self._path, self._name = inputs_folder(session) / f"{name}.sfv", name
        records = StepRecords(self._path, series_uid)
        self.samples = int(records.index.max(initial=-1)) + 1
        self.refused, self.dropped = "", 0
        self._values = ValuesWriter(self._path, series_uid, _whole_nbytes(self._path), calls)

    def add(self, arrays: dict[str, np.ndarray]) -> None:
        """Take samples: `t_ns` (n,) and `value` (n, columns), of texts (n,), or drop them."""
        count, nbytes = len(arrays["t_ns"]), sized(arrays)
        if self._values.waiting_nbytes + nbytes > MAX_WAITING_BYTES:
            self.dropped += count
        else:
            self._values.add(StepValues(self._name, self.samples, count, arrays, nbytes))
        self.samples += count
        self._try(self._values.flush_if_due)

    def flush(self) -> None:
        """Write what waits, if the disk takes it."""
        self._try(self._values.flush)

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
            if not self.waiting:  # else it was not due
                self.refused = ""
        except OSError as error:
            self.refused = error.strerror or str(error)

    @property
    def waiting(self) -> int:
        """Samples that wait."""
        return self._values.waiting_frames

    def close(self) -> None:
        """Write what waits, sync and close. Raises OSError."""
        self._values.close()


def _whole_nbytes(path: Path) -> int:
    """How much of a file is whole records: a kill may have torn the last."""
    whole = 0
    for found in scan_records(path, path.read_bytes()) if path.exists() else ():
        if not isinstance(found, Damage):
            whole = found.stop
    return whole


@dataclass(frozen=True)
class RecordedInput:
    """Samples of an input: `t_ns` (n,) since the series began, and `value` (n, columns), of texts (n,).

    `clock` says how this machine's clock ran against the camera's, and how well that is known.
    """

    name: str
    t_ns: np.ndarray
    value: np.ndarray
    clock: Clock

    @property
    def is_text(self) -> bool:
        """Whether its samples are texts."""
        return self.value.dtype.kind == "U"

    def at(self, start_ns: np.ndarray, stop_ns: np.ndarray) -> np.ndarray:
        """Return one value (n, columns) for each stretch of time: the mean of the samples in it.

        Without one it is the value between its neighbours, NaN where these are more than a second apart. Raises
        SessionError for text.
        """
        if self.is_text:
            raise SessionError(f"input {self.name!r}: texts have no value between two; read them with .t_ns and .value")
        order = np.argsort(self.t_ns, kind="stable")
        t_ns, value = self.t_ns[order], self.value[order]
        first, last = (np.searchsorted(t_ns, edge) for edge in (start_ns, stop_ns))
        sums = np.concatenate((np.zeros((1, value.shape[1])), np.nancumsum(value, 0)))
        known = np.concatenate((np.zeros((1, value.shape[1])), np.cumsum(~np.isnan(value), 0)))
        with np.errstate(invalid="ignore"):
            found = (sums[last] - sums[first]) / (known[last] - known[first])
        empty = np.flatnonzero((first == last) & (first > 0) & (first < len(t_ns)))
        before, after = t_ns[first[empty] - 1], t_ns[first[empty]]
        near = after - before <= MAX_BRIDGED_S * 1e9
        empty, before, after = empty[near], before[near], after[near]
        part = ((start_ns[empty] + stop_ns[empty]) / 2 - before) / np.maximum(1, after - before)
        low, high = value[first[empty] - 1], value[first[empty]]
        found[empty] = low + np.clip(part, 0, 1)[:, None] * (high - low)
        return found


@dataclass(frozen=True)
class RecordedInputs:
    """The inputs of a session by name, and the index (n,) and time (n,) [ns] of each frame that came."""

    index: np.ndarray
    t_ns: np.ndarray
    by_name: dict[str, RecordedInput]
    damaged: tuple[Damage, ...]

    def aligned(self, name: str, interval_s: float | None) -> np.ndarray:
        """Return one value (n, columns) of an input for each frame, in order: the mean over the interval before it.

        Without a sample in there it is the value between its neighbours, NaN where these are more than 1 s apart.
        Raises SessionError for an input there is not, and for one of texts.
        """
        if name not in self.by_name:
            raise SessionError(f"no input {name!r}{did_you_mean(name, self.by_name)}")
        interval_ns = round((interval_s or 0) * 1e9) or int(np.median(np.diff(self.t_ns)))
        return self.by_name[name].at(self.t_ns - interval_ns, self.t_ns)


def read_inputs(session: Path, series_uid: str) -> RecordedInputs:
    """Read what a session has of inputs; nothing where it has none. A file that is not one of ours is damaged."""
    folder, damaged = inputs_folder(session), list[Damage]()
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for path in sorted(folder.glob("*.sfv")) if folder.is_dir() else ():
        try:
            records = StepRecords(file_in(folder, path.name, SessionError), series_uid)
            damaged += records.damaged
            if records.arrays:
                found[path.stem] = _samples(records, path.stem)
        except SessionError as error:
            damaged.append(Damage(path, 0, None, str(error)))
    arrived_ns, value = found.pop(FRAMES, (np.empty(0, np.int64), np.empty((0, 2))))
    index, first = np.unique(value[:, 0].astype(np.int64), return_index=True)
    t_ns, arrived_ns = value[first, 1].astype(np.int64), arrived_ns[first]
    newest = np.append(np.diff(arrived_ns) != 0, True) if len(first) else np.empty(0, bool)
    clock = fit_clock(arrived_ns[newest], t_ns[newest]) if newest.sum() > 1 else Clock(0.0, 0.0, 0.0, np.inf)
    by_name = {
        name: RecordedInput(name, np.rint(clock.theirs(came_ns)).astype(np.int64), value, clock)
        for name, (came_ns, value) in found.items()
    }
    return RecordedInputs(index, t_ns, by_name, tuple(damaged))


def _samples(records: StepRecords, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Times (n,) and values (n, columns), or texts (n,), of an input's records. Raises SessionError."""
    try:
        t_ns, value = (np.concatenate([part[key] for part in records.arrays]) for key in ("t_ns", "value"))
    except (KeyError, ValueError) as error:
        raise SessionError(f"its samples do not belong together: {error!r}") from None
    text = value.dtype.kind == "U" and value.ndim == 1
    numbers = value.dtype == np.float64 and value.ndim == 2
    absurd = t_ns.dtype != np.int64 or (t_ns > LATEST_NS).any() or (t_ns < -LATEST_NS).any()
    if absurd or t_ns.shape != value.shape[:1] or not (text or numbers):
        raise SessionError(f"no samples: times {t_ns.dtype} {t_ns.shape}, values {value.dtype} {value.shape}")
    if name == FRAMES and not (numbers and value.shape[1] == 2 and (np.abs(value) < LATEST_NS).all()):
        raise SessionError("not what a run writes of its frames")
    return t_ns, value
