"""A footprint from the residual round a place: a few rounds of rank-one factorisation, cut where noise begins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndi

from ...kernels.residual import STEP
from ...kernels.shapes import activity_of, connected, cut_out, regress

ROUNDS = 4
ACTIVE_Z = 2.5
PEAK_PART = 0.2  # of the peak: what a footprint always keeps
NOISE_PART = 2.2  # of a pixel's noise: what it needs more than
SMOOTHINGS_PX = (0.0, 0.6, 0.9, 1.3, 1.7)
CLEAR = 10.0  # peak over noise that needs no more smoothing


@dataclass
class Proposal:
    """A footprint (h, w) of unit norm in the box at `corner`, the regression it was cut from, and its activity (bins,).

    `moment`: Σ activity² behind it; `correlation` with the residual; `snr`: how far that activity stands out.
    """

    corner: tuple[int, int]
    footprint: np.ndarray
    slope: np.ndarray
    activity: np.ndarray
    moment: float
    correlation: float
    snr: float


def refine(
    stored: np.ndarray,
    order: np.ndarray,
    corner: tuple[int, int],
    box: tuple[int, int],
    place: tuple[float, float],
    width_px: float,
    cell_px: float,
) -> Proposal | None:
    """Return the footprint that residual bins (n, y, x) int16 show round `place`, None where nothing stands out."""
    patch = np.empty((len(order), *box), np.float32)
    cut_out(stored, order, corner[0], corner[1], np.float32(STEP), patch)
    yy, xx = np.ogrid[: box[0], : box[1]]
    y0, x0 = place[0] - corner[0], place[1] - corner[1]
    shape = np.exp(-((yy - y0) ** 2 + (xx - x0) ** 2) / (2 * width_px**2)).astype(np.float32)
    near = (yy - y0) ** 2 + (xx - x0) ** 2 <= (1.5 * width_px + 1) ** 2
    activity, slope = np.empty(len(order)), np.empty(box, np.float32)
    kept, stack = np.zeros(box, bool), np.empty(box[0] * box[1], np.int64)
    moment = correlation = snr = 0.0
    for _ in range(ROUNDS):
        norm = float(np.sqrt((shape.astype(float) ** 2).sum()))
        shape /= np.float32(norm)
        activity_of(patch, shape, activity)
        level = float(np.median(activity))
        spread = max(1.0, float(np.median(np.abs(activity - level))) / 0.6745)
        rise = activity - level
        weights = np.where(rise > ACTIVE_Z * spread, rise, 0.0)
        moment = regress(patch, weights, (rise < 1.5 * spread).astype(np.int64), slope)
        if moment <= 0:
            return None
        snr = float(np.sqrt(moment))
        image, noise, edge = smoothed(slope, 1 / np.sqrt(moment), cell_px)
        seed = np.unravel_index(np.argmax(np.where(near, image, -np.inf)), box)
        bound = edge_bound(float(image[seed]), noise, edge)
        if not connected(image, np.float32(bound), int(seed[0]), int(seed[1]), kept, stack):
            return None
        kept = ndi.binary_fill_holes(kept)
        shape = np.where(kept, image, np.float32(0))
    around = ndi.binary_dilation(kept, iterations=2)
    blurred = ndi.gaussian_filter(slope, 0.7)
    correlation = _correlation(shape[around], blurred[around])
    norm = float(np.sqrt((shape.astype(float) ** 2).sum()))
    shape /= np.float32(norm)
    return Proposal(corner, shape, slope / np.float32(norm), rise * norm, moment * norm**2, correlation, snr)


def smoothed(slope: np.ndarray, noise: float, width_px: float) -> tuple[np.ndarray, float, float]:
    """The slope smoothed no more than it takes for its peak to stand clear; its noise, and where its edge lies.

    The edge of a Gaussian cell of that width, at PEAK_PART of its peak, lies at a larger part of a smoothed one's.
    """
    image, left = slope, noise
    for sigma in SMOOTHINGS_PX:
        if sigma:
            image = ndi.gaussian_filter(slope, sigma)
            left = noise * _remaining(sigma)
        left = max(left, float(np.median(np.abs(image - np.median(image)))) / 0.6745)
        if float(image.max()) > CLEAR * left:
            break
    edge = PEAK_PART ** (width_px**2 / (width_px**2 + sigma**2))
    return image, left, edge


def edge_bound(peak: float, noise: float, edge: float) -> float:
    """Return the value above which pixels belong to a footprint of that peak."""
    return max(edge * peak, NOISE_PART * noise)


def _remaining(sigma: float) -> float:
    """Which part of white noise a Gaussian leaves."""
    x = np.arange(-8, 9)
    taps = np.exp(-(x**2) / (2 * sigma**2))
    return float(((taps / taps.sum()) ** 2).sum())


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    a, b = one - one.mean(), other - other.mean()
    scale = float(np.sqrt((a.astype(float) ** 2).sum() * (b.astype(float) ** 2).sum()))
    return float((a.astype(float) * b).sum()) / scale if scale > 0 else 0.0
