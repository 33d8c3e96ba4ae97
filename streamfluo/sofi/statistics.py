"""Moments and cumulants of a movie in two passes, the reference for `sofi`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import comb
from typing import Any

import numpy as np

from ..core.errors import FrameError
from .array_checks import as_stack, require
from .kernels.products import joint_cumulant

Frames = slice | Sequence[int] | None


def moments(stack: Any, order: int, frames: Frames = None, mean: Any = None) -> np.ndarray:
    """Return the central moments 1 … order (order, y, x), row n − 1 being ⟨(I − mean)^n⟩ [ADU^n].

    stack (t, y, x); `frames` is a slice, or (start, stop); `mean` (y, x) replaces the mean of these frames;
    without it moment 1 is zero. Two passes, in float64. Raises FrameError.
    """
    movie = _chosen(as_stack(stack, "moments"), frames)
    _require_order(order, "moments")
    centre = movie.mean(0, dtype=float) if mean is None else _image_like(mean, movie, "moments")
    delta = movie - centre
    power, result = np.ones_like(delta), np.zeros((order, *movie.shape[1:]))
    for n in range(1, order + 1):
        power *= delta
        if n > 1 or mean is not None:
            result[n - 1] = power.mean(0)
    return result


def cumulants_from_moments(moments: Any) -> np.ndarray:
    """Return the cumulants (order, …) of moments 1 … order (order, …), about any centre.

    k_n = m_n − Σ_{i=1}^{n−1} C(n−1, i) k_{n−i} m_i (Dertinger et al. 2009, PNAS 106:22287, eq. 8; Smith 1995,
    Am. Stat. 49:217).
    """
    m = np.asarray(moments, float)
    require(m.ndim >= 1 and len(m) > 0, f"cumulants_from_moments: moments are (order, …), found {m.shape}")
    k = m.copy()
    for n in range(2, len(m) + 1):
        for i in range(1, n):
            k[n - 1] -= comb(n - 1, i) * k[n - i - 1] * m[i - 1]
    return k


def cumulants(stack: Any, order: int, frames: Frames = None, mean: Any = None) -> np.ndarray:
    """Return the cumulants 1 … order (order, y, x) of δI, [ADU^n]; row 0 is zero without `mean`.

    Arguments as of `moments`.
    """
    return cumulants_from_moments(moments(stack, order, frames, mean))


def k_statistics(stack: Any, order: int = 4, frames: Frames = None) -> np.ndarray:
    """Return the unbiased estimates of cumulants 1 … order ≤ 4 (order, y, x) for independent frames, row 0 zero.

    Correlated frames bias them: k_2 of 32 frames of blinking with a correlation time of 5 frames is 22 % low.
    Fisher 1930, Proc. Lond. Math. Soc. 30:199. Raises FrameError for too few frames or a higher order.
    """
    movie = _chosen(as_stack(stack, "k_statistics"), frames)
    n = len(movie)
    require(1 <= order <= 4, f"k_statistics: defined to order 4, found order = {order}")
    require(n >= max(order, 2), f"k_statistics: order {order} needs as many frames, found {n}")
    m = moments(movie, order)
    k = np.zeros_like(m)
    if order >= 2:
        k[1] = n / (n - 1) * m[1]
    if order >= 3:
        k[2] = n**2 / ((n - 1) * (n - 2)) * m[2]
    if order >= 4:
        k[3] = n**2 * ((n + 1) * m[3] - 3 * (n - 1) * m[1] ** 2) / ((n - 1) * (n - 2) * (n - 3))
    return k


def lagged_cumulants(stack: Any, lags: Sequence[int], frames: Frames = None, mean: Any = None) -> np.ndarray:
    """Return the joint cumulants of I(t), I(t + τ_1) … (len(lags) − 1, y, x), row n − 2 of the first n lags [ADU^n].

    `lags` are counted from frame t, lags[0] = 0. The sum goes over every t with all lags inside; each factor is
    centred on its own mean there, or on `mean` (y, x). With distinct lags, noise independent between frames drops out.
    Raises FrameError.
    """
    movie, lags = _chosen(as_stack(stack, "lagged_cumulants"), frames), list(lags)
    good = len(lags) > 1 and lags[0] == 0 and min(lags) == 0 and all(isinstance(lag, int | np.integer) for lag in lags)
    require(good, f"lagged_cumulants: lags are two or more integers, the first 0, found {lags}")
    count = len(movie) - max(lags)
    require(count > 0, f"lagged_cumulants: a lag of {max(lags)} frames needs more frames than there are, {len(movie)}")
    factors = [movie[lag : lag + count].astype(float) for lag in lags]
    centres = [f.mean(0) if mean is None else _image_like(mean, movie, "lagged_cumulants") for f in factors]
    return np.stack(_joint([f - c for f, c in zip(factors, centres, strict=True)]))


def cross_cumulants(stack: Any, radius: int, frames: Frames = None) -> tuple[np.ndarray, np.ndarray]:
    """Return ⟨δI(p + s) δI(p − s)⟩ (pairs, y, x) [ADU²] and the offsets s (pairs, 2) as (y, x).

    One of s and −s each, up to `radius` along both axes; NaN where a pixel lies outside. Dertinger et al. 2010, Opt.
    Express 18:18875. Raises FrameError.
    """
    movie = _chosen(as_stack(stack, "cross_cumulants"), frames)
    height, width = movie.shape[1:]
    require(
        radius >= 1 and 2 * radius < min(height, width), f"cross_cumulants: radius = {radius} for {movie.shape[1:]}"
    )
    reach = range(-radius, radius + 1)
    offsets = [(y, x) for y in range(radius + 1) for x in reach if (y, x) > (0, 0)]
    delta = movie - movie.mean(0, dtype=float)
    images = np.full((len(offsets), height, width), np.nan)
    for image, (y, x) in zip(images, offsets, strict=True):
        inner = (slice(y, height - y), slice(abs(x), width - abs(x)))
        ahead = delta[:, 2 * y :, abs(x) + x : width - abs(x) + x]
        behind = delta[:, : height - 2 * y, abs(x) - x : width - abs(x) - x]
        image[inner] = (ahead * behind).mean(0)
    return images, np.array(offsets)


def _joint(factors: list[np.ndarray]) -> list[np.ndarray]:
    """Return the joint cumulants of the first 2, 3, … of centred factors (t, y, x)."""
    central = {}
    for k in range(1, len(factors) + 1):
        for chosen in combinations(range(len(factors)), k):
            product = factors[chosen[0]]
            for i in chosen[1:]:
                product = product * factors[i]
            central[sum(1 << i for i in chosen)] = product.mean(0)
    return [joint_cumulant(central, n) for n in range(2, len(factors) + 1)]


def _chosen(movie: np.ndarray, frames: Frames) -> np.ndarray:
    if frames is None:
        return movie
    where = frames if isinstance(frames, slice) else slice(*frames)
    chosen = movie[where]
    if not len(chosen):
        raise FrameError(f"frames = {frames} selects none of {len(movie)}")
    return chosen


def _image_like(mean: Any, movie: np.ndarray, what: str) -> np.ndarray:
    image = np.asarray(mean, float)
    require(image.shape == movie.shape[1:], f"{what}: mean is an image {movie.shape[1:]}, found {image.shape}")
    return image


def _require_order(order: int, what: str) -> None:
    require(isinstance(order, int) and 1 <= order <= 12, f"{what}: order is an integer 1 … 12, found {order!r}")
