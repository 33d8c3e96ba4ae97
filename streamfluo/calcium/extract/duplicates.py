"""Components that are one cell: parts of its footprint that are active together."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..kernels.compactness import compactness
from ..kernels.footprint_statistics import add_shifted
from .background import Background
from .components import Components

SAME_ACTIVITY = 0.8  # cosine of the bins of a part and the whole: one cell, if they make one body
LIKE_ACTIVITY = 0.4  # the same, if the part is an arc or a sliver that the whole completes
MIN_BINS = 3.0  # that the activity is spread over: two cells may share a transient by chance, less counts little
MIN_WITHIN = 0.7  # of the energy of the part, that lies within the other's box
SAME_FOOTPRINT = 0.8  # cosine: two such share the activity of one cell between them, as noise decides
SLIVER = 0.5  # cosine of a part that the whole completes: its activity is what the whole's footprint is wrong by
CONCENTRIC = 0.2  # of √pixels: between the centroids of a cell and its rim
MAX_LOSS, MIN_GAIN = 0.05, 0.25  # of compactness, at SAME_ACTIVITY, LIKE_ACTIVITY: two cells side by side lose .15
COMPLETED = 0.1  # of compactness that a sliver gains


class Duplicate(NamedTuple):
    """Row `part` is the cell of row `whole`; with `change` (h, w) its footprint becomes that of both."""

    whole: int
    part: int
    change: np.ndarray


def find_duplicate(cells: Components) -> Duplicate | None:
    """Return a component that is another one, None if there is none."""
    _, snr = cells.explained_and_snr()
    n = np.arange(cells["neighbours"].max(initial=0))
    part, column = np.nonzero(n < cells["neighbours"][:, None])  # pairs alone: a quarter of all places
    other = cells.neighbour[part, column]
    weaker = (snr[part] <= snr[other]) & ~cells.seeded[part]
    part, column, other = part[weaker], column[weaker], other[weaker]
    overlap = cells.overlap[part, column] / np.sqrt(np.maximum(cells.energy[part] * cells.energy[other], 1e-30))
    if (twice := np.flatnonzero(overlap >= SAME_FOOTPRINT)).size:
        pair = int(twice[0])
        return Duplicate(int(other[pair]), int(part[pair]), np.zeros(cells.box_shape, np.float32))
    for pair in np.flatnonzero(overlap >= SLIVER).tolist():
        if _completes(cells, int(other[pair]), int(part[pair])):
            return Duplicate(int(other[pair]), int(part[pair]), np.zeros(cells.box_shape, np.float32))
    shared, theirs, own = cells.shared[part, column], cells.theirs[part, column], cells.own[part]
    together = np.where(shared > 0, shared, 0) / np.sqrt(np.maximum(own * theirs, 1e-30))
    spread = own**2 >= MIN_BINS * np.maximum(cells.peak[part], 1e-30)
    parts = cells.touching[part, column] & (together >= LIKE_ACTIVITY) & spread
    for pair in np.flatnonzero(parts).tolist():
        k, whole = int(part[pair]), int(other[pair])
        ratio = cells.own[k] * cells.live_noise[k] / (shared[pair] * cells.live_noise[whole])
        change = _joined(cells, whole, k, ratio, float(together[pair]))
        if change is not None:
            return Duplicate(whole, k, change)
    return None


def _joined(cells: Components, whole: int, part: int, ratio: float, together: float) -> np.ndarray | None:
    """What the footprint of `part` adds to that of `whole`, None if their union is not one body.

    ratio: activity of the part by that of the whole; together: cosine of both. The surer that is, the less compactness
    must be gained, and the more may be lost.
    """
    change = np.zeros(cells.box_shape, np.float32)
    add_shifted(change, cells.origin[whole], cells.box[part], cells.origin[part], np.float32(ratio))
    within = float((change.astype(float) ** 2).sum()) / max(ratio**2 * float(cells.energy[part]), 1e-30)
    if within < MIN_WITHIN:
        return None
    (y, x), (v, u) = cells.centre[whole], cells.centre[part]
    sure = min((together - LIKE_ACTIVITY) / (SAME_ACTIVITY - LIKE_ACTIVITY), 1.0)
    if math.hypot(y - v, x - u) <= CONCENTRIC * math.sqrt(cells.pixels[whole]):
        sure = 1.0
    needed = cells.compactness[part] + MIN_GAIN - (MIN_GAIN + MAX_LOSS) * sure
    compact = compactness(cells.box[whole] + change)
    if compact < max(needed, cells.compactness[whole] - MAX_LOSS * (1 + sure)):
        return None
    return change


def _completes(cells: Components, whole: int, part: int) -> bool:
    """Return whether `part` is a piece of the body that it makes with `whole`: both as bright, it is more compact."""
    both = cells.box[whole].copy()
    factor = math.sqrt(cells.energy[whole] / cells.energy[part]) / 2
    add_shifted(both, cells.origin[whole], cells.box[part], cells.origin[part], np.float32(factor))
    return bool(compactness(both) >= cells.compactness[part] + COMPLETED)


def join(cells: Components, background: Background, duplicate: Duplicate) -> None:
    """Add the part's footprint to the whole's, before the part is dropped; the mean image keeps the sum of both.

    What the neighbours of the part have learned is corrected for the fluorescence that was the part's: without it the
    next update of the whole takes the part's footprint away again.
    """
    whole, part, change = duplicate
    if change.any():
        cells.correct_neighbours(part, -cells.box[part])
    background.add_to_mean(cells.origin[part], cells.box[part] * np.float32(cells.level[part]))
    background.add_to_mean(cells.origin[whole], -change * np.float32(cells.level[whole]))
    cells.box[whole] += change
    cells.gathered[whole] -= change * np.float32(cells.moment[whole])
    cells.correct_neighbours(whole, change)
    cells.refresh(whole, background)
