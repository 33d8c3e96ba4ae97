"""Which components are accepted: by the rule of their evidence, or by the probability that a network gives."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .acceptance import is_cell
from .activity import Deconvolution
from .background import Background
from .buffer import Buffer
from .cell_features import Context, typical_area
from .cell_probability import WEIGHTS, cell_probability, load_weights
from .components import NOT_JUDGED, REJECTED, Components
from .params import ExtractParams

LEAST_PROBABILITY = 0.8
USUAL_AREA = 9.0  # of a cell [neuron_sigma_px²], the median of simulated fields
JUDGED_EVERY, JUDGED_AT, JUDGED_IN = 50, 49, 8  # frames, the one with least to do; turns until all are judged again


class Seen(NamedTuple):
    """What components are judged in: size of a cell [px], background, frames in the window, deconvolution."""

    neuron_sigma_px: float
    background: Background
    buffer: Buffer
    deconvolution: Deconvolution

    def probability(self, cells: Components, rows: np.ndarray) -> np.ndarray:
        """Return the probability (n,) that components `rows` (n,) are cells, NaN where it is not known."""
        places = self.background.observed_px / self.neuron_sigma_px**2
        context = Context(self.buffer.bin_frames, self.deconvolution.interval_s, places, self.neuron_sigma_px)
        return cell_probability(cells, rows, self.buffer.slots(), context)

    def of_all(self, cells: Components) -> np.ndarray:
        """Return the probability (K,) that each component is a cell, NaN where it is not known."""
        return self.probability(cells, np.arange(cells.count))

    def judge_some(self, cells: Components) -> None:
        """Judge an eighth of the components every fifty frames, and those that are new.

        All at once took 6 ms, of one frame in a hundred; any number takes .6 ms, and .015 ms each.
        """
        turn, rest = divmod(self.buffer.count, JUDGED_EVERY)
        if rest == JUDGED_AT:
            now = cells["probability"] == NOT_JUDGED
            now[turn % JUDGED_IN :: JUDGED_IN] = True
            rows = np.flatnonzero(now)
            cells["probability"][rows] = self.probability(cells, rows)

    def judged(self, cells: Components) -> np.ndarray:
        """Return the probability (K,) of each component as it was last judged, now of those that never were."""
        rows = np.flatnonzero(cells["probability"] == NOT_JUDGED)
        cells["probability"][rows] = self.probability(cells, rows)
        return cells["probability"]


def judged_by_network(
    cells: Components, rows: np.ndarray, params: ExtractParams, seen: Seen
) -> tuple[np.ndarray, np.ndarray]:
    """Return of components `rows` (n,) whether the network knows them, and whether it says that they are cells."""
    probability = seen.probability(cells, rows)
    compact = cells["compactness"][rows] >= params.least_compactness
    known = ~np.isnan(probability)
    return known, known & (np.nan_to_num(probability) >= LEAST_PROBABILITY) & compact


def are_cells(cells: Components, params: ExtractParams, seen: Seen) -> np.ndarray:
    """Return which components (K,) are cells; of those accepted or rejected already what the rule says.

    Where no probability is known the rule decides.
    """
    cell = is_cell(cells, params, seen.buffer.bin_frames, seen.background.observed_px)
    if params.accept == "learned":
        rows = np.flatnonzero(~cells["accepted"] & (cells["verdict"] != REJECTED))
        known, good = judged_by_network(cells, rows, params, seen)
        cell[rows] = np.where(known, good, cell[rows])
    return cell


def size_doubts(cells: Components, params: ExtractParams) -> list[str]:
    """Return what is said where accepted components are larger or smaller than cells of `neuron_sigma_px` ever are."""
    area, (least, largest) = typical_area(cells, params.neuron_sigma_px), load_weights(WEIGHTS).scale.areas
    if params.least_compactness == 0 or not (area < least or area > largest):
        return []
    stated = params.neuron_sigma_px
    return [
        f"components of {area * stated**2:.0f} px are too {'large' if area > largest else 'small'} for cells of "
        f"neuron_sigma_px = {stated:g} ({least * stated**2:.0f} to {largest * stated**2:.0f} px): their probability is "
        f"not known; try {stated * np.sqrt(area / USUAL_AREA):.2g}{' or more' if area > largest else ''}"
    ]
