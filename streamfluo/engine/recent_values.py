"""The values of the last minutes of a run, kept for who comes late: so many frames, in so many bytes.

What is older is read from the session that is being written, on the thread of who asks.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..core import wire
from ..core.errors import SourceError
from ..core.operator import Gives
from ..core.step_values import IDS, StepValues, sized
from .past_message import follow, past_message, rows_message
from .recent_looks import RecentLooks

MAX_FRAMES = 30_000  # of a step: as many as a viewer keeps
MAX_BYTES = 128 << 20  # of all steps: ten minutes of 400 cells at 30 Hz
TABLES_BYTES = 1 << 20  # of the newest rows of a step's tables
PIECE_FRAMES, PIECE_BYTES = 64, 256 << 10  # what is kept as one: an array costs 200 bytes beside its elements
PIECE_COST = 500  # bytes of its own
MAX_WAITING = 1000  # that nobody settles, as where a disk holds up who does


class RecentValues:
    """Keeps what steps give per frame, of one axis beside time at most, and the newest rows of their tables.

    What is oldest is let go first.
    `gives` says what there is by step, `older` has the values before a frame that are here no more, the newest first.
    `put` takes no time to speak of; who calls `settle` now and then does the rest.
    Each may be called on a thread of its own.
    """

    def __init__(
        self,
        uid: str,
        gives: Mapping[str, Mapping[str, Gives]],
        max_bytes: int = MAX_BYTES,
        older: Callable[[str, int], Iterable[StepValues]] = lambda step, before: (),
    ) -> None:
        self._uid, self._gives, self._max_bytes, self._older = uid, gives, max_bytes, older
        self.looks = RecentLooks(uid, gives)
        self._names = {
            step: {name for name, g in of.items() if g.kind in ("per_frame", "by_id") and len(g.dims) <= 2}
            for step, of in gives.items()
        }
        self._columns = {step: {n for n, g in of.items() if g.kind == "table"} for step, of in gives.items()}
        self._rows: dict[str, deque[StepValues]] = {step: deque() for step in gives}
        self._rows_nbytes = dict.fromkeys(gives, 0)
        self._pieces: dict[str, deque[StepValues]] = {step: deque() for step in gives}
        self._newest: dict[str, list[StepValues]] = {step: [] for step in gives}  # not joined yet
        self._frames = dict.fromkeys(gives, 0)
        self._nbytes = dict.fromkeys(gives, 0)
        self._waiting: deque[StepValues] = deque()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """What all of it takes in memory."""
        return sum(self._nbytes.values())

    def put(self, values: StepValues) -> None:
        """Keep a step's values; those of other steps may have to go for them."""
        names = self._names[values.step]
        arrays = {name: a for name, a in values.arrays.items() if name in names or name == IDS}
        if values.frames and arrays.keys() - {IDS}:
            self._waiting.append(replace(values, arrays=arrays, nbytes=sized(arrays) + PIECE_COST))
        columns = {name: a for name, a in values.arrays.items() if "/" in name and len(a)}
        if columns:
            self._waiting.append(replace(values, frames=0, arrays=columns, nbytes=sized(columns) + PIECE_COST))
        if len(self._waiting) >= MAX_WAITING:
            self.settle()

    def settle(self) -> None:
        """Put away what was put here, and let go what has no room."""
        with self._lock:
            while self._waiting:
                self._add(self._waiting.popleft())
            while self.nbytes > self._max_bytes:
                largest = max(self._nbytes, key=lambda name: self._nbytes[name])
                if not self._pieces[largest]:
                    self._join(largest)
                self._drop(largest)

    def page(self, asked: wire.Past, nbytes: int) -> tuple[wire.Result, Sequence[np.ndarray]]:
        """Return the newest values of frames before one that are here. Raises SourceError for a step that is not."""
        if asked.step not in self._names:
            raise SourceError(f"no step {asked.step[:64]!r} gives values here")
        if (looks := self.looks.answer(asked, nbytes)) is not None:
            return looks
        self.settle()
        if set(asked.names) & self._columns[asked.step]:
            with self._lock:
                rows = list(self._rows[asked.step])
            return rows_message(asked, reversed(rows), nbytes, self._gives[asked.step], self._uid)
        with self._lock:
            pieces = [*self._pieces[asked.step], *self._newest[asked.step]]
        gives = self._gives[asked.step]
        message, parts = past_message(asked, reversed(pieces), nbytes, gives, self._uid)
        if message.count or not set(asked.names or gives) & self._names[asked.step]:
            return message, parts
        kept = self._names[asked.step] | {IDS}
        older = (
            replace(values, arrays={name: a for name, a in values.arrays.items() if name in kept})
            for values in self._older(asked.step, asked.before)
        )
        return past_message(asked, older, nbytes, gives, self._uid)

    def _add(self, values: StepValues) -> None:
        step = values.step
        if not values.frames:
            self._add_rows(values)
            return
        if self._newest[step] and not _joins(self._newest[step][-1], values):
            self._join(step)
        newest = self._newest[step]
        newest.append(values)
        self._frames[step] += values.frames
        self._nbytes[step] += values.nbytes
        if sum(v.frames for v in newest) >= PIECE_FRAMES or sum(v.nbytes for v in newest) >= PIECE_BYTES:
            self._join(step)
        while self._pieces[step] and self._frames[step] - self._pieces[step][0].frames >= MAX_FRAMES:
            self._drop(step)

    def _add_rows(self, values: StepValues) -> None:
        rows = self._rows[values.step]
        rows.append(values)
        self._rows_nbytes[values.step] += values.nbytes
        while self._rows_nbytes[values.step] > TABLES_BYTES:
            self._rows_nbytes[values.step] -= rows.popleft().nbytes

    def _join(self, step: str) -> None:
        newest = self._newest[step]
        self._newest[step] = []
        first = newest[0].arrays
        arrays = {n: a if n == IDS else np.concatenate([v.arrays[n] for v in newest]) for n, a in first.items()}
        frames = sum(v.frames for v in newest)
        piece = replace(newest[0], frames=frames, arrays=arrays, nbytes=sized(arrays) + PIECE_COST)
        self._pieces[step].append(piece)
        self._nbytes[step] += piece.nbytes - sum(v.nbytes for v in newest)

    def _drop(self, step: str) -> None:
        piece = self._pieces[step].popleft()
        self._frames[step] -= piece.frames
        self._nbytes[step] -= piece.nbytes


def _joins(first: StepValues, second: StepValues) -> bool:
    """Whether values of the same ids follow one another."""
    same_ids = IDS not in first.arrays or np.array_equal(first.arrays[IDS], second.arrays.get(IDS, ()))
    return follow(first, second) and same_ids
