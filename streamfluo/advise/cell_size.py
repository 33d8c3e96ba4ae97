"""The size of what fluctuates, in two ways that share no formula: around active places, and over the whole field.

Around active places: the products of one place's trace with the pixels around it a bin later are its footprint, without
noise; its width at half maximum above what surrounds it is taken. Places come from a difference of Gaussians as wide as
the cells, so the width is solved for by going down from a wide one: a fixed point. Over the field: the spatial
autocorrelation is fitted by that of a flat-topped body or a Gaussian and of broad Gaussians, which stand for neuropil
and out-of-focus light. A size is stated where the two agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import scipy.fft
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.optimize import nnls

from .fluctuations import Autocorrelation, Fluctuations, radial_mean

MAX_PLACES, MIN_PLACES = 40, 5
FEW_PLACES = 3  # are enough where the field agrees
FAR_PX = 5.0  # from a place at least, where what surrounds it is taken: a PSF of 3 px has ended
# Half width at half maximum over sigma of a body exp(-r⁴/8) - depth · exp(-2.5 r²): 1.6 with a depth of 0.55.
HALF_WIDTH = 1.6
GAUSSIAN = 1.1774  # the same of a Gaussian
BODY_BASE, GAUSSIAN_BASE = 1.23, 1.52  # width at a fifth of the maximum over that at half of it
WIDEST_SIGMA_PX, NARROWEST_SIGMA_PX = 12.0, 0.5
SETTLED = 0.03
LARGER = 1.6
NARROWEST_PX = 2.0  # diameter of anything that is sampled
SPREAD = 2.6  # between the 16th and 84th percentile; cells of one kind stay within 1.8
UNCHECKED = 0.97  # where more is broad, the field cannot confirm a size
DOMINATED = 0.9  # where more of the covariance is broad, the field's autocorrelation says nothing of cells
FROM_SIGMA_PX = 4.0  # at least, where the way down begins: from below it may end at single pixels
AGREE = 1.45  # times, between the two ways; simulated cells agree within 1.15
BROAD = (4.5, 6.0, 9.0, 13.0, 20.0, 30.0)  # widths of Gaussians for the background, in sigma of the body
AS_GOOD = 2.5  # times the least misfit; of sizes that fit as well the largest is taken


class ByField(NamedTuple):
    """The diameter [px] by the autocorrelation of the field, the part of it at one pixel that is broader, whether a
    Gaussian fits better than a flat-topped body, and the misfit of the best fit."""

    diameter_px: float
    broad: float
    gaussian: bool
    misfit: float = math.inf


class CellSize(NamedTuple):
    """Diameter [px] (full width at half maximum) with its spread over places, how many places; why not, if not.

    `by_field`: the size by the autocorrelation of the field; `places` (n, 2) in `bins`, most active first.
    """

    diameter_px: float
    spread_px: tuple[float, float]
    by_field: ByField
    places: np.ndarray
    reason: str = ""

    @property
    def by_field_px(self) -> float:
        """The diameter by the autocorrelation of the field [px]."""
        return self.by_field.diameter_px

    @property
    def broad(self) -> float:
        """The part of the covariance of neighbours that is broader than cells."""
        return self.by_field.broad

    @property
    def likely_px(self) -> float:
        """The diameter to work with [px]: of cells that are not alike the larger of the two, but for broad light."""
        one = self.broad > DOMINATED or not (self.reason or self.by_field.gaussian)
        both = (self.diameter_px,) if one else (self.diameter_px, self.by_field_px)
        return max((d for d in both if math.isfinite(d)), default=math.nan)

    @property
    def base_px(self) -> float:
        """The width at a fifth of the maximum [px]: it says how far light reaches whatever the shape."""
        blurred = self.by_field.gaussian or self.broad > DOMINATED
        return self.likely_px * (GAUSSIAN_BASE if blurred else BODY_BASE)


def cell_size(found: Fluctuations, field: Autocorrelation) -> CellSize:
    """Return the size of what fluctuates. It is undetermined where the two ways differ, or there are few places."""
    by_field = by_autocorrelation(field.radial)
    wide = (
        max(FROM_SIGMA_PX, 1.6 * by_field.diameter_px / (2 * HALF_WIDTH))
        if math.isfinite(by_field.diameter_px)
        else WIDEST_SIGMA_PX
    )
    start = min(wide, WIDEST_SIGMA_PX, min(found.bins.shape[1:]) / 12)
    tried: list[CellSize] = []
    while start >= NARROWEST_SIGMA_PX:
        tried.append(_size_from(found, start, by_field, field.radial))
        if not tried[-1].reason:
            return _unless_larger(tried[-1], tried[:-1])
        start /= 1.6
    if not tried:
        nowhere = np.zeros((0, 2), int)
        return CellSize(math.nan, (math.nan, math.nan), by_field, nowhere, "the field is too small")
    return min(
        tried,
        key=lambda size: abs(math.log(size.diameter_px / by_field.diameter_px)) if size.diameter_px > 0 else math.inf,
    )


def _unless_larger(size: CellSize, wider: Sequence[CellSize]) -> CellSize:
    """The size that both ways agree on, but where a wider search had found places that are larger: two kinds."""
    if size.broad > DOMINATED:
        return size
    for other in wider:
        if len(other.places) >= MIN_PLACES and other.diameter_px > LARGER * size.diameter_px:
            why = f"some active places measure {size.diameter_px:.1f} px, others {other.diameter_px:.1f} px across"
            return other._replace(reason=why)
    return size


def _size_from(found: Fluctuations, start_sigma_px: float, by_field: ByField, radial: np.ndarray) -> CellSize:
    """The size that is reached from a wide one."""
    sigma, widths, places = around_places(found, start_sigma_px)
    known = widths[np.isfinite(widths)]
    diameter = 2 * HALF_WIDTH * sigma
    here = at_diameter(radial, diameter)
    agrees = 1 / AGREE < diameter / by_field.diameter_px < AGREE
    if len(known) < FEW_PLACES or (len(known) < MIN_PLACES and not (agrees and here.broad < DOMINATED)):
        why = f"{len(known)} active places, {MIN_PLACES} are needed"
        return CellSize(math.nan, (math.nan, math.nan), by_field, places, why)
    low, high = (2 * float(w) for w in np.percentile(known, (16, 84)))
    reason = ""
    if diameter < NARROWEST_PX:
        reason = "what fluctuates is as narrow as a pixel"
    elif high > SPREAD * low:
        reason = f"active places measure {low:.1f} to {high:.1f} px"
    elif here.broad < UNCHECKED and not agrees:
        reason = (
            f"around active places it is {diameter:.1f} px, by the autocorrelation of the field "
            f"{by_field.diameter_px:.1f} px: "
            "the field holds several sizes, or too little light"
        )
    broad = min(here.broad, by_field.broad) if reason else here.broad
    by_field = by_field._replace(broad=broad, gaussian=here.gaussian)
    return CellSize(diameter, (low, high), by_field, places, reason)


def around_places(found: Fluctuations, from_sigma_px: float) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the size of active places: sigma [px], the half width of each [px], and where they are (n, 2)."""
    sigma, widths, places = from_sigma_px, np.zeros(0), np.zeros((0, 2), int)
    for _ in range(10):
        places, traces = active_places(found, sigma)
        widths = np.array([_half_width(p, sigma) for p in _profiles(found, places, traces, sigma)])
        known = widths[np.isfinite(widths)]
        if len(known) < FEW_PLACES:
            break
        before, sigma = sigma, float(np.clip(np.median(known) / HALF_WIDTH, NARROWEST_SIGMA_PX, WIDEST_SIGMA_PX))
        if abs(sigma / before - 1) < SETTLED:
            break
    return sigma, widths, places


def active_places(found: Fluctuations, sigma_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the most active places (n, 2) for cells of that size and their traces (bins, n), without what is broad."""
    local = gaussian_filter(found.bins, (0, 0.7 * sigma_px, 0.7 * sigma_px))
    local -= gaussian_filter(found.bins, (0, 2.5 * sigma_px, 2.5 * sigma_px))
    later = found.pairs
    if not len(later):
        return np.zeros((0, 2), int), np.zeros((len(found.bins), 0))
    covariance = np.einsum("tyx,tyx->yx", local[later], local[later - 1]) / len(later)
    peaks = (covariance == maximum_filter(covariance, 2 * round(2 * sigma_px) + 1)) & (covariance > 0)
    margin = int(3.5 * sigma_px) + 1
    peaks[:margin] = peaks[-margin:] = False
    peaks[:, :margin] = peaks[:, -margin:] = False
    places = np.argwhere(peaks)
    places = places[np.argsort(-covariance[tuple(places.T)])][:MAX_PLACES]
    return places, local[:, places[:, 0], places[:, 1]]


def _profiles(found: Fluctuations, places: np.ndarray, traces: np.ndarray, sigma_px: float) -> list[np.ndarray]:
    """The footprint of each place over distance, from products with pixels a bin earlier and later."""
    reach, later = math.ceil(max(4.5 * sigma_px, FAR_PX + 2)) + 1, found.pairs
    profiles = []
    for (y, x), trace in zip(places, traces.T, strict=True):
        top, left = max(0, y - reach), max(0, x - reach)
        cut = found.bins[:, top : y + reach + 1, left : x + reach + 1]
        image = np.tensordot(trace[later - 1], cut[later], 1) + np.tensordot(trace[later], cut[later - 1], 1)
        dy, dx = np.ogrid[top - y : top - y + cut.shape[1], left - x : left - x + cut.shape[2]]
        ring = np.rint(np.hypot(dy, dx)).astype(int).ravel()
        profiles.append((np.bincount(ring, image.ravel()) / np.maximum(np.bincount(ring), 1))[: reach + 1])
    return profiles


def _half_width(profile: np.ndarray, sigma_px: float) -> float:
    """The distance [px] at which a profile has fallen to half its height above what surrounds it; NaN: nowhere."""
    above = profile - np.median(profile[int(max(3 * sigma_px, FAR_PX)) :])
    if above[1] > above[2] > 0:  # a single pixel may have noise that lasts: its excess over a Gaussian is left out
        above[0] = min(above[0], above[1] ** (4 / 3) / above[2] ** (1 / 3))
    inner = above[: max(2, int(0.8 * sigma_px) + 1)]
    top = float(inner.max())
    if not top > 0:
        return math.nan
    below = np.flatnonzero((above < top / 2) & (np.arange(len(above)) > int(inner.argmax())))
    if not len(below):
        return math.nan
    n = int(below[0])
    return n - 1 + float((above[n - 1] - top / 2) / (above[n - 1] - above[n]))


def by_autocorrelation(radial: np.ndarray) -> ByField:
    """Return the diameter of the shape whose autocorrelation fits best, beside broad Gaussians."""
    if len(radial) < 7 or not radial[1] > 0:
        return ByField(math.nan, math.nan, False, math.inf)
    sigmas = np.geomspace(0.6, min(WIDEST_SIGMA_PX, (len(radial) - 1) / 4), 50)
    tried = [[_fit(radial, sigma, gaussian) for sigma in sigmas] for gaussian in (False, True)]
    fits = min(tried, key=lambda each: min(fit.misfit for fit in each))
    least = min(fit.misfit for fit in fits)
    return max((fit for fit in fits if fit.misfit <= AS_GOOD * least), key=lambda fit: fit.diameter_px)._replace(
        misfit=least
    )


def at_diameter(radial: np.ndarray, diameter_px: float) -> ByField:
    """Return the better of both shapes of about this diameter, within a tenth."""
    if len(radial) < 7 or not radial[1] > 0:
        return ByField(diameter_px, math.nan, False, math.inf)
    widths = [
        (g, k * diameter_px / (2 * (GAUSSIAN if g else HALF_WIDTH))) for g in (False, True) for k in (0.9, 1, 1.1)
    ]
    return min((_fit(radial, sigma, gaussian) for gaussian, sigma in widths), key=lambda fit: fit.misfit)


def _fit(radial: np.ndarray, sigma: float, gaussian: bool) -> ByField:
    """The fit of one shape and of broad Gaussians to an autocorrelation, from a distance of one pixel on."""
    r = np.arange(1, len(radial))
    shape = np.exp(-(r**2) / (4 * sigma**2)) if gaussian else _body(r / sigma)
    broad = [np.exp(-(r**2) / (2 * (width * sigma) ** 2)) for width in BROAD]
    columns = np.stack([shape, *broad, np.ones(len(r))], axis=1)
    weights, misfit = nnls(columns, radial[1:] / radial[1])
    width = 2 * (GAUSSIAN if gaussian else HALF_WIDTH) * float(sigma)
    return ByField(width, 1 - float(weights[0] * columns[0, 0]), gaussian, float(misfit))


def _body(r: np.ndarray) -> np.ndarray:
    """The autocorrelation of a flat-topped body with a darker nucleus at distances r [sigma], 1 at 0."""
    values = _body_autocorrelation()
    return np.interp(r * _BODY_PX, np.arange(len(values)), values, right=0.0)


_BODY_PX = 32


@cache
def _body_autocorrelation() -> np.ndarray:
    """As `_body`, at each thirty-second of a sigma up to 5."""
    side = 5 * _BODY_PX
    y, x = np.ogrid[-side : side + 1, -side : side + 1]
    r2 = (y**2 + x**2) / _BODY_PX**2
    image = np.where(r2 < 2.5**2, np.maximum(np.exp(-(r2**2) / 8) - 0.55 * np.exp(-2.5 * r2), 0), 0)
    spectrum = scipy.fft.rfft2(image, s=(4 * side, 4 * side))
    radial = radial_mean(np.fft.fftshift(scipy.fft.irfft2(np.abs(spectrum) ** 2)), side)
    return np.asarray(radial / radial[0])
