"""The sign of a cumulant where there is light, and whether its bright places are light at all.

A two-state emitter that is on for a part ρ of the time has k3 ∝ 1 − 2ρ and k4 ∝ 1 − 6ρ + 6ρ²: negative above .5, and
from .21 to .79. k2 is never negative: it tells where there is light. The sign of a place is that of k_n weighted by
k2^(n/2), the shape of an emitter, within about a PSF; where there is none, that of the light beyond.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

SURE = 6  # standard deviations of the noise that light exceeds: noise alone reaches 5.1 in 10⁴ pixels
LEAST_LIGHT = 0.03  # of the brightest k2
FAR = 1e-9  # weight of all the light, where there is none within some PSFs
MOST_NOISE = 0.1  # of the bright places: emitters alone have at most .02, noise alone has at least .9
ONE_SIGN = 0.02  # of the light: less of the other sign is the noise of dim emitters
NEGATIVE_WHERE = {3: "on for more than half of the time", 4: "on for .21 to .79 of the time"}
NO_SIGNAL_AT = {3: " of .5", 4: " of .21 or .79"}


class Signed(NamedTuple):
    """Sign (y, x) ±1, where there is light (y, x), part of the light that is negative, of the bright places not light.

    The last two are NaN without light.
    """

    sign: np.ndarray
    lit: np.ndarray
    negative: float
    noise: float


def follow_sign(cumulant: np.ndarray, k2: np.ndarray, order: int, width: float) -> Signed:
    """Return where k_order is negative, from k2 of the same pixels (y, x); `width`: about the PSF's σ, in samples."""
    cumulant, light = np.nan_to_num(cumulant), np.nan_to_num(k2)
    low, dark = np.percentile(light, (2, 10))
    light = np.maximum(light - dark, 0)
    lit = light > max(SURE * (dark - low) / 0.77, LEAST_LIGHT * light.max())  # .77: of a Gaussian's quantiles
    if not lit.any():
        return Signed(np.ones(light.shape), lit, np.nan, np.nan)
    light = np.where(lit, light / light.max(), 0)
    weighted = cumulant * light ** (order / 2)
    sign = np.where(gaussian_filter(weighted, width) + FAR * weighted.mean() < 0, -1.0, 1.0)
    negative = float(light[sign < 0].sum() / light.sum())
    if not ONE_SIGN < negative < 1 - ONE_SIGN:
        sign[:] = 1 if negative <= ONE_SIGN else -1
    shown = np.maximum(sign * cumulant, 0) ** (1 / order)
    bright = shown > shown.max() / 2
    noise = float((~lit)[bright].mean()) if bright.any() else np.nan
    return Signed(sign, lit, negative, noise)


def sign_sentence(found: Signed, order: int) -> str:
    """Say what the sign is, and whether to doubt the image."""
    if not found.lit.any():
        return "doubtful: no light that blinks exceeds the noise, and bright places are noise"
    lower = "" if order == 2 else " or a lower order"
    if not found.noise <= MOST_NOISE:
        part = "all" if np.isnan(found.noise) else f"{found.noise:.0%}"
        return f"doubtful: of the bright places of order {order} {part} are noise; use more frames{lower}"
    if found.negative <= ONE_SIGN:
        return f"order {order} is positive where there is light"
    where, at = NEGATIVE_WHERE.get(order, "on for much of the time"), NO_SIGNAL_AT.get(order, "")
    if found.negative >= 1 - ONE_SIGN:
        return f"order {order} is negative where there is light, of emitters {where}: its absolute value is shown"
    return (
        f"doubtful: order {order} is negative in {found.negative:.0%} of the light and positive in the rest: on-ratios "
        f"differ, or are near one without signal{at}, or frames are too few; absolute values are shown, with gaps "
        "where signs meet and a brightness that is not the emitters'; order 2 has one sign"
    )
