"""Inputs of a session: what else happened while frames came, a file of records each, and on the frames' clock.

Samples stand with their time on this machine's monotonic clock, in nanoseconds of UTC as of the run's start. `frames`
are an input as well: each frame's index, its time by the camera and when it arrived, by which the two clocks are
compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..core.errors import SessionError, did_you_mean
from ..core.names import file_in
from ..core.step_values import StepValues, sized
from .clocks import Clock, fit_clock
from .device_clocks import taken_ns
from .disk_calls import DiskCalls
from .input_samples import FRAMES, Samples, samples_of
from .record_file import Damage, scan_records
from .shared_pulses import PulseLine, SharedPulses, clock_of_pulses, pulse_line, stated_pulses
from .values import StepRecords, ValuesWriter

SAME_CLOCK = Clock(0.0, 0.0, 0.0, 0.0)
# Of an input in memory while a disk refuses: two columns at 1 kHz for 40 minutes, the times of 1000 frames a second for
# as long; with ten inputs less than a camera's ring.
MAX_WAITING_BYTES = 64 << 20
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

    `clock` says how this machine's clock ran against the camera's, and how well their times are known. Of an input that
    is of the frames' metadata `frame` (n,) is the index of each one's frame, and its clock is theirs. Where shared
    pulses set its clock, `pulses` of them did, or `undetermined` says why none could, and `t_ns` is by arrival, as
    `arrival_t_ns` always is.
    """

    name: str
    t_ns: np.ndarray
    value: np.ndarray
    clock: Clock
    frame: np.ndarray | None = None
    pulses: int = 0
    undetermined: str = ""
    arrival_t_ns: np.ndarray | None = None

    @property
    def is_text(self) -> bool:
        """Whether its samples are texts."""
        return self.value.dtype.kind == "U"

    def of_frames(self, index: np.ndarray) -> np.ndarray:
        """Return what each of these frames (n,) says itself (n, columns), NaN where it says nothing.

        Raises SessionError for text.
        """
        assert self.frame is not None
        self._check_numbers()
        found = np.full((len(index), self.value.shape[1]), np.nan)
        _, ours, theirs = np.intersect1d(index, self.frame, return_indices=True)
        found[ours] = self.value[theirs]
        return found

    def _check_numbers(self) -> None:
        if self.is_text:
            raise SessionError(f"input {self.name!r}: texts have no value between two; read them with .t_ns and .value")

    def at(self, start_ns: np.ndarray, stop_ns: np.ndarray) -> np.ndarray:
        """Return one value (n, columns) for each stretch of time: the mean of the samples in it.

        Without one it is the value between its neighbours, NaN where these are more than a second apart. Raises
        SessionError for text.
        """
        self._check_numbers()
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

    def aligned(self, name: str, interval_s: float | None, by_arrival: bool = False) -> np.ndarray:
        """Return one value (n, columns) of an input for each frame, in order: the mean over the interval before it.

        Without a sample in there it is the value between its neighbours, NaN where these are more than 1 s apart; of
        the frames' metadata it is what each says itself, NaN where it says nothing.
        Raises SessionError for an input there is not, for one of texts, and for one whose pulses are undetermined,
        unless `by_arrival`: then by when its samples came, whatever its pulses say.
        """
        if name not in self.by_name:
            raise SessionError(f"no input {name!r}{did_you_mean(name, self.by_name)}")
        one = self.by_name[name]
        if one.frame is not None:
            return one.of_frames(self.index)
        if one.undetermined and not by_arrival:
            raise SessionError(
                f"input {name!r}: its clock is undetermined: {one.undetermined}; aligned({name!r}, by_arrival=True) "
                "goes by when its samples came"
            )
        if by_arrival and one.arrival_t_ns is not None:
            one = replace(one, t_ns=one.arrival_t_ns)
        interval_ns = round((interval_s or 0) * 1e9) or int(np.median(np.diff(self.t_ns)))
        return one.at(self.t_ns - interval_ns, self.t_ns)


def read_inputs(session: Path, series_uid: str) -> RecordedInputs:
    """Read what a session has of inputs; nothing where it has none. A file that is not one of ours is damaged."""
    folder, damaged = inputs_folder(session), list[Damage]()
    found: dict[str, Samples] = {}
    for path in sorted(folder.glob("*.sfv")) if folder.is_dir() else ():
        try:
            records = StepRecords(file_in(folder, path.name, SessionError), series_uid)
            damaged += records.damaged
            if records.arrays:
                found[path.stem] = samples_of(records, path.stem)
        except SessionError as error:
            damaged.append(Damage(path, 0, None, str(error)))
    frames = found.pop(FRAMES, Samples(np.empty(0, np.int64), np.empty((0, 2))))
    arrived_ns, value = frames.t_ns, frames.value
    index, first = np.unique(value[:, 0].astype(np.int64), return_index=True)
    t_ns, arrived_ns = value[first, 1].astype(np.int64), arrived_ns[first]
    newest = np.append(np.diff(arrived_ns) != 0, True) if len(first) else np.empty(0, bool)
    clock = fit_clock(arrived_ns[newest], t_ns[newest]) if newest.sum() > 1 else Clock(0.0, 0.0, 0.0, np.inf)
    by_name = {name: _on_frames_clock(name, samples, clock) for name, samples in found.items()}
    if stated := stated_pulses(session):
        lines = {name: pulse_line(one.t_ns, one.value) for name, one in by_name.items()} | {FRAMES: PulseLine(t_ns)}
        by_name |= {name: _by_pulses(by_name[name], lines, stated[name]) for name in by_name.keys() & stated.keys()}
    return RecordedInputs(index, t_ns, by_name, tuple(damaged))


def _on_frames_clock(name: str, samples: Samples, clock: Clock) -> RecordedInput:
    """An input with its times since the series began; `clock` is the camera's as this machine's saw it."""
    if samples.frame is not None:
        return RecordedInput(name, samples.t_ns, samples.value, SAME_CLOCK, samples.frame)
    taken, error_ns = (samples.t_ns, 0.0) if samples.own_ns is None else taken_ns(samples)
    clock = clock._replace(error_ns=float(np.hypot(clock.error_ns, error_ns)))
    return RecordedInput(name, np.rint(clock.theirs(taken)).astype(np.int64), samples.value, clock)


def _by_pulses(one: RecordedInput, lines: Mapping[str, PulseLine], stated: SharedPulses) -> RecordedInput:
    """An input with its times by pulses, or saying that they are undetermined."""
    found = clock_of_pulses(pulse_line(one.t_ns, one.value, stated.column, stated.level), lines, stated)
    if found.clock is None:
        return replace(one, undetermined=found.undetermined, arrival_t_ns=one.t_ns)
    t_ns = np.rint(found.clock.theirs(one.t_ns)).astype(np.int64)
    clock = one.clock._replace(error_ns=found.clock.error_ns)
    return replace(one, t_ns=t_ns, clock=clock, pulses=found.pulses, arrival_t_ns=one.t_ns)
