"""Values on disk: one append-only file of result records per step."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core import wire
from ..core.errors import WireError
from ..core.operator import Gives
from ..core.records import Data, encode_record, record_payload
from ..core.results import arrays_in, encode_arrays
from ..core.step_values import IDS, StepValues, sized
from .disk_calls import DiskCalls
from .journal_frames import MAX_INDEX
from .landmarks import Landmarks
from .record_file import Damage, RecordFile, mapped, scan_records

FLUSH_S = 0.25
FLUSH_BYTES = 1 << 20
# Frames that a file of values may speak of: our smallest record, 128 bytes, holds a quarter second; 2²⁰ in any case.
MAX_FRAMES, FRAMES_A_BYTE = 1 << 20, 64
MAX_WIDE_BYTES = 8 << 30  # of one record, once it has a column for every id there ever was


class Gathered:
    """A step's values as runs of consecutive frames; `by_id` values whose ids change begin a new one.

    So do those behind a run of `max_run_bytes`. `nbytes` is what all take in memory.
    """

    def __init__(self, max_run_bytes: int | None = None) -> None:
        self._runs: deque[deque[StepValues]] = deque()
        self._max_run_bytes, self._run_bytes = max_run_bytes, 0  # of the newest run
        self.nbytes = 0

    def __len__(self) -> int:
        """Number of runs."""
        return len(self._runs)

    @property
    def frames(self) -> int:
        """Number of frames."""
        return sum(values.frames for run in self._runs for values in run)

    def add(self, values: StepValues) -> None:
        """Take values behind those that are here."""
        full = self._max_run_bytes is not None and self._run_bytes >= self._max_run_bytes
        if not self._runs or full or not _continues(self._runs[-1][-1], values):
            self._runs.append(deque())
            self._run_bytes = 0
        self._runs[-1].append(values)
        self._run_bytes += values.nbytes
        self.nbytes += values.nbytes

    def first(self) -> StepValues:
        """Return the oldest run as one."""
        run = self._runs[0]
        head = run[0]
        joined = {n: a if n == IDS else np.concatenate([v.arrays[n] for v in run]) for n, a in head.arrays.items()}
        return replace(head, frames=sum(v.frames for v in run), arrays=joined, nbytes=sized(joined))

    def drop_first(self) -> None:
        """Forget the oldest run."""
        self.nbytes -= sum(values.nbytes for values in self._runs.popleft())

    def drop_oldest(self) -> int:
        """Forget the oldest values, of one update, and return of how many frames they were."""
        dropped = self._runs[0].popleft()
        if not self._runs[0]:
            self._runs.popleft()
        self.nbytes -= dropped.nbytes
        return dropped.frames


def values_message(series_uid: str, values: StepValues, gives: Sequence[Gives] = ()) -> tuple[wire.Result, list[Any]]:
    """Return values as a message: its header and its arrays."""
    headers, parts = encode_arrays(values.arrays, gives)
    message = wire.Result(
        series_uid=series_uid, step=values.step, index=values.index, count=values.frames, arrays=tuple(headers)
    )
    return message, parts


class ValuesWriter:
    """Gathers a step's values and appends them as a record every quarter second or MiB.

    `nbytes` of an earlier file are kept; `calls` watches what is asked of the disk. What is written may be read
    meanwhile, by `landmarks`.
    """

    def __init__(self, path: Path, series_uid: str, nbytes: int = 0, calls: DiskCalls | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = RecordFile(path, nbytes, calls=calls, name="values")
        self.path, self.series_uid, self.landmarks = path, series_uid, Landmarks(nbytes)
        self._waiting = Gathered(FLUSH_BYTES)  # what a disk refuses is encoded anew at each try
        self._since = time.monotonic()

    def add(self, values: StepValues) -> None:
        """Take values; `flush_if_due` writes them."""
        self._since = self._since if self._waiting else time.monotonic()
        self._waiting.add(values)

    @property
    def waiting_frames(self) -> int:
        """Frames of what waits."""
        return self._waiting.frames

    @property
    def waiting_nbytes(self) -> int:
        """Bytes in memory of what waits."""
        return self._waiting.nbytes

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return self._file.size

    def flush_if_due(self) -> None:
        """Write what waits, if it waited long enough. Raises OSError when the disk refuses it; it still waits then."""
        old = time.monotonic() - self._since >= FLUSH_S
        if self._waiting and (old or len(self._waiting) > 1 or self._waiting.nbytes >= FLUSH_BYTES):
            self.flush()

    def flush(self) -> None:
        """Write what waits, a record for each run of consecutive frames. Raises OSError; it still waits then."""
        while self._waiting:
            result, parts = values_message(self.series_uid, self._waiting.first())
            start = self._file.size
            self._file.append(encode_record(wire.encode(result), parts))
            if result.count:
                self.landmarks.note(start, result.index)
            self._waiting.drop_first()

    def sync(self) -> None:
        """Wait until the disk has it."""
        self._file.sync()

    def close(self) -> None:
        """Write what waits, sync and close."""
        try:
            self.flush()
        finally:
            self._file.close()


def _continues(last: StepValues, values: StepValues) -> bool:
    arrays, before = values.arrays, last.arrays
    same_ids = IDS not in arrays or np.array_equal(arrays[IDS], before.get(IDS, ()))
    consecutive = values.index == last.index + last.frames or values.frames == 0  # tables name their frames themselves
    return consecutive and arrays.keys() == before.keys() and same_ids


@dataclass(frozen=True)
class ValuesRecord:
    """Values of one record: of which frames, and the arrays by name; columns of a table as `TABLE/COLUMN`."""

    index: int
    frames: int
    arrays: dict[str, np.ndarray]


def each_record(path: Path, series_uid: str, data: Data) -> Iterator[ValuesRecord | Damage]:
    """Yield each record of a file of values, and each place where none is; arrays are views of `data`."""
    rows = 0
    for found in scan_records(path, data):
        if isinstance(found, Damage):
            yield found
            continue
        frames = None
        try:
            result = wire.decode(data[found.header : found.payload])
            if not isinstance(result, wire.Result) or result.series_uid != series_uid:
                raise WireError("record", "no values of this series")
            if not 0 <= result.count <= MAX_FRAMES + FRAMES_A_BYTE * found.stop - rows:
                raise WireError("record", f"it speaks of {result.count} frames, more than its file can hold")
            if not 0 <= result.index < MAX_INDEX:
                raise WireError("record", f"frames from {result.index} on")
            frames = (result.index, result.count)
            arrays = arrays_in(found.fields, record_payload(data, found))
        except WireError as error:
            yield Damage(path, found.start, frames, str(error))
            continue
        rows += result.count
        yield ValuesRecord(result.index, result.count, arrays)


def records_before(writer: ValuesWriter, before: int) -> Iterator[ValuesRecord]:
    """Yield what a writer has written of frames before one, record by record, the newest first.

    Callable from any thread. Raises OSError where it cannot be read.
    """
    stop = writer.nbytes  # whole records: what a refused write leaves behind them is cut off again
    if not stop:
        return
    with mapped(writer.path) as data:
        for start, frame in reversed(writer.landmarks.all(writer.path, data)):
            if start < stop and frame < before:
                found = each_record(writer.path, writer.series_uid, bytes(data[start:stop]))
                records = [r for r in found if isinstance(r, ValuesRecord) and r.frames and r.index < before]
                yield from reversed(records)
            stop = min(stop, start)


class StepRecords:
    """What a file of values holds: the arrays of each whole record, the frame index (t,) of each row, and `damaged`."""

    def __init__(self, path: Path, series_uid: str) -> None:
        self.arrays: list[dict[str, np.ndarray]] = []
        self.damaged: list[Damage] = []
        ranges = [np.empty(0, np.int64)]
        for found in each_record(path, series_uid, path.read_bytes() if path.exists() else b""):
            if isinstance(found, Damage):
                self.damaged.append(found)
                continue
            self.arrays.append(found.arrays)
            ranges.append(np.arange(found.index, found.index + found.frames))
        self.index: np.ndarray = np.concatenate(ranges)


def read_values(records: StepRecords, gives: Sequence[Gives]) -> dict[str, Any]:
    """Return name → whole array (T, …) or table columns, of all that was written and is whole.

    `by_id` arrays have a column for every id that ever was, in order of appearance, 0 before its birth. Of a step whose
    every record is damaged the arrays are empty.
    """
    values: dict[str, Any] = {}
    for given in gives:
        parts = [arrays for arrays in records.arrays if given.name in arrays]
        if given.kind in ("per_frame", "by_id") and not parts and records.damaged:
            values[given.name] = np.empty(0)
        elif given.kind == "per_frame" and parts:
            values[given.name] = np.concatenate([p[given.name] for p in parts])
        elif given.kind == "by_id" and parts and given.name != IDS:
            ids = list(dict.fromkeys(i for p in parts for i in p[IDS].tolist()))
            values[IDS] = np.array(ids, parts[0][IDS].dtype)
            values[given.name] = np.concatenate([_spread(p[given.name], p[IDS], ids) for p in parts])
        elif given.kind == "table":
            columns = dict.fromkeys(n for a in records.arrays for n in a if n.startswith(given.name + "/"))
            values[given.name] = {
                n.partition("/")[2]: np.concatenate([a[n] for a in records.arrays if n in a]) for n in columns
            }
    return values


def _spread(array: np.ndarray, ids: np.ndarray, everyone: list[int]) -> np.ndarray:
    place = {name: n for n, name in enumerate(everyone)}
    if array.shape[1:2] != ids.shape:
        raise ValueError(f"{array.shape} values of {len(ids)} ids")
    if (nbytes := len(array) * len(everyone) * math.prod(array.shape[2:]) * array.itemsize) > MAX_WIDE_BYTES:
        raise ValueError(f"values of {len(everyone)} ids would take {nbytes >> 30} GiB")
    wide = np.zeros((len(array), len(everyone), *array.shape[2:]), array.dtype)
    wide[:, [place[i] for i in ids.tolist()]] = array
    return wide
