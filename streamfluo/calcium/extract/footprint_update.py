"""What a bin of frames teaches: shapes, evidence, the background; and who leaves."""

from __future__ import annotations

import numpy as np

from ..kernels.footprint_statistics import gather_comoments, gather_evidence, weigh_evidence, weigh_past
from ..kernels.footprints import regrow
from .background import Scene
from .components import BINS, Components

NEIGHBOUR_SHARE = 0.3  # of a neighbour's activity that errors of its shape may bring in
LEAST = 2.5  # noise widths above which a bin counts as activity
_GROWN = 1.06  # evidence that has grown less is not worth an update
_GROWTH_PX = 2
_LEAST_PIXELS = 8
_MEMORY_BINS = 400.0
SAME = 0.7  # explained by a neighbour: the same cell, or its halo
_TRIAL_FRAMES, _PROOF_FRAMES = 150, 400
WEAK = 0.85  # of what is needed to be accepted, below which a component leaves after its proof


def take_bin(cells: Components, residual: np.ndarray, number: int, frames: int) -> None:
    """Gather what bin `number` of so many frames says: residual (y, x) in units of its noise."""
    root = np.sqrt(frames)
    shown = np.empty(cells.count)
    weigh_evidence(
        cells["bin_trace"] / root, cells["live_noise"], NEIGHBOUR_SHARE, LEAST, cells.energy, cells.neighbour,
        cells.overlap, cells.neighbours, cells.own, cells.peak, cells.shared, cells.theirs, shown,
    )  # fmt: skip
    cells["recent"][:, number % BINS] = shown
    activity = shown * cells["live_noise"]
    rate = 1 / np.minimum(cells["live_seen"] / frames + 1.0, _MEMORY_BINS)
    gather_comoments(activity, cells["average"], cells.neighbour, cells.neighbours, cells.comoment)
    gather_evidence(residual, cells.origin, activity, cells["average"], rate, cells["gathered"], cells["moment"])
    cells["level"][:] += rate * (cells["bin_sum"] / frames - cells["level"])
    cells["bin_sum"][:] = cells["bin_trace"][:] = 0


def learn_shape(cells: Components, scene: Scene, k: int, cell_px: float) -> bool:
    """Renew one footprint by regression; False if nothing is left of it."""
    cells.learned[k] = cells.moment[k]
    old, new = cells.box[k].copy(), np.zeros(cells.box_shape, np.float32)
    if regrow(old, cells.gathered[k], cells.moment[k], cell_px, _GROWTH_PX, new) < _LEAST_PIXELS:
        return False
    _change(cells, scene, k, new - old)
    return True


def shapes_due(cells: Components) -> np.ndarray:
    """Return the places of the components whose evidence has grown enough for a new shape."""
    due: np.ndarray = np.flatnonzero(cells["moment"] > _GROWN * cells["learned"])
    return due


def _change(cells: Components, scene: Scene, k: int, change: np.ndarray) -> None:
    """Change a footprint; the mean image gives way, so that what is expected on average stays."""
    height, width = cells.box_shape
    top, left = cells.origin[k]
    area = np.s_[top : top + height, left : left + width]
    cells.box[k] += change
    cells.gathered[k] -= change * np.float32(cells.moment[k])
    cells.footprint_changed(k, change)
    scene.mean[area] -= change * np.float32(cells.level[k]) * scene.noise[area]
    cells.renew(k, scene)


def leaving(cells: Components, min_snr: float) -> dict[int, str]:
    """Return the places of the components that should leave, each with the reason."""
    explained, snr = cells.standings()
    seen, kept = cells["live_seen"], ~cells["seeded"]
    same = np.flatnonzero(kept & (seen > _TRIAL_FRAMES) & (explained > SAME))
    weak = np.flatnonzero(kept & (seen > _PROOF_FRAMES) & (snr < WEAK * min_snr))
    return {int(k): "too weak" for k in weak} | {int(k): "part of a neighbour" for k in same}


def take_past(cells: Components, k: int, past: np.ndarray, number: int) -> None:
    """Give a new component the evidence of its activity (n,) in the bins before `number`, the newest last."""
    weigh_past(
        k, past, number, NEIGHBOUR_SHARE, LEAST, cells.energy, cells.live_noise, cells.neighbour, cells.overlap,
        cells.neighbours, cells.recent, cells.own, cells.peak, cells.shared, cells.theirs,
    )  # fmt: skip
