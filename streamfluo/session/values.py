"""Values on disk: one append-only file of result records per step."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core import wire
from ..core.operator import Gives, Output, Table
from ..core.records import PREFIX_BYTES, encode_record, record_layout
from ..core.results import arrays_in, encode_arrays
from .journal import RecordFile, scan_records

FLUSH_S = 0.25
FLUSH_BYTES = 1 << 20


Run = tuple[int, int, dict[str, np.ndarray]]  # index, count of frames, arrays by name


class Gathered:
    """A step's outputs as runs of consecutive frames; `by_id` values whose ids change begin a new one."""

    def __init__(self) -> None:
        self._runs: list[list[Run]] = []
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._runs)

    def add(self, output: Output) -> None:
        """Take the values from frame `output.index` on."""
        arrays = flatten(output.values)
        frames = next((len(a) for name, a in arrays.items() if name != "ids" and "/" not in name), 0)
        if not self._runs or not _continues(self._runs[-1][-1], output.index, arrays):
            self._runs.append([])
        self._runs[-1].append((output.index, frames, arrays))
        self.nbytes += sum(a.nbytes for a in arrays.values())

    def first(self) -> Run:
        """Return the oldest run as one."""
        run = self._runs[0]
        names = run[0][2]
        joined = {n: names[n] if n == "ids" else np.concatenate([arrays[n] for *_, arrays in run]) for n in names}
        return run[0][0], sum(frames for _, frames, _ in run), joined

    def drop_first(self) -> None:
        """Forget the oldest run."""
        self.nbytes -= sum(a.nbytes for *_, arrays in self._runs.pop(0) for a in arrays.values())


def values_message(series_uid: str, step: str, run: Run, gives: Sequence[Gives] = ()) -> tuple[wire.Result, list[Any]]:
    """Return a run as a message: its header and its arrays."""
    index, count, arrays = run
    headers, parts = encode_arrays(arrays, gives)
    return wire.Result(series_uid=series_uid, step=step, index=index, count=count, arrays=tuple(headers)), parts


class ValuesWriter:
    """Gathers a step's outputs and appends them as a record every quarter second or MiB.

    `nbytes` of an earlier file are kept.
    """

    def __init__(self, path: Path, series_uid: str, step: str, nbytes: int = 0) -> None:
        self._file = RecordFile(path, nbytes)
        self._uid, self._step = series_uid, step
        self._waiting = Gathered()
        self._since = time.monotonic()

    def add(self, output: Output) -> None:
        """Take the values from frame `output.index` on; `flush_if_due` writes them."""
        if output.values:
            self._since = self._since if self._waiting else time.monotonic()
            self._waiting.add(output)

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
            result, parts = values_message(self._uid, self._step, self._waiting.first())
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


def _continues(before: Run, index: int, arrays: Mapping[str, np.ndarray]) -> bool:
    last, frames, earlier = before
    same_ids = "ids" not in arrays or np.array_equal(arrays["ids"], earlier.get("ids", ()))
    consecutive = index == last + frames or frames == 0  # rows of a table name their frames themselves
    return consecutive and arrays.keys() == earlier.keys() and same_ids


def flatten(values: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return plain arrays by name; a table's columns as `table/column`."""
    arrays: dict[str, np.ndarray] = {}
    for name, value in values.items():
        if isinstance(value, Table):
            arrays |= {f"{name}/{column}": array for column, array in value.items()}
        else:
            arrays[name] = np.array(value)
    return arrays


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
    """Return the frame index of every row of the per-frame values."""
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
