"""Rows of numbers with the frame of each, in one piece of memory that is taken when it is first needed."""

from __future__ import annotations

import numpy as np

MAX_BYTES = 64 << 20
SPARE = 0.25  # of the most rows there are, beside them: so seldom do rows move to the front
FEWEST_ROWS = 16
FIRST_ROWS = 30_000  # where more are allowed, memory is taken for so many first, then for twice as many, and so on
COLUMNS, WIDER = 8, 1.25  # columns are added by so many, and by so much at least: each time all rows are copied


class RowBuffer:
    """The newest `capacity` rows (columns,), as far as 64 MiB hold them, oldest first.

    All of the memory is written to when it is taken: pages that come as rows do are 65 MB in half an hour of 27 cells.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.columns = self._start = self._stop = 0
        self._index, self._rows = np.empty(0, np.int64), np.empty((0, 0))

    def __len__(self) -> int:
        return self._stop - self._start

    @property
    def most_rows(self) -> int:
        """How many rows are held at most."""
        return max(FEWEST_ROWS, min(self.capacity, MAX_BYTES // (8 * max(1, self._rows.shape[1], self.columns))))

    @property
    def nbytes(self) -> int:
        """What the rows take in memory, those that are to come too."""
        return self._rows.nbytes + self._index.nbytes

    @property
    def index(self) -> np.ndarray:
        """The frames (n,) of the rows, a view that the next change moves."""
        return self._index[self._start : self._stop]

    @property
    def rows(self) -> np.ndarray:
        """The rows (n, columns), a view that the next change moves."""
        return self._rows[self._start : self._stop, : self.columns]

    @property
    def width(self) -> int:
        """For how many columns there is memory."""
        return self._rows.shape[1]

    def keep(self, columns: list[int]) -> None:
        """Have these columns alone, in this order."""
        here = slice(self._start, self._stop)
        self._rows[here, : len(columns)] = self._rows[here, columns]
        self._rows[here, len(columns) :] = np.nan
        self.columns = len(columns)

    def widen(self, columns: int) -> None:
        """Have so many columns from now on, fewer or more: NaN in rows that had fewer."""
        width = self._rows.shape[1]
        if self.columns <= columns <= width:
            self.columns = columns
            return
        growing = self.columns and columns > self.columns
        self.columns = columns
        if not len(self._rows):
            return
        wider = -(-max(columns, int(WIDER * width)) // COLUMNS) * COLUMNS if growing else columns
        index, rows = self.index, self._rows[self._start : self._stop, : min(width, columns)]
        self._rows = np.empty((0, wider))  # most_rows is of the new width
        self._take_memory(len(index), len(index), index, rows)

    def append(self, index: np.ndarray, rows: np.ndarray, columns: slice | list[int]) -> None:
        """Put rows (n, k) of frames behind those that are held, NaN in all but `columns`; the oldest go."""
        rows, index = rows[-self.most_rows :], index[-self.most_rows :]
        self._make_room(len(rows))
        at = slice(self._stop, self._stop + len(rows))
        self._rows[at] = np.nan
        self._rows[at, : self.columns][:, columns] = rows
        self._index[at] = index
        self._stop += len(rows)
        self._start = max(self._start, self._stop - self.most_rows)

    def insert(self, first: int, index: np.ndarray, rows: np.ndarray, columns: slice | list[int]) -> None:
        """Put rows before the `first`-th of those held; as many of the oldest go as have no room beside them."""
        if not len(self):
            self.append(index, rows, columns)
            return
        dropped = max(0, len(self) + len(index) - self.most_rows)
        self._start, first = self._start + dropped, first - dropped
        if first or len(index) > self._start:  # the first time, and in a hole; else there is room in front
            self._open(first, len(index))
        else:
            self._start -= len(index)
        at = slice(self._start + first, self._start + first + len(index))
        self._rows[at] = np.nan
        self._rows[at, : self.columns][:, columns] = rows
        self._index[at] = index

    def _make_room(self, count: int) -> None:
        """Rows move to the front now and then, so that what is drawn is one piece of memory."""
        if self._stop + count <= len(self._rows):
            return
        kept = min(len(self), max(0, self.most_rows - count))
        oldest, most = self._stop - kept, self.most_rows
        needed = min(kept + count, most)
        if len(self._rows) < self._length(needed):
            self._take_memory(kept, needed, self._index[oldest : self._stop], self._rows[oldest : self._stop])
            return
        for at in range(0, kept, oldest):  # in place, by pieces that do not overlap
            piece = slice(oldest + at, min(oldest + at + oldest, self._stop))
            self._rows[at : at + piece.stop - piece.start] = self._rows[piece]
            self._index[at : at + piece.stop - piece.start] = self._index[piece]
        self._start, self._stop = 0, kept

    def _open(self, first: int, count: int) -> None:
        """Make room for `count` rows before the `first`-th of those held."""
        index, rows, length = self.index, self._rows[self._start : self._stop], len(self) + count
        self._take_memory(0, length, index[:0], rows[:0])
        # What is free is in front: those of before come page by page.
        self._stop = max(length, int(len(self._rows) / (1 + SPARE)))
        self._start = at = self._stop - length
        for new, old in ((self._index, index), (self._rows, rows)):
            new[at : at + first] = old[:first]
            new[at + first + count : self._stop] = old[first:]

    def _length(self, needed: int) -> int:
        """For how many rows memory is taken where so many are needed."""
        most = self.most_rows
        held = min(most, FIRST_ROWS)
        while held < needed:
            held = min(most, 2 * held)
        return held + max(1, int(SPARE * held))

    def _take_memory(self, kept: int, needed: int, index: np.ndarray, rows: np.ndarray) -> None:
        """Take memory for `needed` rows and put the newest `kept` of rows (n, k) in front."""
        width, kept = max(self.columns, self._rows.shape[1]), min(kept, self.most_rows)
        length = self._length(min(needed, self.most_rows))
        self._rows, self._index = np.full((length, width), np.nan), np.full(length, -1, np.int64)
        self._rows[:kept, : rows.shape[1]] = rows[len(rows) - kept :]
        self._index[:kept] = index[len(index) - kept :]
        self._start, self._stop = 0, kept
