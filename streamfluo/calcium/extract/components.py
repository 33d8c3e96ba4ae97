"""The components: footprints in boxes, their inner products, sufficient statistics and deconvolution state."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from ...core.errors import StateError
from ...core.state import State
from ..expected_rate import SHAPES
from ..kernels.footprint_lists import change_footprint, correct_neighbours, refresh_footprint
from ..kernels.footprint_statistics import component_snr
from ..kernels.rises import RISE_BINS
from .background import Background
from .columns import Columns, Field
from .listed import Listed, Listing

POOLS = 40
UNMEASURED = -2.0  # no correlation
NOT_JUDGED = -1.0  # no probability
ACCEPTED, REJECTED = 1, 2  # verdicts of people; 0: none
BINS = 40
MOTION_SUMS = 10
PAIRS = ("neighbour", "touching", "overlap", "comoment", "shared", "theirs")
When = Literal["live", "late"]  # deconvolution as frames come, and when they leave the window
Packed = tuple[Any, ...]  # the fields of a named tuple of `kernels`, in its order


def fields(box: tuple[int, int], modes: int, window: int, rate_samples: int, neighbours: int = 24) -> dict[str, Field]:
    """Return the fields of a component; their names are state keys."""
    height, width = box
    pixels = height * width
    real, number = np.float64, np.int64
    return {
        # identity; `birth`: frame its trace begins with; `verdict`: of a person; `fit`: spatial correlation
        "id": ((), number), "birth": ((), number), "accepted": ((), np.bool_),
        "seeded": ((), np.bool_), "verdict": ((), np.int8), "fit": ((), real),
        # whitened footprint: box (h, w) at `origin`, dilated box, sparse support, its centre; `resting`: F0 under it
        "origin": ((2,), np.int32), "centre": ((2,), real), "box": (box, np.float32), "halo": (box, np.float32),
        "index": ((pixels,), np.int32), "value": ((pixels,), np.float32), "pixels": ((), np.int32),
        "energy": ((), real), "compactness": ((), real), "at_edge": ((), np.bool_),
        "mode_overlap": ((modes,), real), "row_overlap": ((modes,), real), "resting": ((), real),
        # components whose boxes overlap; `shared`, `theirs`: products and squares of the evidence
        "neighbours": ((), np.int32),
        "neighbour": ((neighbours,), np.int32), "touching": ((neighbours,), np.bool_),
        "overlap": ((neighbours,), real), "comoment": ((neighbours,), real),
        "shared": ((neighbours,), real), "theirs": ((neighbours,), real),
        # regression of the residual: Σ d · residual, Σ d² (and at the last update), d = activity − average
        "gathered": (box, np.float32), "moment": ((), real), "learned": ((), real), "average": ((), real),
        # product with stored frames, of those from number `listed_at` on with the footprint as it is listed
        "product": ((window,), real), "listed_at": ((), number),
        # activity now, summed over the bin, in stored frames; its mean; evidence of bins: recent, Σ r², Σ r⁴, of falls
        "activity": ((), real), "bin_sum": ((), real), "bin_trace": ((), real), "history": ((window,), real),
        "level": ((), real), "recent": ((BINS,), real), "own": ((), real), "peak": ((), real),
        "falls": ((), real),
        # sums of a frame's activity and the tissue's motion, their squares and products
        "motion": ((MOTION_SUMS,), real),
        # deconvolution: decay per sample, state of both passes, values that wait to become final
        "g": ((), real), **_deconvolution("live"), **_deconvolution("late"),
        "late_samples": ((POOLS,), real), "late_slope": ((POOLS,), real),
        "late_raw": ((POOLS,), real), "late_dff": ((POOLS,), real), "late_rate": ((POOLS,), real),
        # light in the structural channel's and the indicator's picture, correlation with the former; chance of a label
        "label": ((3,), real), "structural": ((), real),
        # of being a cell, as it was last judged
        "probability": ((), real),
        # of pieces the id of the whole, -1 of others; share in its activity, own activity by that, own noise σ; whether
        # people took it apart
        "whole": ((), number), "share": ((), real), "ratio": ((), real), "own_noise": ((), real),
        "apart": ((), np.bool_),
        # firing rate: newest samples; unit and look of the rises, from sums over the past of squares and cubes of
        # increments and a histogram
        "rate_samples": ((rate_samples,), real), "rate_seen": ((), real), "rate_sums": ((SHAPES,), real),
        "rises": ((RISE_BINS + 1,), real), "rate_rise": ((), real), "rate_look": ((SHAPES,), real),
    }  # fmt: skip


def _deconvolution(when: When) -> dict[str, Field]:
    """Levels and pools of a trace; of AR(2) windows, `value` holds the spikes and `weight` their tail."""
    one: dict[str, Field] = {name: ((), np.float64) for name in ("previous", "noise", "baseline", "low")}
    many: dict[str, Field] = {name: ((POOLS,), np.float64) for name in ("value", "weight")}
    counts: dict[str, Field] = {"seen": ((), np.int64), "pools": ((), np.int64), "length": ((POOLS,), np.int64)}
    return {f"{when}_{name}": field for name, field in (one | many | counts).items()}


class Components(Columns):
    """One row per component; inner products are recomputed where a footprint changes, which `changes` counts.

    The properties give the arrays at full capacity, packed for kernels; they hold until a row is added.
    """

    def __init__(
        self, shape: tuple[int, int], box: tuple[int, int], modes: int, window: int, offset: float,
        rate_samples: int = 1,
    ) -> None:  # fmt: skip
        super().__init__(fields(box, modes, window, rate_samples))
        self.shape, self.box_shape, self.offset = shape, box, np.float32(offset)
        self.next_id = self.changes = self.frames = 0  # frames so far
        self._listing = Listing()
        self.changed: set[int] = set()  # rows whose footprint was listed anew since the ring looked at them
        self.unsent: set[int] = set()  # the same, since a card was told

    @property
    def footprints(self) -> Packed:
        """The fields of `Footprints`."""
        return self.index, self.value, self.pixels

    @property
    def overlaps(self) -> Packed:
        """The fields of `Overlaps`."""
        return self.energy, self.neighbours, self.neighbour, self.overlap, self.touching

    @property
    def boxes(self) -> Packed:
        """The fields of `Boxes`."""
        return self.origin, self.box, self.halo

    @property
    def measures(self) -> Packed:
        """The fields of `Measures`."""
        return self.centre, self.compactness, self.at_edge, self.resting, self.mode_overlap, self.row_overlap

    @property
    def regression(self) -> Packed:
        """The fields of `Regression`."""
        return self.origin, self.average, self.gathered, self.moment

    @property
    def evidence(self) -> Packed:
        """The fields of `Evidence`."""
        return self.recent, self.own, self.peak, self.shared, self.theirs, self.falls

    def design(self, background: Background) -> Packed:
        """Return the fields of `Design`."""
        return self.footprints, self.overlaps, (self.mode_overlap, self.row_overlap, background.gram)

    def at_rest(self, modes: np.ndarray) -> np.ndarray:
        """Return the fluorescence without activity under each footprint (K, …) [σ], modes at `modes` (M, …)."""
        following: np.ndarray = (self["resting"] + (self["mode_overlap"] @ modes).T / self["energy"]).T
        return following

    def wholes(self) -> np.ndarray:
        """Return for each component (K,) the row of the whole that it is a piece of, -1 of others."""
        return self.listed().wholes

    def listed(self) -> Listed:
        """Return which components are shown, as of now."""
        return self._listing.of(self["id"], self["accepted"], self["verdict"] == REJECTED, self["whole"])

    def levels(self, when: When) -> Packed:
        """Return the fields of `Levels`."""
        if when == "live":
            return self.live_previous, self.live_seen, self.live_noise, self.live_baseline, self.live_low
        return self.late_previous, self.late_seen, self.late_noise, self.late_baseline, self.late_low

    def pools(self, when: When) -> Packed:
        """Return the fields of `Pools`, for AR(1) traces."""
        if when == "live":
            return self.g, self.live_value, self.live_weight, self.live_length, self.live_pools
        return self.g, self.late_value, self.late_weight, self.late_length, self.late_pools

    def windows(self, response: np.ndarray, products: np.ndarray) -> Packed:
        """Return the fields of `Windows`, for AR(2) traces of an impulse response (POOLS,) and its inner products."""
        return response, products, self.late_samples, self.late_value, self.late_weight, self.late_slope

    def corner(self, y: float, x: float) -> tuple[int, int]:
        """Return the origin of a box centred on (y, x) [px], shifted into the frame."""
        (height, width), (rows, columns) = self.box_shape, self.shape
        top = min(max(round(y) - height // 2, 0), rows - height)
        return top, min(max(round(x) - width // 2, 0), columns - width)

    def add(self, corner: tuple[int, int], footprint: np.ndarray, background: Background, birth: int) -> int:
        """Add a component with a whitened footprint (h, w) in the box at `corner`; return its row."""
        k = self.append(
            id=self.next_id, birth=birth, origin=corner, box=footprint, structural=np.nan, label=(0, 0, UNMEASURED),
            probability=NOT_JUDGED, whole=-1, ratio=1.0,
        )  # fmt: skip
        self.next_id += 1
        for other in self.overlapping(corner):
            if other != k:
                self._link(k, other)
        self.refresh(k, background)
        return k

    def overlapping(self, corner: tuple[int, int]) -> list[int]:
        """Return the rows of the components whose boxes overlap a box at `corner`."""
        apart = np.abs(self["origin"] - np.array(corner))
        rows: list[int] = np.flatnonzero((apart < np.array(self.box_shape)).all(1)).tolist()
        return rows

    def drop(self, k: int) -> None:
        """Remove component k; the last row takes its place."""
        self.changes += 1
        self.whole[: self.count][self["whole"] == self.id[k]] = -1
        for n in range(self.neighbours[k]):
            self._unlink(int(self.neighbour[k, n]), k)
        last = self.remove(k)
        self._note_change(k)
        if last != k:
            for n in range(self.neighbours[k]):
                other = int(self.neighbour[k, n])
                row = self.neighbour[other, : self.neighbours[other]]
                row[row == last] = k

    def move(self, k: int, corner: tuple[int, int], footprint: np.ndarray) -> None:
        """Give component k another box, at `corner`, with its footprint (h, w) there, and the neighbours of that box.

        Inner products are those of before until `refresh`.
        """
        self.origin[k], self.box[k] = corner, footprint
        before = self.neighbour[k, : self.neighbours[k]].tolist()
        now = [other for other in self.overlapping(corner) if other != k]
        for other in before:
            if other not in now:
                self._unlink(k, other)
                self._unlink(other, k)
        for other in now:
            if other not in before:
                self._link(k, other)

    def refresh(self, k: int, background: Background) -> None:
        """Recompute the support of footprint k, its F0 and its inner products with components and modes."""
        self.changes += 1
        self._note_change(k)
        self.listed_at[k] = self.frames
        scene = (*background.scene, self.offset)
        refresh_footprint(k, self.boxes, self.footprints, self.overlaps, self.measures, scene)

    def correct_neighbours(self, k: int, change: np.ndarray) -> None:
        """Correct the neighbours' regressions for a `change` (h, w) of footprint k."""
        correct_neighbours(k, change, self.boxes, self.gathered, self.overlaps, self.comoment)

    def change(self, k: int, change: np.ndarray, background: Background) -> None:
        """Add `change` (h, w) to footprint k; subtract its mean activity from the mean image: their sum stays."""
        learned = self.gathered, self.moment, self.level, self.comoment
        change_footprint(k, change, self.boxes, learned, self.overlaps, (background.mean, background.noise))
        background.unsent.add((int(self.origin[k, 0]), int(self.origin[k, 1])))
        self.refresh(k, background)

    def explained_and_snr(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the fraction of each component (K,) that a touching neighbour explains, and the SNR of the rest."""
        explained, snr = np.empty((2, self.count))
        if self.count:  # before any is found, its kernel may not be there yet
            component_snr(self.evidence, self.overlaps, explained, snr)
        return explained, snr

    def restore(self, state: State, prefix: str, where: str) -> None:
        """Restore what `state` returned. Raises StateError, also for indices out of range."""
        neighbour = state.get(f"{prefix}neighbour")
        if isinstance(neighbour, np.ndarray) and neighbour.ndim == 2:
            self.fields = {n: (neighbour.shape[1:] if n in PAIRS else f[0], f[1]) for n, f in self.fields.items()}
        super().restore(state, prefix, where)
        self.changed = set(range(self.count))
        room = self.shape[0] * self.shape[1]
        corners = self["origin"] + np.array(self.box_shape)
        sound = (
            _within(self["neighbour"], 0, max(1, self.count))
            and _within(self["neighbours"], 0, self.neighbour.shape[1] + 1) and _within(self["index"], 0, room)
            and _within(self["pixels"], 0, self.index.shape[1] + 1) and _within(self["origin"], 0, max(self.shape))
            and (corners <= np.array(self.shape)).all()
            and all(_within(self[n], 0, POOLS + 1) for n in ("live_pools", "late_pools"))
        )  # fmt: skip
        if not sound:
            raise StateError(f"{where}: indices of the state's components are out of range; the state is damaged")

    def _note_change(self, k: int) -> None:
        self.changed.add(k)
        self.unsent.add(k)

    def _link(self, a: int, b: int) -> None:
        width = self.neighbour.shape[1]
        if max(self.neighbours[a], self.neighbours[b]) == width:
            for name in PAIRS:
                self.widen(name, 2 * width)
        for one, other in ((a, b), (b, a)):
            n = self.neighbours[one]
            for name in PAIRS:
                getattr(self, name)[one, n] = 0
            self.neighbour[one, n] = other
            self.neighbours[one] += 1

    def _unlink(self, one: int, other: int) -> None:
        slot, last = self._slot(one, other), self.neighbours[one] - 1
        for name in PAIRS:
            row = getattr(self, name)[one]
            row[slot:last] = row[slot + 1 : last + 1]
            row[last] = 0
        self.neighbours[one] = last

    def _slot(self, one: int, other: int) -> int:
        return int(np.flatnonzero(self.neighbour[one, : self.neighbours[one]] == other)[0])


def _within(array: np.ndarray, low: int, stop: int) -> bool:
    return bool(((array >= low) & (array < stop)).all())
