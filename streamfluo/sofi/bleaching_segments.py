"""Cumulants averaged over bleaching segments: runs of frames of about constant mean light, weighted by frames.

The frame index is divided into windows of a fixed length. What a changing mean light adds to the cumulants is measured
by the light that fluctuates: a change of the total signal over a range q, spread over P pixels, adds q² / 12 P to the
sum of the covariances of neighbours. A window's level is its total signal in steps of the q that adds `fraction`² of
its own covariances, and that step, in powers of four; a segment is a run of windows of one level. An offset, or a
background that stays, moves where levels begin, not their steps. A level does not depend on earlier frames, so parts
merge exactly: a part that does not begin with frame 0 keeps its first window and first segment apart, as an earlier
part may have their beginning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..core.card import Card
from ..core.errors import StateError
from ..core.state import State, require_array, require_int
from .card_segment import CardSegmentSums
from .segment_sums import Layout, SegmentSums

Level = tuple[int, int]  # log4 of the step [ADU], total signal in steps
NO_LEVEL = (0, 0)
# Correlation of k4 with the emitters, 4000 frames, light that falls by 20 to 40 % over a background, six movies: .73 to
# .96 (k2 .998) in 16 segments of 256 frames, .93 to .97 after `debleach`, .95 to .97 without a fall.
SHORT_FRAMES, FEW_SEGMENTS, SENSITIVE_ORDER = 1000, 4, 4
LEAST_STEP = 1e-9  # of the total signal: where nothing blinks every change of the light is a step


@dataclass
class Piece:
    """Frames of one level: their index range and sums; of a window its frames' total signals too."""

    start: int
    stop: int
    sums: SegmentSums
    totals: np.ndarray
    level: Level = NO_LEVEL
    window: int = -1  # of a first window that may have begun earlier; -1: complete windows

    def join(self, later: Piece) -> None:
        """Append the next piece of the same level."""
        self.stop = later.stop
        self.sums.join(later.sums)
        self.totals = np.concatenate([self.totals, later.totals])

    def copy(self) -> Piece:
        """Return an independent copy."""
        return Piece(self.start, self.stop, self.sums.copy(), self.totals.copy(), self.level, self.window)


class BleachingSegments:
    """The pieces at both ends as sums, those between as frame-weighted cumulants and moments.

    Memory at order 4 with cross = 1: 560 bytes a pixel for the last segment and as many for the open window, 248 for
    the segments before; with them the sums over all frames of products are not kept (464).
    """

    def __init__(self, layout: Layout, fraction: float, card: Card | None = None) -> None:
        """`card`: frames of the open window are summed there."""
        self._layout, self._fraction = layout, fraction
        self._window = None if card is None else CardSegmentSums(layout, card)
        self._window_frames = layout.window_frames
        self._pieces: list[Piece] = []  # the first window if incomplete, the first segment, the last one
        self._open: Piece | None = None
        self._closed_n = 0
        crossed = layout.crossed
        pixels, kept = math.prod(layout.spec.shape), len(crossed.kept) + 1 if crossed is not None else 0
        # sums of cumulants times frames, replaced, never changed: copies share them
        self._closed = np.zeros((2, layout.order - 1, *layout.spec.shape))
        self._closed_cross = np.zeros((kept, pixels))
        self._bounds: list[tuple[int, int]] = []  # of the closed segments
        self._joinable = True  # the next piece follows the last one
        self._first = -1  # index of the first frame

    def add(self, cell: np.ndarray, index: int, totals: np.ndarray, pivot: np.ndarray) -> None:
        """Add a cell's frames (n, y, x) from `index` on, with total signals (n,) [ADU]; new sums are about `pivot`."""
        window = index // self._window_frames
        if self._open is not None and self._open.start // self._window_frames != window:
            self._close_window()
        if self._open is None:
            self._open = Piece(index, index, self._begun(index, pivot), np.empty(0))
        elif self._window is not None and self._open.sums is not self._window:
            self._window.take(self._open.sums)
            self._open.sums = self._window
        if self._first < 0:
            self._first = index
        self._open.sums.add(cell, index)
        self._open.stop = index + len(cell)
        self._open.totals = np.concatenate([self._open.totals, totals])

    def compile(self, frames: np.ndarray) -> None:
        """Compile the kernels for frames (n, y, x) of this kind."""
        sums = SegmentSums(self._layout, 0)
        if self._window is None:
            sums.add(frames, 0)
        sums.power.read(2, True, np.empty((0, *sums.power.sums.shape[1::2])), 1)

    def _begun(self, index: int, pivot: np.ndarray) -> SegmentSums:
        """Return sums for the frames from an index on."""
        if self._window is None:
            return SegmentSums(self._layout, index, pivot)
        self._window.begin(index, pivot)
        return self._window

    def move_pivot(self, pivot: np.ndarray) -> None:
        """Re-base the sums on another pivot (tiles, 1024)."""
        for piece in (*self._pieces, *([self._open] if self._open is not None else [])):
            piece.sums.move_pivot(pivot)

    def averages(self) -> np.ndarray:
        """Return m_n and k_n (2, order − 1, y, x) from order 2 on, averaged over segments, weighted by frames."""
        return self._average(self._closed, [p.sums.moments_and_cumulants() for p in self._pieces])

    def crossed_averages(self) -> np.ndarray:
        """Return the cumulants of the kept products and ⟨δI δT⟩ (kept + 1, p), averaged alike."""
        return self._average(self._closed_cross, [p.sums.crossed_cumulants() for p in self._pieces])

    def _average(self, closed: np.ndarray, found: list[np.ndarray]) -> np.ndarray:
        counts = [p.sums.n for p in self._pieces]
        total = closed + sum(n * values for n, values in zip(counts, found, strict=True))
        return np.asarray(total / ((self._closed_n + sum(counts)) or np.nan))

    def doubt(self) -> str:
        """Say where segments are too short for the highest order; "" where they are not."""
        count = len(self._bounds) + len(self._pieces)
        frames = (self._closed_n + sum(p.sums.n for p in self._pieces)) / max(count, 1)
        order = self._layout.order
        if order < SENSITIVE_ORDER or count < FEW_SEGMENTS or frames > SHORT_FRAMES:
            return ""
        return (
            f"order {order} is uncertain: the light changes, and its {count} bleaching segments of some {frames:.0f} "
            "frames hide slow blinking; use order 2, or debleach before sofi instead of bleach_fraction"
        )

    def bounds(self) -> np.ndarray:
        """Return the segments as (first index, one past the last) (segments, 2)."""
        found = sorted([*self._bounds, *((p.start, p.stop) for p in self._pieces)])
        return np.array(found, np.int64).reshape(-1, 2)

    def finished(self) -> BleachingSegments:
        """Return a copy to be read, with the open window closed and the first one joined to its segment.

        An open window's few frames are too uncertain for a level of their own: they join the last segment unless their
        light is more than half a step off.
        """
        done = self.copy()
        last = done._pieces[-1] if done._pieces else None
        if done._open is not None and last is not None and last.window < 0 and done._joinable:
            steps = float(np.median(done._open.totals)) / 4.0 ** last.level[0] - last.level[1]
            if done._open.stop % self._window_frames and -0.5 <= steps <= 1.5:
                last.join(done._open)
                done._open = None
        done._close_window()
        if len(done._pieces) > 1 and done._pieces[0].level == done._pieces[1].level and done._pieces[0].window >= 0:
            first = done._pieces.pop(0)
            first.join(done._pieces[0])
            done._pieces[0] = first
        return done

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
        if other._first == 0:
            self._absorb_closed(other)
        for k, piece in enumerate(pieces):
            self._append(piece)
            if k == 0 and other._first != 0:
                self._absorb_closed(other)
        self._open = other._open.copy()

    def _absorb_closed(self, other: BleachingSegments) -> None:
        if other._closed_n:
            self._closed = self._closed + other._closed
            self._closed_cross = self._closed_cross + other._closed_cross
            self._closed_n += other._closed_n
            self._bounds += other._bounds
            self._joinable = False

    def copy(self) -> BleachingSegments:
        """Return an independent copy."""
        new = object.__new__(BleachingSegments)
        new.__dict__.update(self.__dict__, _bounds=list(self._bounds))
        new._pieces = [piece.copy() for piece in self._pieces]
        new._open = self._open.copy() if self._open is not None else None
        if self._window is not None:
            of_open = new._open.sums if new._open is not None else None
            new._window = of_open if isinstance(of_open, CardSegmentSums) else self._window.copy()
        return new

    def state(self) -> State:
        """Return state entries."""
        pieces = [*self._pieces, *([self._open] if self._open is not None else [])]
        rows = [(p.start, p.stop, *p.level, p.window) for p in pieces]
        entries: State = {
            "segments_open": int(self._open is not None),
            "segments_joinable": int(self._joinable),
            "segments_first": self._first,
            "segments_closed_n": self._closed_n,
            "segments_closed": self._closed.copy(),
            "segments_closed_cross": self._closed_cross.copy(),
            "segments_bounds": np.array(self._bounds, np.int64).reshape(-1, 2),
            "segments_pieces": np.array(rows, np.int64).reshape(-1, 5),
        }
        for k, piece in enumerate(pieces):
            entries |= {f"piece{k}_totals": piece.totals.copy(), **piece.sums.state(f"piece{k}")}
        return entries

    def restore(self, state: State) -> None:
        """Restore the entries of `state`. Raises StateError."""
        self._closed = require_array(state, "segments_closed", self._closed, "sofi")
        self._closed_cross = require_array(state, "segments_closed_cross", self._closed_cross, "sofi")
        self._first = require_int(state, "segments_first", "sofi")
        self._closed_n = require_int(state, "segments_closed_n", "sofi")
        self._joinable = bool(require_int(state, "segments_joinable", "sofi"))
        bounds, rows = state.get("segments_bounds"), state.get("segments_pieces")
        if not (isinstance(bounds, np.ndarray) and isinstance(rows, np.ndarray) and rows.shape[1:] == (5,)):
            raise StateError("sofi: state 'segments_bounds' and 'segments_pieces' must be arrays (n, 2) and (n, 5)")
        self._bounds = [(int(a), int(b)) for a, b in bounds]
        self._pieces = []
        for k, (start, stop, step, level, window) in enumerate(rows.tolist()):
            sums, totals = SegmentSums(self._layout, start), state.get(f"piece{k}_totals")
            sums.restore(state, f"piece{k}")
            if not isinstance(totals, np.ndarray) or not np.isfinite(totals).all():
                raise StateError(f"sofi: state 'piece{k}_totals' must be an array of finite numbers")
            self._pieces.append(Piece(start, stop, sums, totals.copy(), (step, level), window))
        self._open = self._pieces.pop() if require_int(state, "segments_open", "sofi") else None

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
        if self._window is not None:  # its memory is for the next one
            of_card, piece.sums = piece.sums, SegmentSums(self._layout, piece.start)
            piece.sums.take(of_card)
        piece.level = self._level(piece)
        first = not self._pieces and not self._closed_n
        if first and piece.start % self._window_frames:
            piece.window = piece.start // self._window_frames
        else:
            piece.totals, piece.window = piece.totals[:0], -1
        self._append(piece)

    def _level(self, piece: Piece) -> Level:
        """Return a window's level: its step [log4 ADU], and the total signal in steps."""
        signal, light = float(np.median(piece.totals)), piece.sums.light()
        largest = self._fraction * math.sqrt(12 * max(light.fluctuating, 0.0) * light.spread_px)
        if not math.isfinite(signal) or not math.isfinite(largest):
            return NO_LEVEL
        step = math.floor(math.log2(max(largest, LEAST_STEP * abs(signal), 1e-9)) / 2)
        return step, math.floor(signal / 4.0**step)

    def _append(self, piece: Piece) -> None:
        """Append a piece, joined to the last where their levels are equal; close the pieces between the ends."""
        last = self._pieces[-1] if self._pieces else None
        if last is not None and last.level == piece.level and last.window < 0 and self._joinable:
            last.join(piece)
            return
        self._joinable = True
        self._pieces.append(piece)
        begins = self._first == 0  # no earlier part can have the first segment's beginning
        ends = (1 if begins else 2) + (self._pieces[0].window >= 0)
        if len(self._pieces) > ends:
            closed = self._pieces.pop(-2)
            self._closed_n += closed.sums.n
            self._bounds.append((closed.start, closed.stop))
            self._closed = self._closed + closed.sums.n * closed.sums.moments_and_cumulants()
            if len(self._closed_cross):
                self._closed_cross = self._closed_cross + closed.sums.n * closed.sums.crossed_cumulants()
