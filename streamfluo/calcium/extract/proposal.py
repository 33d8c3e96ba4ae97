"""Proposed footprints: rank-one factorisation of the residual around a candidate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..kernels.footprints import factorise, read_patch, spatial_correlation
from ..kernels.residual import STEP
from .buffer import Buffer
from .detection import Candidate


@dataclass
class Proposal:
    """A footprint (h, w) of unit norm in the box at `corner`, its regression image `slope`, and activity (bins,).

    `moment`: Σ activity² of the active bins; `correlation` of footprint and slope; `snr` of the activity.
    """

    corner: tuple[int, int]
    footprint: np.ndarray
    slope: np.ndarray
    activity: np.ndarray
    moment: float
    correlation: float
    snr: float


def propose(
    buffer: Buffer, corner: tuple[int, int], box: tuple[int, int], candidate: Candidate, cell_px: float
) -> Proposal | None:
    """Return the footprint of a candidate in the stored residual bins, None if none exceeds the threshold.

    The box (h, w) lies at `corner`; cell_px: σ of a cell.
    """
    bins, order, (top, left) = buffer.bins_at(corner, box)
    patch = np.empty((len(order), *box), np.float32)
    read_patch(bins, order, top, left, np.float32(STEP), patch)
    yy, xx = np.ogrid[: box[0], : box[1]]
    distance2 = (yy - candidate.y + corner[0]) ** 2 + (xx - candidate.x + corner[1]) ** 2
    footprint = np.exp(-distance2 / (2 * candidate.width_px**2)).astype(np.float32)
    near = distance2 <= (1.5 * candidate.width_px + 1) ** 2
    activity, slope = np.empty(len(order)), np.empty(box, np.float32)
    moment, snr = factorise(patch, near, cell_px, footprint, slope, activity)
    if not moment:
        return None
    correlation = spatial_correlation(footprint, slope, 1 / np.sqrt(moment))
    return Proposal(corner, footprint, slope, activity, moment, correlation, snr)
