"""Values of the past as an answer: pieces that follow one another put together, newest first, as far as they fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import msgspec
import numpy as np

from ..core import wire
from ..core.operator import Gives
from ..core.results import MAX_ARRAYS, encode_arrays
from ..core.step_values import IDS, StepValues, sized
from ..session.values import values_message

PAGE_BYTES = 1 << 20  # of one answer
PAGE_FRAMES = 8192


def past_message(
    asked: wire.Past, newest_first: Iterable[StepValues], nbytes: int, gives: Mapping[str, Gives], uid: str
) -> tuple[wire.Result, Sequence[np.ndarray]]:
    """Return the answer to a question from pieces of a step's values, the newest one first: a run of frames without a
    hole, of `nbytes` and PAGE_BYTES at most; of no frames where there is nothing before."""
    page = _Page(asked, gives, min(nbytes, PAGE_BYTES))
    for piece in newest_first:
        if not page.take(piece):
            break
    if not page.pieces:
        return wire.Result(series_uid=uid, step=asked.step, index=0, count=0, arrays=(), before=asked.before), ()
    message, parts = values_message(uid, page.joined(), list(gives.values()))
    return msgspec.structs.replace(message, before=asked.before), parts


def rows_message(
    asked: wire.Past, newest_first: Iterable[StepValues], nbytes: int, gives: Mapping[str, Gives], uid: str
) -> tuple[wire.Result, Sequence[np.ndarray]]:
    """Return the newest rows of the tables that are asked for, from updates of them, the newest one first."""
    most, found = min(nbytes, PAGE_BYTES), dict[str, list[np.ndarray]]()
    for update in newest_first:
        for table in asked.names:
            columns = {name: a for name, a in update.arrays.items() if name.startswith(f"{table}/")}
            size = sum(a.nbytes for a in columns.values())
            if size > most or len(found.keys() | columns.keys()) > MAX_ARRAYS:
                most = 0
                break
            most -= size
            for name, a in columns.items():
                found.setdefault(name, []).append(a)
    arrays = {name: np.concatenate(parts[::-1]) for name, parts in found.items()}
    headers, parts = encode_arrays(arrays, list(gives.values()))
    message = wire.Result(series_uid=uid, step=asked.step, index=0, count=0, arrays=tuple(headers), before=asked.before)
    return message, parts


def follow(first: StepValues, second: StepValues) -> bool:
    """Whether values of the same names follow one another."""
    return first.arrays.keys() == second.arrays.keys() and first.index + first.frames == second.index


class _Page:
    """Pieces that are told in one answer, the newest one first."""

    def __init__(self, asked: wire.Past, gives: Mapping[str, Gives], nbytes: int) -> None:
        self._asked, self._nbytes = asked, nbytes
        self._by_id = {name for name, given in gives.items() if given.kind == "by_id" and name != IDS}
        self._places: dict[int, int] = {}  # id → column
        self._frames = 0
        self.pieces: list[StepValues] = []

    def take(self, piece: StepValues) -> bool:
        """Put a piece in front; False where the page ends."""
        if piece.index >= self._asked.before:
            return True
        piece = self._asked_of(piece)
        if not piece.arrays.keys() - {IDS} or (self.pieces and not self._fits_before(piece)):
            return False
        places = self._places
        if not self.pieces or not _same_ids(piece, self.pieces[-1]):
            places = dict(places)
            for name in piece.arrays.get(IDS, np.empty(0)).tolist():
                places.setdefault(name, len(places))
        rows = min(PAGE_FRAMES, (self._nbytes - 8 * len(places)) // max(1, self._row_nbytes(piece, len(places))))
        frames = min(piece.frames, rows - self._frames)
        if frames > 0:
            self._places = places
            self.pieces.append(_cut(piece, piece.frames - frames, piece.frames))
            self._frames += frames
        return frames == piece.frames

    def joined(self) -> StepValues:
        """Return all of it as one, with a column for everyone: NaN where one was not there."""
        pieces = self.pieces[::-1]
        arrays: dict[str, np.ndarray] = {}
        for name, like in pieces[0].arrays.items():
            if name == IDS:
                arrays[IDS] = np.array(list(self._places), like.dtype)
            elif name in self._by_id:
                arrays[name] = self._side_by_side(name, pieces)
            else:
                arrays[name] = np.concatenate([values.arrays[name] for values in pieces])
        return replace(pieces[0], frames=self._frames, arrays=arrays, nbytes=sized(arrays))

    def _asked_of(self, piece: StepValues) -> StepValues:
        names = set(self._asked.names or piece.arrays.keys())
        names = names | {IDS} if names & self._by_id else names - {IDS}
        kept = replace(piece, arrays={name: a for name, a in piece.arrays.items() if name in names})
        return _cut(kept, 0, min(kept.frames, self._asked.before - kept.index))

    def _fits_before(self, piece: StepValues) -> bool:
        """Whether it follows, and values of other ids can stand beside those that are here."""
        behind = self.pieces[-1]
        floats = all(a.dtype.kind == "f" for name, a in piece.arrays.items() if name in self._by_id)
        return follow(piece, behind) and (floats or _same_ids(piece, behind))

    def _row_nbytes(self, piece: StepValues, columns: int) -> int:
        """The bytes of one frame, once there is a column for everyone."""
        each = {name: a for name, a in piece.arrays.items() if name != IDS}
        return sum(a.itemsize * (columns if name in self._by_id else a[:1].size) for name, a in each.items())

    def _side_by_side(self, name: str, pieces: Sequence[StepValues]) -> np.ndarray:
        like = pieces[0].arrays[name]
        wide = np.full((self._frames, len(self._places)), np.nan if like.dtype.kind == "f" else 0, like.dtype)
        at, columns, before = 0, list[int](), None
        for values in pieces:
            if before is None or not _same_ids(values, before):
                columns = [self._places[one] for one in values.arrays[IDS].tolist()]
            before = values
            wide[at : at + values.frames, columns] = values.arrays[name]
            at += values.frames
        return wide


def _same_ids(first: StepValues, second: StepValues) -> bool:
    return np.array_equal(first.arrays.get(IDS, ()), second.arrays.get(IDS, ()))


def _cut(values: StepValues, start: int, stop: int) -> StepValues:
    arrays = {n: a if n == IDS else a[start:stop] for n, a in values.arrays.items()}
    return replace(values, index=values.index + start, frames=stop - start, arrays=arrays)
