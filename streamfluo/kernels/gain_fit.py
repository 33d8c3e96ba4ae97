"""The photon transfer fit: gain with its interval from the mean and the variance of many pixels.

Var [ADU²] = (mean − offset) / K + read² of each pixel, K in e/ADU (Janesick 2007, Photon Transfer; EMVA 1288).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .gain_bins import Array, sample
from .photon_transfer import bin_pixels, deviations, excess_scatter, own_gains

MIN_FRAMES, MIN_PIXELS = 20, 100
BINS = 256
ROUNDS, SETTLED = 30, 1e-9  # a lamp that flickers by 5 % takes 20 rounds, a steady one 3
MAX_ERROR = 0.02  # a gain that is not known to 2 % (one standard error) is not known
Z95 = 1.96
CLIP_SD = 6.0
ROUNDING_ADU2 = 1 / 12  # what rounding to whole ADU adds to a variance …
TRUSTED_DARK_ADU2 = 0.4  # … unless the noise is so small that it hides in the steps
SEEN_NOISE_ADU2 = 0.15
READ_E2 = 5.0  # read² where nothing tells it: 5 ± 5 e² holds CCD and sCMOS alike
SCATTER_SD = 5.0  # an excess of so many standard errors: pixels have gains of their own
SCATTER_TILT = 0.1  # error of the line's foot where they have, in squares of their scatter (measured .09 at 15 %)
DRIFT = 1.1
MOVING_PART = 0.2
CURVED = 0.1


@dataclass(frozen=True)
class Pixels:
    """What a series tells of each pixel (p,), and of its frames' totals.

    `mean` [ADU]; `variance` and `steps_variance` (half the mean squared step from frame to frame) [ADU²];
    `total_variance`, `total_steps_variance` the same of the totals; `saturated` pixels ever were.
    """

    mean: Array
    variance: Array
    steps_variance: Array
    total_variance: float
    total_steps_variance: float
    frames: int
    pairs: int
    saturated: np.ndarray


@dataclass(frozen=True)
class Dark:
    """What is known without light: `offset` [ADU] and `variance` [ADU²] of each pixel (p,) or of all."""

    offset: Array | float
    variance: Array | float | None = None


@dataclass(frozen=True)
class PhotonTransfer:
    """A gain [e/ADU] with its 95 % interval, and what stands behind it.

    `reason` says why there is none ('' where there is); `notes` what was corrected for. The line is
    variance = intercept + slope · mean. `variance` (p,) is what a pixel has without the lamp's share, `gains` (p,) its
    own gain, `used` (p,) whether it was taken for the line. `flicker` and `scatter` are relative standard deviations,
    of the lamp and of the gains; `read_variance` [ADU²] is without that of rounding.
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
    variance: Array | None = None
    gains: Array | None = None
    used: np.ndarray | None = None


@dataclass
class _Line:
    """floor + slope · x, with the covariance of (floor, slope, foot)."""

    floor: float
    slope: float
    covariance: Array

    def at(self, x: Array) -> Array:
        return self.floor + self.slope * x


def fit_photon_transfer(pixels: Pixels, dark: Dark | None = None) -> PhotonTransfer:
    """Return the gain of a camera from one series under steady light; `dark` is what is known of it without light.

    A weighted straight line through variance against mean; what noise in the mean does to it is subtracted from the
    normal equations, a flickering or drifting lamp by the variance of the totals. Where pixels differ in gain it is
    the mean over pixels of (mean − offset) / (variance − floor), which estimates the median of their gains.
    """
    used = ~pixels.saturated & np.isfinite(pixels.mean) & (pixels.variance > 0)
    if pixels.frames < MIN_FRAMES:
        return PhotonTransfer(f"{pixels.frames} frames are too few; take {MIN_FRAMES} at least")
    if np.mean(pixels.saturated) > 0.5:
        return PhotonTransfer(f"{np.mean(pixels.saturated):.0%} of the pixels saturate; take less light")
    if used.sum() < MIN_PIXELS:
        return PhotonTransfer(f"{used.sum()} pixels with noise are too few; take {MIN_PIXELS} at least, and more light")
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return _Fit(pixels, dark, used).result()


class _Fit:
    """One fit. x is the mean above the dark offset (above 0 where there is none), y the variance above the dark one;
    `foot` is the x without light."""

    def __init__(self, pixels: Pixels, dark: Dark | None, used: np.ndarray) -> None:
        self.pixels, self.dark, self.used = pixels, dark, used
        self.notes: list[str] = []
        self.x = pixels.mean - (dark.offset if dark else 0.0)
        self.foot = 0.0 if dark else float(np.percentile(self._some(self.x), 1))
        variance = dark.variance if dark else None
        self.floor_known = variance is not None and bool(np.median(variance) >= TRUSTED_DARK_ADU2)
        self.dark_variance = variance if self.floor_known and variance is not None else 0.0
        self.dark_level = float(np.mean(self.dark_variance))
        self.rejected = 0.0
        steps = self._drifts()
        if steps:
            self.notes.append("the light drifts or changes: variances are those of steps from frame to frame")
        n = pixels.pairs if steps else pixels.frames
        self.variance = pixels.steps_variance if steps else pixels.variance
        self.above = self.variance - self.dark_variance
        self.dof = 2 * n * n / (3 * n - 1) if steps else n - 1.0
        self._count_lamp(pixels.total_steps_variance if steps else pixels.total_variance)

    def result(self) -> PhotonTransfer:
        reason = self._no_light()
        line = None if reason else self._settled()
        if line is not None and self._reject_outliers(line):
            line = self._settled()
        if line is None or not line.slope > 0:
            return self._undetermined(reason or self._too_even())
        scatter = self._scatter(line)
        gains = self._gains(line, scatter)
        gain, error = 1 / line.slope, float(np.sqrt(line.covariance[1, 1])) / line.slope
        if scatter:
            self.notes.append(f"the pixels' own gains scatter by {scatter:.1%}")
            gain, error = self._typical(gains, line, scatter)
        reason = self._doubts(line, error, scatter)
        if reason:
            return self._undetermined(reason)
        zero = float(np.median(sample(np.asarray(self.dark.offset).reshape(-1)))) if self.dark else 0.0
        return PhotonTransfer(
            notes=tuple(self.notes),
            gain=gain,
            interval=(gain * (1 - Z95 * error), gain * (1 + Z95 * error)),
            slope=line.slope,
            intercept=line.floor + self.dark_level - line.slope * zero,
            read_variance=self._read_variance(line),
            flicker=float(np.sqrt(max(self.flicker2, 0.0))),
            scatter=scatter,
            variance=self.variance - self.flicker2 * (self.x - self.foot) ** 2,
            gains=gains,
            used=self.used,
        )

    def _undetermined(self, reason: str) -> PhotonTransfer:
        return PhotonTransfer(reason, tuple(self.notes), flicker=float(np.sqrt(max(self.flicker2, 0.0))))

    # The lamp

    def _drifts(self) -> bool:
        """Whether the light changes slowly, so that steps between frames know more of the noise than the variance."""
        pixels = self.pixels
        slow = pixels.total_variance - pixels.total_steps_variance
        if pixels.pairs < MIN_FRAMES or pixels.total_variance < DRIFT * pixels.total_steps_variance:
            return False
        light = max(float(np.sum(self.x - self.foot)), 1e-9)
        share = slow / light**2 * np.median(sample(self.x - self.foot)) ** 2
        return bool(share > 1e-3 * np.median(sample(pixels.steps_variance)))

    def _count_lamp(self, total_variance: float) -> None:
        finite = np.isfinite(self.variance) & np.isfinite(self.x)
        x, variance = (self.x, self.variance) if finite.all() else (self.x[finite], self.variance[finite])
        self.excess = total_variance - float(variance.sum())
        self.lit_pixels, self.sum_x, self.sum_x2 = x.size, float(x.sum()), float(x @ x)

    @property
    def light_mean(self) -> float:
        """Mean of x above the foot."""
        return self.sum_x / self.lit_pixels - self.foot

    @property
    def flicker2(self) -> float:
        """Relative variance of the lamp: Var(totals) = flicker² (Σm)² + Σ noise, flicker² m² of it in each pixel."""
        n, foot = self.lit_pixels, self.foot
        squares = self.sum_x2 - 2 * foot * self.sum_x + n * foot * foot
        flicker2 = self.excess / ((n * self.light_mean) ** 2 - squares)
        return float(flicker2) if np.isfinite(flicker2) else 0.0

    # The line

    def _settled(self) -> _Line | None:
        """Go round line, lamp's share and foot until they agree; None where the data tell no slope."""
        low, high = np.percentile(self._some(self.x), (0.2, 99.8))
        self.sums = self._binned(self.used, low, high)
        line = None
        for _ in range(ROUNDS):
            before, foot = line, self.foot
            line = self._solve(self.sums, before)
            if line is None:
                return None
            moved = abs(line.slope - before.slope) / abs(line.slope) if before is not None else np.inf
            if max(moved, abs((self.foot - foot) * self.flicker2)) <= SETTLED:
                break
        return line

    def _binned(self, used: np.ndarray, low: float, high: float) -> Array:
        sums = np.zeros((BINS, 6))
        bin_pixels(self.x, self.above, used, low, max(high, low + 1e-9), sums)
        return sums[sums[:, 0] > 0]

    def _solve(self, sums: Array, before: _Line | None) -> _Line | None:
        """Weighted normal equations of (floor, slope, change of the foot), noise in x taken out, priors put in."""
        flicker2, frames = self.flicker2, self.pixels.frames
        n, x = sums[:, 0], sums[:, 1] / sums[:, 0]
        light, within = x - self.foot, sums[:, 3] - n * x * x
        y = (sums[:, 2] - flicker2 * (n * light * light + within)) / n
        level = (y if before is None else before.at(x)) + self.dark_level
        level = np.maximum(level, 1e-2 * np.average(y + self.dark_level, weights=n))
        weight = 1 / self._noise2(level, light)
        bend = 2 * flicker2 * light * (light / self.light_mean - 1)  # of the lamp's share, per ADU of the foot
        columns = np.stack([np.ones_like(x), x, bend])
        normal, right = (columns * (weight * n)) @ columns.T, columns @ (weight * n * y)
        slope = np.float64(before.slope if before is not None else right[1] / normal[1, 1])
        joint = sums[:, 4] - x * sums[:, 2] - 2 * flicker2 * light * within
        normal[1, 1] += weight @ (within - n * level / frames)
        right[1] += weight @ (joint - n * np.maximum(light, 0) * slope**2 / frames)
        self._add_priors(normal, right, slope, float(np.average(x, weights=n)), float(np.average(y, weights=n)))
        scale = 1 / np.sqrt(np.maximum(np.diag(normal), 1e-300))
        scaled = normal * np.outer(scale, scale)
        if not np.isfinite(scaled).all() or normal[1, 1] <= 0 or np.linalg.eigvalsh(scaled)[0] < 1e-13:
            return None
        covariance = np.linalg.inv(scaled) * np.outer(scale, scale)
        floor, slope, change = covariance @ right
        if self.dark is None:
            most = 0.2 * abs(self.light_mean)
            self.foot += float(np.clip(change, -most, most))
        return _Line(floor, slope, covariance)

    def _add_priors(self, normal: Array, right: Array, slope: float, x: float, y: float) -> None:
        """What dark frames, or the read noise that cameras have, tell of floor and foot."""
        read = max(READ_E2 * slope**2, 1e-6)
        if self.dark is not None:
            expected, sd = (0.0, 0.02 + 1e-3 * self.dark_level) if self.floor_known else (ROUNDING_ADU2 + read, read)
            normal[0, 0] += 1 / sd**2
            right[0] += expected / sd**2
            normal[2, 2] += 1.0  # the foot stays where it is
            return
        sd = max(READ_E2 * abs(slope), 1e-6)
        bottom = x - y / slope if slope > 0 else self.foot
        normal[2, 2] += 1 / sd**2
        right[2] += (bottom + sd - self.foot) / sd**2

    def _noise2(self, level: Array, light: Array) -> Array:
        """Variance of a pixel's variance: its noise's own, and what noise and lamp have in common."""
        return 2 * level**2 / self.dof + 4 * max(self.flicker2, 0.0) * light**2 * level / self.pixels.frames

    # Pixels that do not belong, or that have gains of their own

    def _facts(self, line: _Line) -> tuple[float, ...]:
        common = 4 * max(self.flicker2, 0.0) / self.pixels.frames
        return float(line.floor), float(line.slope), self.foot, self.flicker2, 2 / self.dof, common

    def _reject_outliers(self, line: _Line) -> bool:
        """Leave out pixels whose variance is not that of light, or differs from that of their steps."""
        pixels, z = self.pixels, np.empty_like(self.x)
        plain = pixels.pairs >= MIN_FRAMES and self.variance is pixels.variance
        steps = pixels.steps_variance if plain else self.variance
        most = CLIP_SD / np.sqrt(pixels.frames)
        deviations(self.x, self.above, self.variance, steps, most, self.dark_level, *self._facts(line), z)  # type: ignore[call-arg]
        spread = max(1.0, 1.4826 * float(np.median(self._some(z))))
        wrong = self.used & (z > CLIP_SD * spread)
        count = int(wrong.sum())
        self.rejected = count / max(int(self.used.sum()), 1)
        if count:
            self.notes.append(f"{count} pixels left out: they vary otherwise than light does")
            self.used &= ~wrong
        return count > 0

    def _scatter(self, line: _Line) -> float:
        """Relative sd of the pixels' gains, from the brighter half; 0 where it is not significant."""
        middle = float(np.median(self._some(self.x)))
        found = excess_scatter(self.x, self.above, self.used, middle, self.dark_level, *self._facts(line))
        n, excess, expected = found
        error = (expected + max(excess, 0.0)) * np.sqrt(2 / max(n, 1))
        return float(np.sqrt(excess)) if excess > SCATTER_SD * error and excess > 1e-4 else 0.0

    def _gains(self, line: _Line, scatter: float) -> Array:
        """Each pixel's own gain, NaN where its light's noise is below 3 standard errors; its noise is √(2/N)."""
        shift = floor = 0.0
        if not self.floor_known:
            lower = self._lower_line(line) if scatter else line  # gains sort pixels by brightness at its upper end
            shift, floor = (lower.floor / lower.slope, 0.0) if self.dark is None else (0.0, lower.floor)
        gains = np.empty_like(self.x)
        own_gains(self.x, self.above, shift, floor, self.dark_level, *self._facts(line), gains)  # type: ignore[call-arg]
        gains[self.pixels.saturated] = np.nan
        return gains

    def _lower_line(self, line: _Line) -> _Line:
        low, high = np.percentile(self._some(self.x), (1, 80))
        return self._solve(self._binned(self.used & (self.x >= low) & (self.x <= high), low, high), line) or line

    def _typical(self, gains: Array, line: _Line, scatter: float) -> tuple[float, float]:
        """The mean of the pixels' gains within 5 robust sd, and its relative standard error."""
        known = gains[self.used & np.isfinite(gains)]
        if len(known) < MIN_PIXELS:
            return np.nan, np.inf
        centre = np.median(known)
        kept = known[np.abs(known - centre) < 5 * 1.4826 * np.median(np.abs(known - centre))]
        gain, foot, tilt = float(kept.mean()), 0.0, 0.0
        if not self.floor_known:
            foot = np.sqrt(line.covariance[0, 0]) * float(np.mean(1 / line.at(self._some(self.x))))
            tilt = SCATTER_TILT * scatter**2
        return gain, float(np.sqrt(kept.var() / len(kept) / gain**2 + foot**2 + tilt**2))

    def _some(self, values: Array) -> Array:
        """Values of some of the pixels used, for percentiles."""
        some = sample(values)[sample(self.used)]
        return some if len(some) >= 10 * MIN_PIXELS else values[self.used]

    # Whether it can be known

    def _no_light(self) -> str:
        if self.dark is None:
            return ""
        noise = np.sqrt(np.median(self._some(self.pixels.variance)) / self.pixels.frames)
        lit = np.median(self._some(self.x)) > 3 * noise
        return "" if lit else "the light is no brighter than the dark: check which is which"

    def _too_even(self) -> str:
        if self.dark is None:
            return "the light is too even to tell gain from offset; give dark frames or the offset, or graded light"
        return "the variance does not grow with the mean"

    def _doubts(self, line: _Line, error: float, scatter: float) -> str:
        x = self._some(self.x)
        noise2 = float(np.median(line.at(x))) + self.dark_level
        if noise2 < SEEN_NOISE_ADU2:
            return f"the noise, {np.sqrt(max(noise2, 0)):.2g} ADU, is hidden by rounding to whole ADU; take more light"
        if self.rejected > MOVING_PART:
            return f"{self.rejected:.0%} of the pixels vary otherwise than light does; take an even, still sample"
        if not error <= MAX_ERROR:
            if self.dark is None and np.std(x) < np.sqrt(noise2):
                return self._too_even()
            return f"too few frames or electrons: the standard error is {error:.1%}, {MAX_ERROR:.0%} is asked for"
        bend = 0.0 if scatter else self._bend(line)
        if bend > CURVED:
            return f"variance against mean is no straight line, {bend:.0%} off; is the light steady, the camera linear?"
        return ""

    def _bend(self, line: _Line) -> float:
        """How far tenths of the pixels, by brightness, lie off the line beyond their noise."""
        n, x = self.sums[:, 0], self.sums[:, 1] / self.sums[:, 0]
        off = self.sums[:, 2] - n * (line.at(x) + self.flicker2 * (x - self.foot) ** 2)
        part = np.minimum((np.cumsum(n) - n) * 10 // n.sum(), 9).astype(int)
        weights = (n, off, n * (line.at(x) + self.dark_level))
        pixels, off, level = np.array([np.bincount(part, weight, 10) for weight in weights])
        there = pixels > 0
        noise = np.sqrt(2 / self.dof / pixels[there])
        return max(float(np.max(np.abs(off[there] / level[there]) - 4 * noise)), 0.0)

    def _read_variance(self, line: _Line) -> float:
        """Read noise [ADU²] without that of rounding, NaN where nothing tells it."""
        if self.dark is None:
            return np.nan
        if self.floor_known:
            variance = np.asarray(self.dark_variance).reshape(-1)
            return max(float(np.median(sample(variance))) - ROUNDING_ADU2, 0.0)
        read = line.floor - ROUNDING_ADU2
        return read if read > 4 * np.sqrt(line.covariance[0, 0]) else np.nan
