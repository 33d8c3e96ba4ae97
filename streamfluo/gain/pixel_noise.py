"""The noise variance of each pixel in a series, and its standard error: the illumination's share, drift, the dark."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .kernels.bins import Array, sample
from .shared_noise import Measured, SharedNoise

MIN_FRAMES = 20
ROUNDING_ADU2 = 1 / 12  # the variance that rounding to integer ADU adds …
TRUSTED_DARK_ADU2 = 0.4  # … unless the noise is smaller than the quantisation step
# Prior on read² where it is unknown: 5 ± 5 e² covers CCD and sCMOS, .5 ± .5 e² those behind an EM register.
READ_E2, EM_READ_E2 = 5.0, 0.5
DRIFT = 1.1
PILED_UP_PART = 0.1  # of dark pixels
COMMON_PLAIN, COMMON_STEPS = (
    4.0,
    6.0,
)  # variance of what noise and illumination have in common, of a variance and of steps


@dataclass(frozen=True)
class Pixels:
    """The statistics of each pixel (p,) over a series, and of the totals of its frames.

    `mean` [ADU]; `variance` and `steps_variance` (half the mean squared step from frame to frame) [ADU²];
    `total_variance`, `total_steps_variance` the same of the totals; `saturated`: which pixels ever were; `rounded`:
    whether grey values are integers; `common`: b of `Noise.scalars` if flicker is subtracted already; `piled_up`: the
    fraction of pixels cut off at their lowest value, `lowest` [ADU] of most; `shared`: what pixels have in common;
    `effects`: of that, by name, where it is subtracted already; `excess_noise`: of the camera; `top_adu`: the highest
    value, `tops` whether pixels saturate there.
    """

    mean: Array
    variance: Array
    steps_variance: Array
    total_variance: float
    total_steps_variance: float
    frames: int
    pairs: int
    saturated: np.ndarray
    rounded: bool = True
    common: float = 0.0
    piled_up: float = 0.0
    lowest: float = np.nan
    shared: SharedNoise | None = None
    effects: tuple[tuple[str, Measured], ...] = ()
    excess_noise: float = 1.0
    top_adu: float = np.nan
    tops: bool = False

    def at(self, some: np.ndarray) -> Pixels:
        """Return the statistics of some pixels, a mask (p,); those of the totals are the same."""
        arrays = {n: getattr(self, n)[some] for n in ("mean", "variance", "steps_variance", "saturated")}
        return replace(self, **arrays)


@dataclass(frozen=True)
class Dark:
    """The camera without light: `offset` [ADU] and `variance` [ADU²] of each pixel (p,) or of all.

    `frames`: the number of dark frames behind a map; 0: it counts as exact. `jitter2`: the variance of the frames'
    means [ADU²] beyond that of their pixels' noise. `wrong`: why these cannot be raw dark frames.
    """

    offset: Array | float
    variance: Array | float | None = None
    frames: int = 0
    jitter2: float = 0.0
    wrong: str = ""

    def at(self, some: np.ndarray) -> Dark:
        """Return what is known of some pixels, a mask (p,)."""
        maps = {n: v[some] for n in ("offset", "variance") if isinstance(v := getattr(self, n), np.ndarray) and v.ndim}
        return replace(self, **maps)


def dark_of_pixels(pixels: Pixels) -> Dark:
    """Return the camera without light from the statistics of dark frames."""
    noise = float(np.nansum(pixels.variance))
    jitter2 = (pixels.total_variance - noise) / max(pixels.mean.size, 1) ** 2
    error = noise / max(pixels.mean.size, 1) ** 2 * np.sqrt(2 / max(pixels.frames - 1, 1))
    wrong = ""
    if pixels.piled_up > PILED_UP_PART:
        wrong = (
            f"the dark frames pile up at {pixels.lowest:g} ADU in {pixels.piled_up:.0%} of the pixels: their offset "
            "was subtracted, or they are cut off; give them raw"
        )
    return Dark(pixels.mean, pixels.variance, pixels.frames, jitter2 if jitter2 > 4 * error else 0.0, wrong)


def spread(values: Array | None, seen: np.ndarray) -> Array | None:
    """Return values of the seen pixels as values of all (p,), NaN or False where nothing was seen; None for None."""
    if values is None:
        return None
    out = np.full(seen.shape, False if values.dtype == bool else np.nan, values.dtype)
    out[seen] = values
    return out


class Noise:
    """The variance of the noise, and its own: that of the series, or of its steps where the light drifts.

    x (p,) is the mean above the dark offset, or above 0; the dark level is the x without light. `variance` (p,),
    `above` without that of the dark; `dark` the mean dark variance and `floor_known` whether it can be trusted;
    `rounding` the variance of rounding; `dof` degrees of freedom; `offset_error` [ADU²] of a dark map.
    """

    def __init__(self, pixels: Pixels, dark: Dark | None, x: Array, dark_level: float) -> None:
        self._frames, self._x = pixels.frames, x
        f = pixels.excess_noise  # third and fourth cumulant of light behind a register of gamma distributed gains
        self.third, self._fourth = (2 * f - 1) / f, (2 * f - 1) * (3 * f - 2) / f**2 / pixels.frames
        self.likely_read_e2 = READ_E2 if f == 1 else EM_READ_E2 / f**2
        self.rounding = ROUNDING_ADU2 if pixels.rounded else 0.0
        known = dark.variance if dark else None
        self.floor_known = known is not None and (not pixels.rounded or bool(np.median(known) >= TRUSTED_DARK_ADU2))
        self.dark_variance: Array | float = known if self.floor_known and known is not None else 0.0
        self.dark = float(np.mean(self.dark_variance))
        self.offset_error = self.dark / dark.frames if dark and dark.frames else 0.0
        self._dark_error = 2 * self.dark**2 / (dark.frames - 1) if dark and dark.frames > 1 else 0.0
        self.steps = self._drifts(pixels, dark_level)
        n = pixels.pairs if self.steps else pixels.frames
        self.dof = 2 * n * n / (3 * n - 1) if self.steps else n - 1.0
        self._common = COMMON_STEPS if self.steps else COMMON_PLAIN
        self.variance = pixels.steps_variance if self.steps else pixels.variance
        self.above = self.variance - self.dark_variance
        self._plain, self._known_common = pixels.variance, pixels.common
        self._count(pixels)

    def light_mean(self, dark_level: float) -> float:
        """Mean of x above the dark level."""
        return self._sum_x / self._lit - dark_level

    def flicker2(self, dark_level: float) -> float:
        """Relative variance of the illumination: Var(totals) = flicker² (Σm)² + Σ noise; each pixel has flicker² m²."""
        return self._illumination(self._excess, dark_level)

    def step_flicker2(self, dark_level: float) -> float:
        """The same of the steps from frame to frame."""
        return self._illumination(self._step_excess, dark_level)

    def scalars(self, dark_level: float) -> tuple[float, float, float, float, float]:
        """Return (flicker², a, b, s, c): the variance of a variance v is a v² + b light² v + s slope³ light + c.

        a is that of the noise, larger where the light changes in the series; b is the cross term with the illumination,
        s the fourth cumulant of light.
        """
        flicker2, plain = self.flicker2(dark_level), max(self._illumination(self._plain_excess, dark_level), 0.0)
        common = self._known_common + self._common * max(flicker2, 0.0) / self._frames
        return flicker2, 2 / self.dof * (1 + plain), common, self._fourth, self._dark_error

    def of_variance(self, level: Array, dark_level: float, x: Array, slope: float) -> Array:
        """Variance of pixels' variances `level` at x, where they grow by `slope` per ADU."""
        _, own, common, shot, dark = self.scalars(dark_level)
        light = x - dark_level
        return own * level**2 + common * light**2 * level + shot * slope**3 * np.maximum(light, 0) + dark

    def flicker2_error(self, dark_level: float) -> float:
        """Standard error of flicker²: of the noise in the frames' totals."""
        noise = float(np.sum(self.variance, where=np.isfinite(self.variance)))
        relative = noise / max(self._lit * abs(self.light_mean(dark_level)), 1e-9) ** 2
        return float(np.sqrt((4 * max(self.flicker2(dark_level), 0.0) * relative + 2 * relative**2) / self._frames))

    def change(self, used: np.ndarray, dark_level: float) -> tuple[float, float]:
        """The variance of the series beyond that of its steps, relative, and its standard error, over `used` (p,)."""
        light2 = float(np.sum((self._x - dark_level) ** 2, where=used))
        plain = float(np.sum(self._plain, where=used)) - self._illumination(self._plain_excess, dark_level) * light2
        steps = float(np.sum(self._step, where=used)) - self._illumination(self._step_excess, dark_level) * light2
        common = 4 * max(self._illumination(self._plain_excess, dark_level), 0.0) * light2 / max(steps, 1e-30)
        return plain / steps - 1, float(np.sqrt((1 + common) / self._frames / max(used.sum(), 1)))

    def moving(self, dark_level: float, limit_sd: float) -> np.ndarray:
        """Which pixels (p,) vary more over the series than from frame to frame, the illumination's share apart."""
        if self.steps or not self._pairs >= MIN_FRAMES:
            return np.zeros(self._x.size, bool)
        common = COMMON_PLAIN * max(self.flicker2(dark_level), 0.0) * (self._x - dark_level) ** 2 / self._plain
        return np.asarray(self._plain > (1 + limit_sd * np.sqrt((1 + common) / self._frames)) * self._step)

    def _drifts(self, pixels: Pixels, dark_level: float) -> bool:
        """Whether the light drifts, so that steps between frames estimate the noise better than the variance."""
        slow = pixels.total_variance - pixels.total_steps_variance
        if pixels.pairs < MIN_FRAMES or pixels.total_variance < DRIFT * pixels.total_steps_variance:
            return False
        light = max(float(np.sum(self._x - dark_level)), 1e-9)
        share = slow / light**2 * np.median(sample(self._x - dark_level)) ** 2
        return bool(share > 1e-3 * np.median(sample(pixels.steps_variance)))

    def _count(self, pixels: Pixels) -> None:
        finite = np.isfinite(pixels.variance) & np.isfinite(self._x)
        columns = (self._x, pixels.variance, pixels.steps_variance)
        x, plain, step = columns if finite.all() else (column[finite] for column in columns)
        self._pairs, self._step = pixels.pairs, pixels.steps_variance
        self._plain_excess = pixels.total_variance - float(plain.sum())
        self._step_excess = pixels.total_steps_variance - float(step.sum())
        self._excess = self._step_excess if self.steps else self._plain_excess
        self._lit, self._sum_x, self._sum_x2 = x.size, float(x.sum()), float(x @ x)

    def _illumination(self, excess: float, dark_level: float) -> float:
        n = self._lit
        squares = self._sum_x2 - 2 * dark_level * self._sum_x + n * dark_level * dark_level
        flicker2 = excess / ((n * self.light_mean(dark_level)) ** 2 - squares)
        return float(flicker2) if np.isfinite(flicker2) else 0.0
