"""Values on disk: one append-only file of result records per step."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core import wire
from ..core.operator import Gives
from ..core.records import PREFIX_BYTES, encode_record, record_layout
from ..core.results import arrays_in, encode_arrays
from ..core.step_values import IDS, StepValues, sized
from .journal import RecordFile, scan_records

FLUSH_S = 0.25
FLUSH_BYTES = 1 << 20


class Gathered:
    """A step's values as runs of consecutive frames; `by_id` values whose ids change begin a new one.

    `nbytes` is what they take in memory.
    """

    def __init__(self) -> None:
        self._runs: deque[deque[StepValues]] = deque()
        self.nbytes = 0

    def __len__(self) -> int:
        """Number of runs."""
        return len(self._runs)

    def add(self, values: StepValues) -> None:
        """Take values behind those that are here."""
        if not self._runs or not _continues(self._runs[-1][-1], values):
            self._runs.append(deque())
        self._runs[-1].append(values)
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

    `nbytes` of an earlier file are kept.
    """

    def __init__(self, path: Path, series_uid: str, nbytes: int = 0) -> None:
        self._file = RecordFile(path, nbytes)
        self._uid = series_uid
        self._waiting = Gathered()
        self._since = time.monotonic()

    def add(self, values: StepValues) -> None:
        """Take values; `flush_if_due` writes them."""
        self._since = self._since if self._waiting else time.monotonic()
        self._waiting.add(values)

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
            result, parts = values_message(self._uid, self._waiting.first())
            self._file.append(encode_record(wire.encode(result), parts))
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


def read_values(path: Path, gives: Sequence[Gives]) -> dict[str, Any]:
    """Return name → whole array (T, …) or table columns, of all that was written.

    `by_id` arrays have a column for every id that ever was, in order of appearance, 0 before its birth.
    """
    records = list(_records(path))
    values: dict[str, Any] = {}
    for given in gives:
        parts = [arrays for _, _, arrays in records if given.name in arrays]
        if given.kind == "per_frame" and parts:
            values[given.name] = np.concatenate([p[given.name] for p in parts])
        elif given.kind == "by_id" and parts and given.name != "ids":
            ids = list(dict.fromkeys(i for p in parts for i in p["ids"].tolist()))
            values["ids"] = np.array(ids, parts[0]["ids"].dtype)
            values[given.name] = np.concatenate([_spread(p[given.name], p["ids"], ids) for p in parts])
        elif given.kind == "table":
            columns = dict.fromkeys(n for _, _, a in records for n in a if n.startswith(given.name + "/"))
            values[given.name] = {
                n.partition("/")[2]: np.concatenate([a[n] for _, _, a in records if n in a]) for n in columns
            }
    return values


def read_value_indices(path: Path) -> np.ndarray:
    """Return the frame index (t,) of every row of the per-frame values."""
    ranges = [np.arange(index, index + count) for index, count, _ in _records(path)]
    return np.concatenate(ranges) if ranges else np.empty(0, np.int64)


def _spread(array: np.ndarray, ids: np.ndarray, everyone: list[int]) -> np.ndarray:
    place = {name: n for n, name in enumerate(everyone)}
    wide = np.zeros((len(array), len(everyone), *array.shape[2:]), array.dtype)
    wide[:, [place[i] for i in ids.tolist()]] = array
    return wide


def _records(path: Path) -> Iterator[tuple[int, int, dict[str, np.ndarray]]]:
    if not path.exists():
        return
    data = path.read_bytes()
    for fields, start, _ in scan_records(path):
        body = start + PREFIX_BYTES
        payload = body + record_layout(data[start:body])
        yield fields["index"], fields["count"], arrays_in(fields, memoryview(data)[payload:])
