"""The result of a photon transfer, and the typical one of many gains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .kernels.bins import Array, sample

MIN_PIXELS = 100
Z95 = 1.96


@dataclass(frozen=True)
class PhotonTransfer:
    """A gain [e/ADU] with its 95 % interval, and the fit behind it.

    `reason`: why there is none ('' otherwise); `notes`: what was corrected for, or widens the interval. The line is
    variance = intercept + slope · mean. `variance` (p,) is a pixel's without the share of the illumination, `gains`
    (p,) its gain, `used` (p,) whether it was taken for the line. `flicker` and `scatter` are relative standard
    deviations, of the illumination and of the gains; `read_variance` [ADU²] is without that of rounding; `doubt` is the
    part of the relative standard error that noise does not explain.
    """

    reason: str = ""
    notes: tuple[str, ...] = ()
    gain: float = np.nan
    interval: tuple[float, float] = (np.nan, np.nan)
    slope: float = np.nan
    intercept: float = np.nan
    read_variance: float = np.nan
    flicker: float = np.nan
    scatter: float = 0.0
    doubt: float = 0.0
    variance: Array | None = None
    gains: Array | None = None
    used: np.ndarray | None = None


def typical_gain(gains: Array) -> tuple[float, float]:
    """Return the mean of the gains (p,) within 5 robust σ and its relative standard error; (NaN, inf) below 100 gains.

    It estimates the median with less noise than the median itself.
    """
    if len(gains) < MIN_PIXELS:
        return np.nan, np.inf
    centre = np.median(sample(gains))
    kept = gains[np.abs(gains - centre) < 5 * 1.4826 * np.median(np.abs(sample(gains) - centre))]
    return float(kept.mean()), float(kept.std() / kept.mean() / np.sqrt(len(kept)))
