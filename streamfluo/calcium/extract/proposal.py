"""A footprint from the residual round a place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..kernels.footprints import cut_out, factorise, likeness
from ..kernels.residual import STEP


@dataclass
class Proposal:
    """A footprint (h, w) of unit norm in the box at `corner`, the regression it was cut from, and its activity (bins,).

    `moment`: Σ activity² behind it; `correlation` with the regression; `snr`: how far that activity stands out.
    """

    corner: tuple[int, int]
    footprint: np.ndarray
    slope: np.ndarray
    activity: np.ndarray
    moment: float
    correlation: float
    snr: float


def refine(
    stored: np.ndarray, order: np.ndarray, corner: tuple[int, int], box: tuple[int, int],
    place: tuple[float, float], width_px: float, cell_px: float,
) -> Proposal | None:  # fmt: skip
    """Return the footprint that residual bins (n, y, x) int16 show round `place`, None where nothing stands out."""
    patch = np.empty((len(order), *box), np.float32)
    cut_out(stored, order, corner[0], corner[1], np.float32(STEP), patch)
    yy, xx = np.ogrid[: box[0], : box[1]]
    apart = (yy - place[0] + corner[0]) ** 2 + (xx - place[1] + corner[1]) ** 2
    shape = np.exp(-apart / (2 * width_px**2)).astype(np.float32)
    near = apart <= (1.5 * width_px + 1) ** 2
    activity, slope = np.empty(len(order)), np.empty(box, np.float32)
    moment, snr = factorise(patch, near, cell_px, shape, slope, activity)
    if not moment:
        return None
    return Proposal(corner, shape, slope, activity, moment, likeness(shape, slope, 1 / np.sqrt(moment)), snr)
