"""Values of every frame as they scroll by: the newest so many, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from .row_buffer import RowBuffer

CAPACITY_FRAMES = 30_000  # 17 minutes at 30 Hz, a minute at 500
MAX_MARKS = 1000


class Trace:
    """The newest values of some curves, each row with its frame index.

    Where frames are missing the line breaks, unless the rows are looks at some frames only (`sampled`). `capacity`: so
    many rows are held at most, as far as 64 MiB hold them; it may be changed. `before`: values around a frame that is
    looked back at, which are older than those held; None while nobody does.
    """

    def __init__(self, capacity: int = CAPACITY_FRAMES, sampled: bool = False) -> None:
        self.sampled = sampled
        self._places: dict[int, int] | None = None  # id → curve, of by_id values
        self.newest_ids: list[int] = []  # of the newest rows
        self.revision = 0
        self._newest_of_past = -1  # the newest frame of those that came by `take_earlier`
        self._held = RowBuffer(capacity)
        self.before: Trace | None = None

    def __len__(self) -> int:
        return len(self._held)

    @property
    def capacity(self) -> int:
        """So many rows are held at most."""
        return self._held.capacity

    @capacity.setter
    def capacity(self, rows: int) -> None:
        self._held.capacity = rows

    @property
    def ids(self) -> list[int] | None:
        """What the curves are called, in order; None where they have their place only."""
        return None if self._places is None else list(self._places)

    @property
    def curves(self) -> int:
        """How many curves there are."""
        return self._held.columns

    def take(self, index: int, values: np.ndarray, ids: Sequence[int] | None = None) -> None:
        """Append values (t,) or (t, k) of the frames from `index` on; `ids` (k,) name the curves, new ones may come."""
        values = np.asarray(values, float).reshape(len(values), -1)
        if len(self) and index <= (newest := int(self._held.index[-1])):
            if newest == self._newest_of_past:  # these were on their way while those of the past were asked for
                values, index = values[newest + 1 - index :], newest + 1
            else:
                self.clear()  # the series began anew
        if not len(values):
            return
        self.newest_ids = [] if ids is None else list(ids)
        columns = self._columns(values.shape[1], ids)
        self._held.append(np.arange(index, index + len(values)), values, columns)
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
        columns = self._columns(values.shape[1], ids)
        indices, held = np.arange(index, index + len(values)), self._held.index
        new = np.flatnonzero(~np.isin(indices, held))
        first = int(np.searchsorted(held, indices[new[0]])) if len(new) else 0
        room = max(0, self._held.most_rows - len(self)) + first  # those before a hole may go for those in it
        new = new[max(0, len(new) - room) :]
        if not len(new):
            return False
        self._held.insert(first, indices[new], values[new], columns)
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

    def around(self, frame: int | None) -> Trace:
        """Return what has the values around a frame: this, or where they are older what was asked for."""
        older = self.before is not None and len(self.before) > 0 and self.is_behind(frame)
        return self.before if older and self.before is not None else self

    def is_behind(self, frame: int | None) -> bool:
        """Whether a frame's values had to go for newer ones."""
        return frame is not None and self.is_full and frame < int(self._held.index[0])

    def take_asked(self, before: int, index: int, values: np.ndarray, ids: Sequence[int] | None = None) -> None:
        """Put values of the frames from `index` on, the last before a frame that was asked about, where they belong."""
        older = self.before is not None and self.is_full and before <= int(self._held.index[0])
        (self.before if older and self.before is not None else self).take_earlier(index, values, ids)

    @property
    def is_full(self) -> bool:
        """Whether no earlier values have room."""
        return len(self) >= self._held.most_rows

    @property
    def nbytes(self) -> int:
        """What the values take in memory, those that are to come too."""
        return self._held.nbytes

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()
        self._newest_of_past = -1
        self._places = None
        self.revision += 1

    def since(self, index: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return (indices (n,), values (n, curves)) of the frames from `index` on, views the next `take` changes."""
        indices = self._held.index
        first = int(np.searchsorted(indices, index))
        return indices[first:], self._held.rows[first:]

    def _columns(self, curves: int, ids: Sequence[int] | None) -> slice | list[int]:
        """Have room for these curves; returns which columns they are."""
        if ids is not None:
            if self._places and len({*self._places, *ids}) > self._held.width:
                self._forget_others(ids)
            places = self._places = self._places or {}
            for name in ids:
                places.setdefault(name, len(places))
            curves = len(places)
        if curves != self.curves:
            self._held.widen(curves)
        return slice(None) if ids is None or self._places is None else [self._places[i] for i in ids]

    def _forget_others(self, ids: Sequence[int]) -> None:
        """Let go of curves that have no value any more in the rows that are held: candidates come and go for hours."""
        assert self._places is not None
        there = np.isfinite(self._held.rows).any(0)
        kept = {name: column for name, column in self._places.items() if name in ids or there[column]}
        if len(kept) < len(self._places):
            self._held.keep(list(kept.values()))
            self._places = {name: n for n, name in enumerate(kept)}


class Marks:
    """Frames at which something happened, the newest MAX_MARKS of `count`; of before, as far as `capacity` frames."""

    def __init__(self) -> None:
        self.count = self.revision = 0
        self.capacity = CAPACITY_FRAMES
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

    @property
    def is_full(self) -> bool:
        """Whether none of before are wanted."""
        first, stop = self.covered or (0, 0)
        return len(self._frames) == MAX_MARKS or stop - first >= self.capacity

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
