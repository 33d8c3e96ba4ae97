"""Cumulants averaged over bleaching segments: runs of frames of about constant total signal, weighted by frames.

The frame index is divided into windows of a fixed length. A window's level is the term of a geometric series, each a
fixed fraction below the one before, that the median of its frames' total signal reaches; a segment is a run of windows
of one level. A level does not depend on earlier frames, so parts merge exactly: a part keeps its first window and first
segment apart, as an earlier part may have their beginning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..core.errors import StateError
from ..core.spec import Spec
from ..core.state import State, require_array, require_int
from .sums import PowerSums


@dataclass
class Piece:
    """Frames of one level: their index range and sums; of a window its frames' total signals too."""

    start: int
    stop: int
    sums: PowerSums
    totals: np.ndarray
    level: int = 0
    window: int = -1  # of a first window that may have begun earlier; -1: complete windows

    def join(self, later: Piece) -> None:
        """Append the next piece of the same level."""
        self.stop = later.stop
        self.sums.absorb(later.sums)
        self.totals = np.concatenate([self.totals, later.totals])

    def copy(self) -> Piece:
        """Return an independent copy."""
        return Piece(self.start, self.stop, self.sums.copy(), self.totals.copy(), self.level, self.window)


class BleachingSegments:
    """The pieces at both ends as sums, those between as frame-weighted cumulants and moments."""

    def __init__(self, spec: Spec, order: int, fraction: float, window_frames: int, offset_adu: float) -> None:
        self._spec, self._order, self._window_frames = spec, order, window_frames
        self._log_step = math.log(1 - fraction)
        self._offset = offset_adu
        self._pieces: list[Piece] = []  # the first window if incomplete, the first segment, the last one
        self._open: Piece | None = None
        self._closed_n = 0
        self._closed = np.zeros((2, order - 1, *spec.shape))  # Σ n·m_j, Σ n·k_j; replaced, as copies share it
        self._bounds: list[tuple[int, int]] = []  # of the closed segments
        self._joinable = True  # the next piece follows the last one

    def add(self, cell: np.ndarray, index: int, totals: np.ndarray) -> None:
        """Add a cell's frames (n, y, x) from `index` on, with their total signals (n,) [ADU]."""
        window = index // self._window_frames
        if self._open is not None and self._open.start // self._window_frames != window:
            self._close_window()
        if self._open is None:
            self._open = Piece(index, index, PowerSums(self._spec, self._order), np.empty(0))
        self._open.sums.add(cell)
        self._open.stop = index + len(cell)
        self._open.totals = np.concatenate([self._open.totals, totals])

    def read(self, order: int, cumulant: bool) -> np.ndarray:
        """Return the frame-weighted average of a central moment or a cumulant over segments (y, x)."""
        done = self._finished()
        total, n = done._closed[int(cumulant), order - 2].copy(), done._closed_n
        for piece in done._pieces:
            total += piece.sums.n * _read(piece.sums, order, cumulant)
            n += piece.sums.n
        return total / (n or np.nan)

    def bounds(self) -> np.ndarray:
        """Return the segments as (first index, one past the last) (segments, 2)."""
        done = self._finished()
        return np.array(sorted([*done._bounds, *((p.start, p.stop) for p in done._pieces)]), np.int64).reshape(-1, 2)

    def absorb(self, other: BleachingSegments) -> None:
        """Add the later part, which stays unchanged."""
        if other._open is None:
            return
        pieces = [piece.copy() for piece in other._pieces]
        if not pieces or pieces[0].window >= 0:
            self._join_first(pieces.pop(0) if pieces else other._open.copy())
            if not other._pieces:
                return
        self._close_window()
        for k, piece in enumerate(pieces):
            self._append(piece)
            if k == 0 and other._closed_n:
                self._closed = self._closed + other._closed
                self._closed_n += other._closed_n
                self._bounds += other._bounds
                self._joinable = False
        self._open = other._open.copy()

    def copy(self) -> BleachingSegments:
        """Return an independent copy."""
        new = object.__new__(BleachingSegments)
        new.__dict__.update(self.__dict__, _bounds=list(self._bounds))
        new._pieces = [piece.copy() for piece in self._pieces]
        new._open = self._open.copy() if self._open is not None else None
        return new

    def state(self) -> State:
        """Return state entries."""
        pieces = [*self._pieces, *([self._open] if self._open is not None else [])]
        rows = [(p.start, p.stop, p.level, p.window) for p in pieces]
        entries: State = {
            "segments_open": int(self._open is not None),
            "segments_joinable": int(self._joinable),
            "segments_closed_n": self._closed_n,
            "segments_closed": self._closed.copy(),
            "segments_bounds": np.array(self._bounds, np.int64).reshape(-1, 2),
            "segments_pieces": np.array(rows, np.int64).reshape(-1, 4),
        }
        for k, piece in enumerate(pieces):
            entries |= {f"piece{k}_totals": piece.totals.copy(), **piece.sums.state(f"piece{k}")}
        return entries

    def restore(self, state: State) -> None:
        """Restore the entries of `state`. Raises StateError."""
        self._closed = require_array(state, "segments_closed", self._closed, "sofi")
        self._closed_n = require_int(state, "segments_closed_n", "sofi")
        self._joinable = bool(require_int(state, "segments_joinable", "sofi"))
        bounds, rows = state.get("segments_bounds"), state.get("segments_pieces")
        if not (isinstance(bounds, np.ndarray) and isinstance(rows, np.ndarray) and rows.shape[1:] == (4,)):
            raise StateError("sofi: state 'segments_bounds' and 'segments_pieces' must be arrays (n, 2) and (n, 4)")
        self._bounds = [(int(a), int(b)) for a, b in bounds]
        self._pieces = []
        for k, (start, stop, level, window) in enumerate(rows.tolist()):
            sums, totals = PowerSums(self._spec, self._order), state.get(f"piece{k}_totals")
            sums.restore(state, f"piece{k}")
            if not isinstance(totals, np.ndarray) or not np.isfinite(totals).all():
                raise StateError(f"sofi: state 'piece{k}_totals' must be an array of finite numbers")
            self._pieces.append(Piece(start, stop, sums, totals.copy(), level, window))
        self._open = self._pieces.pop() if require_int(state, "segments_open", "sofi") else None

    def _finished(self) -> BleachingSegments:
        """Return a copy with the open window closed and the first one joined to its segment."""
        done = self.copy()
        done._close_window()
        if len(done._pieces) > 1 and done._pieces[0].level == done._pieces[1].level:
            first = done._pieces.pop(0)
            first.join(done._pieces[0])
            done._pieces[0] = first
        return done

    def _join_first(self, first: Piece) -> None:
        """Add the first window of the later part, which may be the rest of the open one."""
        if self._open is not None and self._open.start // self._window_frames != first.start // self._window_frames:
            self._close_window()
        if self._open is None:
            self._open = first
        else:
            self._open.join(first)

    def _close_window(self) -> None:
        if self._open is None:
            return
        piece, self._open = self._open, None
        signal = float(np.median(piece.totals)) - self._offset
        piece.level = math.floor(math.log(max(signal, 1.0)) / self._log_step)
        first = not self._pieces and not self._closed_n
        if first and piece.start % self._window_frames:
            piece.window = piece.start // self._window_frames
        else:
            piece.totals, piece.window = piece.totals[:0], -1
        self._append(piece)

    def _append(self, piece: Piece) -> None:
        """Append a piece, joined to the last where their levels are equal; close the pieces between the ends."""
        last = self._pieces[-1] if self._pieces else None
        if last is not None and last.level == piece.level and last.window < 0 and self._joinable:
            last.join(piece)
            return
        self._joinable = True
        self._pieces.append(piece)
        ends = 2 + (self._pieces[0].window >= 0)
        if len(self._pieces) > ends:
            closed = self._pieces.pop(-2)
            self._closed_n += closed.sums.n
            self._bounds.append((closed.start, closed.stop))
            self._closed = self._closed.copy()
            for order in range(2, self._order + 1):
                for cumulant in (False, True):
                    self._closed[int(cumulant), order - 2] += closed.sums.n * _read(closed.sums, order, cumulant)


def _read(sums: PowerSums, order: int, cumulant: bool) -> np.ndarray:
    return sums.read(order, cumulant, np.empty((0, *sums.sums.shape[1::2])), 0)
