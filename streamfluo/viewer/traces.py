"""Values of every frame as they scroll by: the newest so many, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

CAPACITY_FRAMES = 30_000  # 17 minutes at 30 Hz, a minute at 500
MAX_BYTES = 64 << 20
MAX_MARKS = 1000


class Trace:
    """The newest values of some curves, each row with its frame index.

    Where frames are missing the line breaks, unless the rows are looks at some frames only (`sampled`). `capacity`: so
    many rows are held at most, as far as 64 MiB hold them; it may be changed.
    """

    def __init__(self, capacity: int = CAPACITY_FRAMES, sampled: bool = False) -> None:
        self.sampled = sampled
        self._places: dict[int, int] | None = None  # id → curve, of by_id values
        self.newest_ids: list[int] = []  # of the newest rows
        self.revision = 0
        self.capacity = capacity
        self._newest_of_past = -1  # the newest frame of those that came by `take_earlier`
        self._index = np.empty(0, np.int64)
        self._rows = np.empty((0, 0))
        self._start = self._stop = 0  # the rows that count; behind `stop` there is room

    def __len__(self) -> int:
        return self._stop - self._start

    @property
    def ids(self) -> list[int] | None:
        """What the curves are called, in order; None where they have their place only."""
        return None if self._places is None else list(self._places)

    @property
    def curves(self) -> int:
        """How many curves there are."""
        return self._rows.shape[1]

    def take(self, index: int, values: np.ndarray, ids: Sequence[int] | None = None) -> None:
        """Append values (t,) or (t, k) of the frames from `index` on; `ids` (k,) name the curves, new ones may come."""
        values = np.asarray(values, float).reshape(len(values), -1)
        if len(self) and index <= (newest := int(self._index[self._stop - 1])):
            if newest == self._newest_of_past:  # these were on their way while those of the past were asked for
                values, index = values[newest + 1 - index :], newest + 1
            else:
                self.clear()  # the series began anew
        if not len(values):
            return
        self.newest_ids = [] if ids is None else list(ids)
        self._widen(values.shape[1], ids)
        columns = slice(None) if ids is None or self._places is None else [self._places[i] for i in ids]
        capacity = self._most_rows
        values, skipped = values[-capacity:], max(0, len(values) - capacity)
        self._make_room(len(values), capacity)
        rows = slice(self._stop, self._stop + len(values))
        self._rows[rows] = np.nan
        self._rows[rows, columns] = values
        self._index[rows] = np.arange(index + skipped, index + skipped + len(values))
        self._stop += len(values)
        self._start = max(self._start, self._stop - capacity)
        self.revision += 1

    def take_earlier(self, index: int, values: np.ndarray, ids: Sequence[int] | None = None) -> bool:
        """Put values of the frames from `index` on where none are held, as far as there is room; False if none is."""
        self._newest_of_past = max(self._newest_of_past, index + len(values) - 1)
        if not len(self):
            self.take(index, values, ids)
            return True
        values = np.asarray(values, float).reshape(len(values), -1)
        if (ids is None) != (self._places is None) or (ids is None and values.shape[1] != self.curves):
            return False
        self._widen(values.shape[1], ids)
        indices, held = np.arange(index, index + len(values)), self._index[self._start : self._stop]
        new = np.flatnonzero(~np.isin(indices, held))
        first = int(np.searchsorted(held, indices[new[0]])) if len(new) else 0
        room = max(0, self._most_rows - len(self)) + first  # those before a hole may go for those in it
        new = new[max(0, len(new) - room) :]
        if not len(new):
            return False
        dropped = max(0, len(self) + len(new) - self._most_rows)
        self._start += dropped
        at = self._open(first - dropped, len(new), self._most_rows)
        self._rows[at : at + len(new)] = np.nan
        columns = slice(None) if ids is None or self._places is None else [self._places[i] for i in ids]
        self._rows[at : at + len(new), columns] = values[new]
        self._index[at : at + len(new)] = indices[new]
        self.revision += 1
        return True

    def take_looks(self, indices: np.ndarray, values: np.ndarray) -> None:
        """Put looks (n, k) at frames (n,) beside those that are held, which stay."""
        held = {int(n): row.copy() for n, row in zip(*self.since(), strict=True)}
        if held and values.shape[1] != self.curves:
            return
        looks = dict(zip(indices.tolist(), np.asarray(values, float), strict=True)) | held
        self.clear()
        for index in sorted(looks):
            self.take(index, looks[index][None])

    @property
    def is_full(self) -> bool:
        """Whether no earlier values have room."""
        return len(self) >= self._most_rows

    @property
    def _most_rows(self) -> int:
        return max(16, min(self.capacity, MAX_BYTES // (8 * max(1, self.curves))))

    def clear(self) -> None:
        """Forget everything."""
        self._start = self._stop = 0
        self._newest_of_past = -1
        self._places, self._rows, self._index = None, np.empty((0, 0)), np.empty(0, np.int64)
        self.revision += 1

    def since(self, index: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return (indices (n,), values (n, curves)) of the frames from `index` on, views the next `take` changes."""
        indices = self._index[self._start : self._stop]
        first = int(np.searchsorted(indices, index))
        return indices[first:], self._rows[self._start + first : self._stop]

    def _widen(self, curves: int, ids: Sequence[int] | None) -> None:
        if ids is not None:
            places = self._places = self._places or {}
            for name in ids:
                places.setdefault(name, len(places))
            curves = len(places)
        if curves != self.curves:
            rows, held = np.empty((len(self._rows), curves)), slice(self._start, self._stop)
            kept = min(curves, self.curves)
            rows[held] = np.nan
            rows[held, :kept] = self._rows[held, :kept]
            self._rows = rows

    def _make_room(self, count: int, capacity: int) -> None:
        """Rows move to the front once in `capacity` rows, so that what is drawn is one piece of memory."""
        if self._stop + count <= len(self._rows):
            return
        kept = slice(max(self._start, self._stop - capacity), self._stop)
        size = max(2 * capacity, count)
        # Both are written to at once: zeros would take their memory page by page, 30 kB a minute for an hour or two.
        rows, index = np.full((size, self.curves), np.nan), np.full(size, -1, np.int64)
        length = kept.stop - kept.start
        rows[:length], index[:length] = self._rows[kept], self._index[kept]
        self._rows, self._index, self._start, self._stop = rows, index, 0, length

    def _open(self, first: int, count: int, capacity: int) -> int:
        """Make room for `count` rows before the `first`-th of those held; returns where it is."""
        if first or count > self._start:  # the first time, and in a hole; else there is room in front
            rows, index = np.empty((2 * capacity, self.curves)), np.empty(2 * capacity, np.int64)
            before = capacity - first  # as many rows fit in front
            for new, old in ((rows, self._rows), (index, self._index)):
                new[before : before + first] = old[self._start : self._start + first]
                behind = old[self._start + first : self._stop]
                new[before + first + count : before + first + count + len(behind)] = behind
            length = len(self) + count
            self._rows, self._index, self._start, self._stop = rows, index, before, before + length
            return before + first
        self._start -= count
        return self._start


class Marks:
    """Frames at which something happened, the newest MAX_MARKS of `count`."""

    def __init__(self) -> None:
        self.count = self.revision = 0
        self.covered: tuple[int, int] | None = None  # frames whose marks are here: first, one behind the last
        self._newest_of_past = -1
        self._frames: deque[int] = deque(maxlen=MAX_MARKS)

    def take(self, frames: Sequence[int]) -> None:
        """Note frames, in order; ones from before mean that the series began anew."""
        if frames and self._frames and frames[0] <= self._frames[-1]:
            if self._frames[-1] == self._newest_of_past:
                frames = [frame for frame in frames if frame > self._newest_of_past]
            else:
                self._frames.clear()
                self.count = 0
        self._frames.extend(frames)
        self.count += len(frames)
        self.revision += bool(frames)

    def cover(self, index: int, count: int) -> None:
        """Note of which frames the marks are here, those behind a hole alone."""
        first, stop = self.covered or (index, index)
        if index + count == first or not first <= index <= stop:
            first = index
        self.covered = (first, max(stop, index + count))

    def take_earlier(self, frames: Sequence[int]) -> None:
        """Note frames of before, as many as there is room for."""
        self._newest_of_past = max([self._newest_of_past, *frames])
        new = sorted({*frames} - {*self._frames}, reverse=True)[: MAX_MARKS - len(self._frames)]
        self._frames = deque(sorted([*self._frames, *new]), maxlen=MAX_MARKS)
        self.count += len(new)
        self.revision += bool(new)

    def since(self, index: int) -> np.ndarray:
        """Return the frames (n,) from `index` on."""
        return np.array([frame for frame in self._frames if frame >= index], float)


def envelope(
    indices: np.ndarray, values: np.ndarray, max_points: int = 2000, sampled: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return (x, y) of a curve (n,) to draw: where there are too many points, the extremes of each stretch.

    NaN stands where frames are missing, so that the line breaks there, unless they are `sampled`.
    """
    breaks = np.flatnonzero((np.diff(indices) > 1) & (not sampled)) + 1
    x = np.insert(indices.astype(float), breaks, np.nan)
    y = np.insert(values, breaks, np.nan)
    each = -(-2 * len(x) // max_points)
    if each <= 2:
        return x, y
    whole = len(x) // each * each
    stretches, starts = y[:whole].reshape(-1, each), x[:whole].reshape(-1, each)[:, 0]
    empty = np.isnan(stretches).all(1)
    low = np.where(empty, np.nan, np.min(np.where(np.isnan(stretches), np.inf, stretches), 1))
    high = np.where(empty, np.nan, np.max(np.where(np.isnan(stretches), -np.inf, stretches), 1))
    extremes = np.stack([low, high], 1).reshape(-1)
    return np.append(np.repeat(starts, 2), x[whole:]), np.append(extremes, y[whole:])
