"""The width of the PSF from the decay of covariances with distance, without what all pixels share.

Emitters blink independently: averaged over the field the covariance of pixels d apart is a · exp(−d² / 4σ²).
Illumination that flickers, or a field that bleaches, adds a fluctuation of all pixels, v · S_p · S_q. With
g_p = ⟨δI_p δT⟩, T the total signal and V its variance, that part is λ · g_p · g_q / V (a partial covariance, which
needs no offset), where λ is the share of V that single pixels and emitters do not explain:
V = λ · V + Σ_p w_p + a · Σ_{p ≠ q} exp(−d² / 4σ²), w the variance of a pixel without the common part.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

TILES = 4  # a side; leaving out one of the 16 parts of the field shows how sure the width is
ROUNDS = 20  # the share settles to 1e-9 in some six
LEAST_PART = 0.02  # of the largest covariance: smaller ones are noise to a logarithm
LEAST_DECAY = 0.2  # over the longest distance; else what falls so slowly may be anything
MAX_ERROR = 0.08  # relative standard error of σ, estimated: the true one is half of it, three of those are 12 %
MAX_MISFIT = 0.2  # of the covariance at distance 0: another shape than that of a Gaussian, or noise


class PsfWidth(NamedTuple):
    """σ [px], NaN where it is undetermined, and a sentence that says why."""

    sigma_px: float
    status: str


class Pair(NamedTuple):
    """Covariance of the pixels p and p + (dy, dx), dy ≥ 0, by the first pixel (y, x); anything beyond the border."""

    dy: int
    dx: int
    image: np.ndarray


class Covariances(NamedTuple):
    """By pair of offsets d apart (pairs,), summed over parts of the field: covariance, common part at λ = 1, number."""

    d2: np.ndarray
    covariance: np.ndarray
    common: np.ndarray
    number: np.ndarray

    def mean(self, share: float, but: int = -1) -> np.ndarray:
        """Return mean covariances (pairs,) less this share of the common part, without one part of the field."""
        kept = np.arange(self.number.shape[1]) != but
        total = self.covariance[:, kept].sum(1) - share * self.common[:, kept].sum(1)
        return np.asarray(total / np.maximum(self.number[:, kept].sum(1), 1))


class Field(NamedTuple):
    """Variance of the total signal, Σ of the pixels' variances, Σ g² / V; pixels seen, sides of the field [px]."""

    total: float
    single: float
    common: float
    pixels: int
    shape: tuple[int, int]


def psf_width(pairs: Iterable[Pair], with_total: np.ndarray, variance: np.ndarray) -> PsfWidth:
    """Return the width from pairs, ⟨δI_p δT⟩ of each pixel and its variance (y, x), NaN where a pixel was not seen."""
    seen = np.isfinite(with_total) & np.isfinite(variance)
    g, total = np.where(seen, with_total, 0), float(with_total[seen].sum())
    if not seen.any() or not total > 0:
        return _undetermined("no frames in which the signal changes")
    field = Field(total, float(variance[seen].sum()), float((g**2).sum() / total), int(seen.sum()), _extent(seen))
    found = _covariances(pairs, g / math.sqrt(total), seen)
    for start in (1.0, 0.5):  # one emitter alone is a common fluctuation: half of it still has its shape
        share, _, sigma = _solve(found, field, start)
        if math.isfinite(sigma):
            return _checked(found, share)
    return _undetermined("the covariance of pixels does not decay with distance")


def _covariances(pairs: Iterable[Pair], root: np.ndarray, seen: np.ndarray) -> Covariances:
    height, width = seen.shape
    rows, columns = (np.arange(side) * TILES // side == np.arange(TILES)[:, None] for side in seen.shape)
    d2, sums = [], []
    for dy, dx, image in pairs:
        first = slice(0, height - dy), slice(max(0, -dx), width - max(0, dx))
        other = slice(dy, height), slice(max(0, dx), width - max(0, -dx))
        both = seen[first] & seen[other]
        covariance = image[first] if both.all() else np.where(both, image[first], 0)
        up, down = rows[:, first[0]].astype(float), columns[:, first[1]].astype(float).T
        maps = (covariance, root[first] * root[other], both.astype(float))
        sums.append([(up @ each @ down).reshape(-1) for each in maps])
        d2.append(float(dy**2 + dx**2))
    by_kind = np.array(sums).reshape(-1, 3, TILES**2)
    return Covariances(np.array(d2), by_kind[:, 0], by_kind[:, 1], by_kind[:, 2])


def _solve(found: Covariances, field: Field, share: float) -> tuple[float, float, float]:
    """Return the common share λ, and a and σ without it; NaN where the covariances do not decay."""
    a = sigma = math.nan
    for _ in range(ROUNDS):
        a, sigma = _decay(found.d2, found.mean(share))
        if not math.isfinite(sigma):
            break
        near = math.prod(_reach(side, sigma) for side in field.shape) / math.prod(field.shape)
        rest = field.total - field.single - a * field.pixels * (near - 1)
        share = min(max(rest / max(field.total - field.common, 1e-300), 0.0), 1.0)
    return share, a, sigma


def _decay(d2: np.ndarray, covariance: np.ndarray) -> tuple[float, float]:
    """Return a and σ of ln C = ln a − d² / 4σ², weighted by C² as all have about the same error; NaN without one."""
    keep = _kept(covariance)
    if len(set(d2[keep])) < 2:
        return math.nan, math.nan
    slope, level = np.polyfit(d2[keep], np.log(covariance[keep]), 1, w=covariance[keep])
    return (math.exp(level), math.sqrt(-1 / (4 * slope))) if slope < 0 else (math.nan, math.nan)


def _checked(found: Covariances, share: float) -> PsfWidth:
    """Return the width at this share, if the decay is long enough, sure and that of a Gaussian."""
    means = found.mean(share)
    a, sigma = _decay(found.d2, means)
    if math.exp(-found.d2.max() / (4 * sigma**2)) > 1 - LEAST_DECAY:
        return _undetermined("covariances hardly decay within the distances of `cross`: something common fluctuates")
    if not _error(found, share, a, sigma) <= MAX_ERROR:
        return _undetermined("too few frames, blinking emitters or pixels to be sure of it within 15 %")
    misfit = np.abs(means - a * np.exp(-found.d2 / (4 * sigma**2))).max()
    if misfit > MAX_MISFIT * a:
        return _undetermined("covariances decay unlike those of a Gaussian PSF")
    return PsfWidth(sigma, "determined")


def _error(found: Covariances, share: float, a: float, sigma: float) -> float:
    """Return the relative standard error of σ, from how the decay in parts of the field differs from that of all.

    A part's brightness is its own and does not count; NaN for fewer than three distances.
    """
    number, means = found.number.sum(1), found.mean(share)
    model = np.exp(-found.d2 / (4 * sigma**2))
    parts = (found.covariance - share * found.common) / np.maximum(number, 1)[:, None]
    rest = parts - np.outer(model, model @ parts / (model @ model))
    keep = _kept(means)
    weight = np.where(keep, means**2, 0)
    lever = found.d2 - np.average(found.d2, weights=weight)
    by_part = (weight * lever / np.where(keep, means, 1)) @ rest / (weight @ lever**2)
    free = keep.sum() - 2
    slope = math.sqrt((by_part**2).sum() * keep.sum() / free) if free > 0 else math.nan
    return 2 * sigma**2 * slope


def _kept(covariance: np.ndarray) -> np.ndarray:
    """Which covariances (pairs,) are so large that their logarithm may be taken."""
    return np.asarray(covariance > LEAST_PART * covariance.max(initial=0))


def _reach(side: int, sigma: float) -> float:
    """Return Σ_ij exp(−(i − j)² / 4σ²) over the pixels i, j of a side."""
    lags = np.arange(side)
    weights = np.exp(-(lags**2) / (4 * sigma**2)) * (side - lags)
    return float(2 * weights.sum() - side)


def _extent(seen: np.ndarray) -> tuple[int, int]:
    """Return the sides of the rectangle around what was seen [px]."""
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def _undetermined(reason: str) -> PsfWidth:
    return PsfWidth(math.nan, f"undetermined: {reason}")
