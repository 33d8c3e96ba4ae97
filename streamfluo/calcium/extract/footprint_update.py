"""Updates of the components' statistics and footprints from each bin of frames; removal of components."""

from __future__ import annotations

import numpy as np

from ..kernels.footprint_r2 import footprint_r2
from ..kernels.footprint_statistics import (
    MIN_ACTIVITY,
    add_past_evidence,
    add_past_falls,
    update_comoments,
    update_evidence,
    update_falls,
    update_regression,
)
from ..kernels.footprints import update_footprint
from .background import Background
from .components import BINS, Components

_MIN_GROWTH = 1.06  # of the moment: less new evidence is not worth an update
_GROWTH_PX = 2
_MIN_PIXELS = 8
_MEMORY_BINS = 400.0
MAX_EXPLAINED = 0.7  # by a neighbour; above it the component duplicates the neighbour or its halo
# Of a component's image in a bin, what its footprint explains. Less, and a cell beside it that is not known yet is seen
# through it: the footprint moved over to that cell within four bins, and the cell was then taken for its duplicate.
LIKE_TO_LEARN, LIKE_ITSELF = 0.9, 0.8
_TRIAL_FRAMES, _PROOF_FRAMES = 150, 400
WEAK = 0.85  # of the SNR for acceptance; components below it are removed after _PROOF_FRAMES


def update_statistics(
    cells: Components, residual: np.ndarray, number: int, frames: int, ahead: np.ndarray | None = None,
    origin: np.ndarray | None = None,
) -> None:  # fmt: skip
    """Update the sufficient statistics with bin `number` of so many frames: residual (y, x) in units of its noise σ.

    ahead: the bin's activity (K,) that frames to come have told as well, NaN where they have not. origin: where each
    component's box lies in `residual` (K, 2), if not where it does in a frame.
    """
    origin = cells.origin if origin is None else origin
    boxes, regression = (origin, *cells.boxes[1:]), (origin, *cells.regression[1:])
    noise, slot, root = cells["live_noise"], number % BINS, np.sqrt(frames)
    shown, like = cells["bin_trace"] / root, np.empty(cells.count)
    footprint_r2(residual, np.where(shown >= MIN_ACTIVITY * noise, cells["bin_sum"], 0), root, boxes, like)
    update_evidence(shown, like >= LIKE_ITSELF, noise, slot, cells.overlaps, cells.evidence)
    update_falls(root * cells["live_baseline"] - cells["bin_sum"] / root, noise, slot, cells.overlaps, cells.evidence)
    seen = cells["recent"][:, slot] * noise
    if ahead is not None:
        seen = np.where(np.isnan(ahead), seen, np.where(ahead >= MIN_ACTIVITY * noise, ahead, 0))
    activity = np.where(like >= LIKE_TO_LEARN, seen, cells["average"])
    rate = 1 / np.minimum(cells["live_seen"] / frames + 1.0, _MEMORY_BINS)
    update_comoments(activity, cells.average, cells.neighbours, cells.neighbour, cells.comoment)
    update_regression(residual, activity, rate, regression)
    cells["level"][:] += rate * (cells["bin_sum"] / frames - cells["level"])
    cells["bin_sum"][:] = cells["bin_trace"][:] = 0


def refine_footprint(cells: Components, background: Background, k: int, cell_px: float) -> bool:
    """Update footprint k from its regression; return False if fewer than 8 pixels are left."""
    cells.learned[k] = cells.moment[k]
    old, new = cells.box[k].copy(), np.zeros(cells.box_shape, np.float32)
    if update_footprint(old, cells.gathered[k], cells.moment[k], cell_px, _GROWTH_PX, new) < _MIN_PIXELS:
        return False
    cells.change(k, new - old, background)
    return True


def due_for_update(cells: Components) -> np.ndarray:
    """Return the rows (n,) of the components with enough new evidence for a footprint update."""
    due: np.ndarray = np.flatnonzero(cells["moment"] > _MIN_GROWTH * cells["learned"])
    return due


def to_remove(cells: Components, min_snr: float) -> dict[int, str]:
    """Return the rows of the components to remove, each with the reason."""
    explained, snr = cells.explained_and_snr()
    seen, removable = cells["live_seen"], ~cells["seeded"]
    duplicates = np.flatnonzero(removable & (seen > _TRIAL_FRAMES) & (explained > MAX_EXPLAINED))
    weak = np.flatnonzero(removable & (seen > _PROOF_FRAMES) & (snr < WEAK * min_snr))
    return {int(k): "SNR too low" for k in weak} | {int(k): "explained by a neighbour" for k in duplicates}


def add_history_evidence(cells: Components, k: int, past: np.ndarray, raw: np.ndarray, number: int) -> None:
    """Add to component k's evidence its activity in the bins (n,) before `number`, `past` and not deconvolved `raw`."""
    add_past_evidence(k, past, number, cells.live_noise, cells.overlaps, cells.evidence)
    add_past_falls(k, -raw, number, cells.live_noise, cells.overlaps, cells.evidence)
