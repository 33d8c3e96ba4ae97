"""The components: footprints in boxes, their inner products, and everything that is kept for each of them."""

from __future__ import annotations

import numpy as np

from ...core.errors import StateError
from ...core.state import State
from ..kernels.demixing import ROWS, inner
from ..kernels.footprint_statistics import add_shifted, list_support, renew_overlaps, standings
from ..kernels.footprints import dilate
from .background import Scene
from .columns import Columns, Field

POOLS = 40
HALO_PX = 3
BINS = 40
PAIRS = ("neighbour", "touching", "overlap", "comoment", "shared", "theirs")


def fields(box: tuple[int, int], modes: int, window: int, neighbours: int = 24) -> dict[str, Field]:
    """What is kept for each component."""
    height, width = box
    pixels = height * width
    real, number = np.float64, np.int64
    return {
        # who it is: `birth` is the frame its trace begins with; `accepted` stays once it was reached
        "id": ((), number), "birth": ((), number), "accepted": ((), np.bool_),
        "seeded": ((), np.bool_), "fit": ((), real),
        # its footprint, whitened: the box (h, w) from `origin` on, the box dilated, and the support as a list
        "origin": ((2,), np.int32), "box": (box, np.float32), "halo": (box, np.float32),
        "index": ((pixels,), np.int32), "value": ((pixels,), np.float32), "pixels": ((), np.int32),
        "energy": ((), real), "mode_overlap": ((modes,), real), "row_overlap": ((modes,), real), "resting": ((), real),
        # those whose boxes overlap its own
        "neighbours": ((), np.int32),
        "neighbour": ((neighbours,), np.int32), "touching": ((neighbours,), np.bool_),
        "overlap": ((neighbours,), real), "comoment": ((neighbours,), real),
        "shared": ((neighbours,), real), "theirs": ((neighbours,), real),
        # what residuals say of its shape: Σ d · residual, Σ d², d = activity − average
        "gathered": (box, np.float32), "moment": ((), real), "learned": ((), real), "average": ((), real),
        # its activity: now, summed over the bin, in the frames kept; its mean; bins that stood out
        "activity": ((), real), "bin_sum": ((), real), "bin_trace": ((), real), "history": ((window,), real),
        "level": ((), real), "recent": ((BINS,), real), "own": ((), real), "peak": ((), real),
        # deconvolution as frames come, and behind the window
        "g": ((), real), **_deconvolution("live"), **_deconvolution("late"),
        "late_raw": ((POOLS,), real), "late_dff": ((POOLS,), real),
    }  # fmt: skip


def _deconvolution(when: str) -> dict[str, Field]:
    """What a trace carries on: its noise, baseline and low percentile, and its pools (calcium.py)."""
    one: dict[str, Field] = {name: ((), np.float64) for name in ("previous", "noise", "baseline", "low")}
    many: dict[str, Field] = {name: ((POOLS,), np.float64) for name in ("value", "weight", "samples")}
    counts: dict[str, Field] = {"seen": ((), np.int64), "pools": ((), np.int64), "length": ((POOLS,), np.int64)}
    return {f"{when}_{name}": field for name, field in (one | many | counts).items()}


class Components(Columns):
    """Footprints and what is kept for each of them; inner products are renewed where a footprint changes."""

    def __init__(self, shape: tuple[int, int], box: tuple[int, int], modes: int, window: int, offset: float) -> None:
        super().__init__(fields(box, modes, window))
        self.shape, self.box_shape, self.offset = shape, box, np.float32(offset)
        self.next_id = 0

    def corner(self, y: float, x: float) -> tuple[int, int]:
        """Where a box round a place begins, so that it lies inside the frame."""
        top, left = (
            int(np.clip(round(at) - size // 2, 0, side - size))
            for at, size, side in zip((y, x), self.box_shape, self.shape, strict=True)
        )
        return top, left

    def add(self, corner: tuple[int, int], footprint: np.ndarray, scene: Scene, birth: int) -> int:
        """Take in a whitened footprint (h, w) whose box begins at `corner`; return its place."""
        place = self.append(id=self.next_id, birth=birth, origin=corner, box=footprint)
        self.next_id += 1
        for other in self.near(corner):
            if other != place:
                self._link(place, other)
        self.renew(place, scene)
        return place

    def near(self, corner: tuple[int, int]) -> list[int]:
        """Places of the components whose boxes overlap one that begins at `corner`."""
        apart = np.abs(self["origin"] - np.array(corner))
        places: list[int] = np.flatnonzero((apart < np.array(self.box_shape)).all(1)).tolist()
        return places

    def drop(self, place: int) -> None:
        """Take a component out."""
        for n in range(self.neighbours[place]):
            self._unlink(int(self.neighbour[place, n]), place)
        last = self.remove(place)
        if last != place:
            for n in range(self.neighbours[place]):
                other = int(self.neighbour[place, n])
                row = self.neighbour[other, : self.neighbours[other]]
                row[row == last] = place

    def renew(self, place: int, scene: Scene) -> None:
        """List the support of a footprint that changed, and its inner products with others and with the modes."""
        box = self.box[place]
        height, width = self.box_shape
        top, left = self.origin[place]
        self.pixels[place] = list_support(box, top, left, self.shape[1], self.index[place], self.value[place])
        self.energy[place] = inner(box, box, 0, 1)
        halo = np.zeros(self.box_shape, bool)
        dilate(box > 0, HALO_PX, halo)
        self.halo[place] = halo
        area = np.s_[top : top + height, left : left + width]
        for m, mode in enumerate(scene.modes):
            self.mode_overlap[place, m] = inner(box, mode[area], 0, 1)
            self.row_overlap[place, m] = inner(box, mode[area], -top % ROWS, ROWS)
        bright = (scene.mean[area] - self.offset) * scene.weight[area]
        self.resting[place] = inner(box, bright, 0, 1) / self.energy[place]
        renew_overlaps(
            place, self.box, self.halo, self.origin, self.neighbour, self.neighbours, self.overlap, self.touching
        )

    def around(self, place: int) -> np.ndarray:
        """Places of the components whose boxes overlap this one's."""
        places: np.ndarray = self.neighbour[place, : self.neighbours[place]]
        return places

    def footprint_changed(self, place: int, change: np.ndarray) -> None:
        """Tell the neighbours' statistics that a footprint changed by `change` (h, w)."""
        for n in range(self.neighbours[place]):
            other = int(self.neighbour[place, n])
            factor = np.float32(-self.comoment[place, n])
            add_shifted(self.gathered[other], self.origin[other], change, self.origin[place], factor)

    def standings(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (which part of each the touching neighbour most like it explains, how far the rest stands out)."""
        explained, snr = np.empty((2, self.count))
        standings(self["own"], self["peak"], self.shared, self.theirs, self.touching, self.neighbours, explained, snr)
        return explained, snr

    def restore(self, state: State, prefix: str, where: str) -> None:
        """Take over what `state` returned. Raises StateError, also for places that do not exist."""
        neighbour = state.get(f"{prefix}neighbour")
        if isinstance(neighbour, np.ndarray) and neighbour.ndim == 2:
            self.fields = {n: (neighbour.shape[1:] if n in PAIRS else f[0], f[1]) for n, f in self.fields.items()}
        super().restore(state, prefix, where)
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
            raise StateError(f"{where}: the state's components point outside of themselves; it is damaged")

    def _link(self, a: int, b: int) -> None:
        if max(self.neighbours[a], self.neighbours[b]) == self.neighbour.shape[1]:
            for name in PAIRS:
                self.widen(name, 2 * self.neighbour.shape[1])
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
