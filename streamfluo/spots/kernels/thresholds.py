"""The matched filter of spot detection, and the thresholds at which noise exceeds it at the stated rate."""

import math
from functools import lru_cache

import numpy as np

TABLE_FIRST, TABLE_STEP, TABLE_LENGTH = -6.0, 0.5, 40  # of ln λ: the columns of the threshold table
LEAST_LEVEL, USUAL_LEVEL, LEVEL_ERROR = 1.0, 4.0, 1e-13  # noise σ
SHARE_FIRST, SHARE_STEP, SHARES = 0.1, 0.18, 6  # of the variance that is shot noise: its rows


def box_reach(sigma_px: float) -> int:
    """Return the reach of the box [px], a power of two of at least 5 σ."""
    return int(2 ** math.ceil(math.log2(max(4.0, 5 * sigma_px))))


def gaussian_weights(sigma_px: float) -> np.ndarray:
    """Return the weights of a Gaussian filter from its centre on (k,) float32; the mirrored sum is 1."""
    reach = math.ceil(3 * sigma_px)
    weights = np.exp(-0.5 * (np.arange(reach + 1) / sigma_px) ** 2)
    return (weights / (2 * weights.sum() - weights[0])).astype(np.float32)


def squares_along(weights: np.ndarray, length: int) -> np.ndarray:
    """Return Σ G² along an axis for each of its pixels (length,); pixels beyond the border repeat the last."""
    reach = len(weights) - 1
    short = min(length, 2 * len(weights))  # both borders; between them the sum is constant
    matrix = np.zeros((short, short))
    for k in range(-reach, reach + 1):
        matrix[np.arange(short), np.clip(np.arange(short) + k, 0, short - 1)] += weights[abs(k)]
    squares = (matrix**2).sum(1)
    half = short // 2
    return np.concatenate([squares[:half], np.full(length - short, squares[half]), squares[half:]])


@lru_cache(maxsize=64)
def thresholds(sigma_px: float, rate: float, excess_noise: float = 1.0) -> np.ndarray:
    """Return the threshold table, in noise σ, at which a pixel is detected with the probability `rate`.

    A Gaussian field sampled on pixels has a local maximum above u with a probability that follows from the correlation
    of neighbours (Taylor, Worsley & Gosselin 2007, Biometrika 94:1). With Poisson light λ and Gaussian noise the tail
    of q beyond x is that of a Gaussian beyond r + ln(w / r) / r, r and w from the saddle point (Lugannani & Rice 1980).
    The table holds the x where that is u: rows by the share s of light in the variance, columns by ln(λ / s³), of the
    light that alone has the same skewness; the last column is u. An EM register multiplies each electron by a number
    of mean 1 and variance F − 1, gamma distributed, F the excess noise; F = 1: Poisson light.
    """
    weights, reach = gaussian_weights(sigma_px), box_reach(sigma_px)
    full = np.concatenate([weights[:0:-1], weights]).astype(float)
    side = max(2 * reach + 1, len(full))
    kernel = np.zeros((side, side))
    low = (side - len(full)) // 2
    kernel[low : low + len(full), low : low + len(full)] = np.outer(full, full)
    edge = (side - 2 * reach - 1) // 2
    kernel[edge : side - edge, edge : side - edge] -= 1 / (2 * reach + 1) ** 2
    level = _level(float((kernel[:, 1:] * kernel[:, :-1]).sum() / (kernel**2).sum()), rate)
    h, count = np.unique(np.round(kernel, 9), return_counts=True)
    share = [SHARE_FIRST + j * SHARE_STEP for j in range(SHARES)]
    skewness = [math.exp(TABLE_FIRST + k * TABLE_STEP) for k in range(TABLE_LENGTH)]
    light = np.array([[value * part**3 for value in skewness] for part in share])
    noise = excess_noise * light * (1 / np.array(share)[:, None] - 1)
    table = np.full((SHARES, TABLE_LENGTH + 1), level)
    table[:, :-1] = _saddle((h, count), light.ravel(), noise.ravel(), excess_noise, level).reshape(light.shape)
    table.flags.writeable = False
    return table


def _level(correlation: float, rate: float) -> float:
    """Return the u ≥ 1 above which a pixel is a local maximum with the probability `rate`, below .01.

    By secants of ln P over u², which is nearly straight: seven take a tenth of the time of bisections.
    """
    before, level = LEAST_LEVEL, USUAL_LEVEL
    ratio = math.log(_tail(correlation, before) / rate)
    if ratio <= 0:
        return before
    while abs(level - before) > LEVEL_ERROR:
        last, ratio = ratio, math.log(_tail(correlation, level) / rate)
        if ratio == last:
            break
        square = level**2 - ratio * (level**2 - before**2) / (ratio - last)
        before, level = level, math.sqrt(max(LEAST_LEVEL**2, square))
    return level


def _tail(correlation: float, level: float) -> float:
    """Return ∫_level^∞ φ(z) Q(z)² dz, Q the probability that neither neighbour along an axis is higher."""
    z = level + np.linspace(0, 4, 400)
    ratio = math.sqrt((1 - correlation) / (1 + correlation))
    theta = np.linspace(1e-3, math.asin(math.sqrt((1 - correlation**2) / 2)), 200)
    beyond = np.array([0.5 * math.erfc(ratio * value / math.sqrt(2)) for value in z])
    both = np.trapezoid(np.exp(-0.5 * (ratio * z[:, None] / np.sin(theta)) ** 2), theta, axis=1) / math.pi
    q = 1 - 2 * beyond + both
    return float(np.trapezoid(q**2 * np.exp(-0.5 * z**2), z) / math.sqrt(2 * math.pi))


def _saddle(
    weights: tuple[np.ndarray, np.ndarray], light: np.ndarray, variance: np.ndarray, excess: float, level: float
) -> np.ndarray:
    """Return the x (n,) [noise σ] whose tails are a Gaussian's beyond `level`, of each light and variance (n,).

    weights: h, and how often each occurs.
    """
    h, count = weights
    squares = float((count * h**2).sum())
    noise = np.sqrt((excess * light + variance) * squares)
    spread = excess - 1  # of an electron; its moments exist up to s · h · spread = 1
    most = min(600.0 / h.max(), (1 - 1e-9) / (h.max() * spread) if spread else math.inf)
    low, high, x = np.zeros(len(light)), np.minimum(60.0 / noise, most), np.zeros(len(light))
    for _ in range(45):
        s = (low + high) / 2
        along = s[:, None] * h
        less = 1 - (spread * s)[:, None] * h
        grown = less ** (-1 / spread) if spread else np.exp(along)
        cumulant = light * (count * (grown - 1 - along)).sum(1) + variance * s**2 * squares / 2
        x = light * (count * h * (grown / less - 1)).sum(1) + variance * s * squares
        curvature = light * (count * h**2 * excess * grown / less**2).sum(1) + variance * squares
        r = np.sqrt(np.maximum(2 * (s * x - cumulant), 1e-300))
        under = r + np.array([math.log(v) for v in (s * np.sqrt(curvature) / r).tolist()]) / r < level
        low, high = np.where(under, s, low), np.where(under, high, s)
    return x / noise
