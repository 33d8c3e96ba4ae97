"""The photon transfer fit: gain with its interval from the mean and the variance of many pixels.

Var [ADU²] = (mean − offset) / K + read² of each pixel, K in e/ADU (Janesick 2007, Photon Transfer; EMVA 1288).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .doubts import CURVED, NEIGHBOURS_SHARE, Effects, allowed, curvature, refused, shared_effects
from .kernels.bins import Array, sample
from .kernels.photon_transfer import VarianceModel, bin_pixels, deviations, excess_scatter, per_pixel_gains
from .line import NEIGHBOURS, Blocks, Line, blocks_of
from .pixel_noise import MIN_FRAMES, Dark, Noise, Pixels, spread
from .shared_noise import Measured
from .transfer import MIN_PIXELS, Z95, PhotonTransfer, typical_gain

BINS = 256
ROUNDS, SETTLED = 30, 1e-9  # an illumination that flickers by 5 % takes 6 rounds, a steady one 4
MAX_ERROR = 0.02  # relative standard error beyond which the gain is undetermined
CLIP_SD = 6.0
SEEN_NOISE_ADU2 = 0.3  # with that of rounding; below it (0.47 ADU of noise) quantisation distorts the variance
SCATTER_SD = 5.0  # standard errors of an excess that shows per-pixel gains
CLEAR = 8.0  # standard errors of the noise of light from which a pixel's gain counts: 1/y is biased by 1/64
CLOSE, CLOSEST = 16, 4  # adjacent pixels, where gains differ or not: fewer see more of the gradient of light
CLEAR_PART = 0.2  # of the pixels, whose gains are the typical ones
MOVING_PART = 0.2
CHANGE, CHANGE_SHARE = 0.2, 0.1  # largest slow change of the sample, and the fraction of it assumed in its steps
ILLUMINATION_SHARE = 0.05  # of the noise: totals measure the illumination only if no pixel is clipped
FULL_WELL = 0.5  # variance falls to half of its peak, or less, where pixels are full


def fit_photon_transfer(pixels: Pixels, dark: Dark | None = None, scatter: float | None = None) -> PhotonTransfer:
    """Return the photon transfer of one series under steady light; `dark`: what is known of the camera without light.

    A weighted straight line through variance against mean; what noise in the mean does to it is subtracted from the
    normal equations, a flickering or drifting illumination by the variance of the totals. Where pixels differ in gain
    it is the mean over pixels of (mean − offset) / (variance − floor), which estimates the median of their gains.
    Pixels of which the mean is NaN were not seen and have no part in it. scatter: the relative σ of the pixels' gains
    where it is known.
    """
    seen = np.isfinite(pixels.mean)
    if seen.all() or not seen.any():
        return _fitted(pixels, dark, scatter)
    found = _fitted(pixels.at(seen), dark.at(seen) if dark is not None else None, scatter)
    variance, gains, used = (spread(values, seen) for values in (found.variance, found.gains, found.used))
    return replace(found, variance=variance, gains=gains, used=used)


def _fitted(pixels: Pixels, dark: Dark | None, scatter: float | None) -> PhotonTransfer:
    used = ~pixels.saturated & np.isfinite(pixels.mean) & (pixels.variance > 0)
    saturated = float(np.mean(pixels.saturated))
    if pixels.frames < MIN_FRAMES:
        return PhotonTransfer(f"{pixels.frames} frames are too few; take {MIN_FRAMES} at least")
    if used.sum() < MIN_PIXELS:
        left_out = f"{saturated:.0%} saturate or are cut off at zero"
        why = left_out if saturated > 0.5 else "the others saturate, or show no noise"
        return PhotonTransfer(f"{used.sum()} pixels are too few, {MIN_PIXELS} are needed: {why}")
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return _Fit(pixels, dark, used).result(scatter)


class _Fit:
    """One fit. x is the mean above the dark offset (above 0 where there is none), y the variance above the dark one
    without the illumination's share; `dark_level` is the x without light."""

    def __init__(self, pixels: Pixels, dark: Dark | None, used: np.ndarray) -> None:
        self.pixels, self.dark, self.used = pixels, dark, used
        self.x = pixels.mean - (dark.offset if dark else 0.0)
        self.dark_level = 0.0 if dark else float(np.percentile(self._some(self.x), 1))
        self.rejected, self.sums = 0.0, np.empty((0, 6))
        self.noise = Noise(pixels, dark, self.x, self.dark_level)
        self.notes: list[str] = []
        if pixels.saturated.any():
            self.notes.append(f"{pixels.saturated.sum()} pixels left out: saturated, or cut off at zero")
        if self.noise.steps:
            self.notes.append("the light drifts or changes: variances are those of steps from frame to frame")

    def result(self, scatter: float | None) -> PhotonTransfer:
        reason = (
            (self.dark.wrong if self.dark else "") or self._no_light() or self._unsteady() or refused(self._shared())
        )
        line = None if reason else self._settled()
        if not reason and self._beyond_full_well():
            line = self._settled()
        if line is not None and self._reject_outliers(line):
            line = self._settled()
        if line is None or not line.slope > 0:
            return self._undetermined(reason or self._too_even())
        scatter = self._scatter(line) if scatter is None else scatter
        base = self._line_by_place(line, scatter) if scatter else line
        gain, error = 1 / line.slope, float(np.sqrt(line.covariance[1, 1])) / line.slope
        if scatter:
            self.notes.append(f"per-pixel gains scatter by {scatter:.1%}")
            gain, error = self._typical(line, base, scatter)
        change = self._change()
        effects = self._effects(line, base, scatter)
        reason = self._doubts(line, error, change) or refused(effects)
        if reason:
            return self._undetermined(reason)
        doubt = float(np.hypot(CHANGE_SHARE * change, allowed(effects, self.notes)))
        return self._found((line, base), gain, float(np.hypot(error, doubt)), scatter, doubt)

    def _found(
        self, lines: tuple[Line, Line], gain: float, error: float, scatter: float, doubt: float
    ) -> PhotonTransfer:
        line, base = lines
        zero = float(np.median(sample(np.asarray(self.dark.offset).reshape(-1)))) if self.dark else 0.0
        flicker2, excess = self.noise.flicker2(self.dark_level), self.pixels.excess_noise
        return PhotonTransfer(
            notes=tuple(self.notes),
            gain=float(excess * gain),
            interval=(float(excess * gain * (1 - Z95 * error)), float(excess * gain * (1 + Z95 * error))),
            slope=float(line.slope),
            intercept=float(line.floor + self.noise.dark - line.slope * zero),
            read_variance=self._read_variance(base),
            flicker=float(np.sqrt(max(flicker2, 0.0))),
            scatter=scatter,
            doubt=doubt,
            variance=self.noise.variance - flicker2 * (self.x - self.dark_level) ** 2,
            gains=excess * self._gains(line, base),
            used=self.used,
        )

    def _undetermined(self, reason: str) -> PhotonTransfer:
        return PhotonTransfer(reason, tuple(self.notes))

    def _shared(self) -> Effects:
        """The share of neighbours in the noise, which needs no line."""
        found = self.pixels.effects or shared_effects(self.pixels, self.noise, self.dark, self.dark_level)
        return tuple(effect for effect in found if effect[0] == NEIGHBOURS_SHARE)

    def _effects(self, line: Line, base: Line, scatter: float) -> Effects:
        """What bends the line or moves it, by name, relative to its slope."""
        level = self.dark_level
        shared = self.pixels.effects or shared_effects(self.pixels, self.noise, self.dark, level)
        found = [(name, e if name == NEIGHBOURS_SHARE else Measured(*np.divide(e, line.slope))) for name, e in shared]
        blocks = self._blocks(CLOSE if scatter else CLOSEST)
        return (*found, (CURVED, curvature(blocks, base, self.noise, level, (self.dark is not None, scatter))))

    # The line

    def _settled(self) -> Line | None:
        """Iterate line, flicker and dark level to convergence; None if the data determine no slope."""
        if np.count_nonzero(self.used) < MIN_PIXELS:
            return None
        low, high = np.percentile(self._some(self.x), (0.2, 99.8))
        self.sums = self._binned(self.used, low, high)
        line = None
        for _ in range(ROUNDS):
            before, dark_level = line, self.dark_level
            line = self._solve(self.sums, before)
            if line is None:
                return None
            moved = abs(line.slope - before.slope) / abs(line.slope) if before is not None else np.inf
            if max(moved, abs((self.dark_level - dark_level) * self.noise.flicker2(self.dark_level))) <= SETTLED:
                break
        return line

    def _binned(self, used: np.ndarray, low: float, high: float) -> Array:
        sums = np.zeros((BINS, 6))
        bin_pixels(self.x, self.noise.above, used, low, max(high, low + 1e-9), sums)
        return sums[sums[:, 0] > 0]

    def _solve(self, sums: Array, before: Line | None, together: int = 1, scatter2: float = 0.0) -> Line | None:
        """Weighted normal equations of (floor, slope, change of the dark level), corrected for noise in x, with priors.

        Points are means over `together` pixels, whose gains have the relative variance `scatter2`.
        """
        flicker2, frames, dark = self.noise.flicker2(self.dark_level), self.pixels.frames, self.noise.dark
        n, x = sums[:, 0], sums[:, 1] / sums[:, 0]
        light, within = x - self.dark_level, sums[:, 3] - n * x * x
        y = (sums[:, 2] - flicker2 * (n * light * light + within)) / n
        level = (y if before is None else before.at(x)) + dark
        level = np.maximum(level, 1e-2 * np.average(y + dark, weights=n))
        steep = max(float(before.slope if before is not None else np.average(y / x, weights=n)), 0.0)
        weight = together / (self.noise.of_variance(level, self.dark_level, x, steep) + scatter2 * level**2)
        light_mean = self.noise.light_mean(self.dark_level)
        bend = 2 * flicker2 * light * (light / light_mean - 1)  # of the illumination's share, per ADU of the dark level
        columns = np.stack([np.ones_like(x), x, bend])
        normal, right = (columns * (weight * n)) @ columns.T, columns @ (weight * n * y)
        slope = np.float64(before.slope if before is not None else right[1] / normal[1, 1])
        joint = sums[:, 4] - x * sums[:, 2] - 2 * flicker2 * light * within
        own = scatter2 * light**2 / together  # per-pixel gains: their variance in x of means over pixels, twice in y
        normal[1, 1] += weight @ (within - n * ((level / frames + self.noise.offset_error) / together + own))
        right[1] += weight @ (
            joint - n * (self.noise.third * np.maximum(light, 0) * slope**2 / frames / together + 2 * slope * own)
        )
        self._add_priors(normal, right, slope, float(np.average(x, weights=n)), float(np.average(y, weights=n)))
        scale = 1 / np.sqrt(np.maximum(np.diag(normal), 1e-300))
        scaled = normal * np.outer(scale, scale)
        if not np.isfinite(scaled).all() or normal[1, 1] <= 0 or np.linalg.eigvalsh(scaled)[0] < 1e-13:
            return None
        covariance = np.linalg.inv(scaled) * np.outer(scale, scale)
        floor, slope, change = covariance @ right
        if self.dark is None:
            most = 0.2 * abs(light_mean)
            self.dark_level += float(np.clip(change, -most, most))
        return Line(floor, slope, covariance)

    def _add_priors(self, normal: Array, right: Array, slope: float, x: float, y: float) -> None:
        """Add the priors on floor and dark level: from dark frames, or from the usual read noise of cameras."""
        noise = self.noise
        if self.dark is not None:
            read = max(
                self.noise.likely_read_e2 * (y / x) ** 2, 1e-6
            )  # y / x is steeper than the line: rather too wide
            expected, sd = (0.0, 0.02 + 1e-3 * noise.dark) if noise.floor_known else (noise.rounding + read, read)
            normal[0, 0] += 1 / sd**2
            right[0] += expected / sd**2
            normal[2, 2] += 1.0  # the dark level stays where it is
            return
        sd = max(self.noise.likely_read_e2 * abs(slope), 1e-6)
        bottom = x - y / slope if slope > 0 else self.dark_level
        normal[2, 2] += 1 / sd**2
        right[2] += (bottom + sd - self.dark_level) / sd**2

    # Outliers, and per-pixel gains

    def _model(self, line: Line) -> VarianceModel:
        noise, level = self.noise, self.dark_level
        return VarianceModel(noise.dark, float(line.floor), float(line.slope), level, *noise.scalars(level))

    def _leave_out(self, wrong: np.ndarray, why: str) -> float:
        """Exclude these pixels (p,); return their fraction of those used."""
        wrong = wrong & self.used
        count, used = int(wrong.sum()), max(int(self.used.sum()), 1)
        if count:
            self.notes.append(f"{count} pixels left out: {why}")
            self.used = self.used & ~wrong
        return count / used

    def _beyond_full_well(self) -> bool:
        """Exclude pixels beyond full well, where the variance falls again (Janesick 2007)."""
        sums = self.sums[self.sums[:, 0] >= 20]
        if len(sums) < 10:
            return False
        x, y = sums[:, 1] / sums[:, 0], sums[:, 2] / sums[:, 0]
        peak = int(np.argmax(y))
        if not (peak > 1 and np.min(y[peak:]) < FULL_WELL * y[peak]):
            return False
        dark_level = self.dark_level if self.dark is None else 0.0
        return self._leave_out(self.x > dark_level + 0.9 * (x[peak] - dark_level), "their wells are full") > 0

    def _reject_outliers(self, line: Line) -> bool:
        """Exclude pixels whose variance is not that of shot noise."""
        z = deviations(self.x, self.noise.above, self._model(line))
        spread = max(1.0, 1.4826 * float(np.median(self._some(z))))
        self.rejected = self._leave_out(z > CLIP_SD * spread, "they vary otherwise than light does")
        return self.rejected > 0

    def _scatter(self, line: Line) -> float:
        """Relative σ of the per-pixel gains, from the brighter half; 0 if it is not significant."""
        middle = float(np.median(self._some(self.x)))
        n, excess, expected = excess_scatter(self.x, self.noise.above, self.used, middle, self._model(line))
        if n == 0:
            return 0.0
        error = (expected + max(excess, 0.0)) * np.sqrt(2 / n)
        return float(np.sqrt(excess)) if excess > SCATTER_SD * error and excess > 1e-4 else 0.0

    def _gains(self, line: Line, base: Line, clear: float = 3.0) -> Array:
        """The gain (p,) of each pixel above the start of the line `base`, with a relative error of √(2/N).

        NaN where the noise of its light is below `clear` standard errors.
        """
        shift = floor = 0.0
        if not self.noise.floor_known:
            shift, floor = (base.floor / base.slope, 0.0) if self.dark is None else (0.0, base.floor)
        gains = per_pixel_gains(self.x, self.noise.above, shift, floor, clear, self._model(line))
        gains[self.pixels.saturated] = np.nan
        return gains

    def _line_by_place(self, line: Line, scatter: float) -> Line:
        """The line through means over neighbours, which share their light but not their gains.

        Binned by their own brightness, pixels of few e/ADU gather at the bright end and bend the line.
        """
        blocks, found = self._blocks(), line
        if len(blocks.x) < MIN_PIXELS // NEIGHBOURS:
            return line
        flicker2, dark_level = self.noise.flicker2(self.dark_level), self.dark_level
        sums = np.zeros((BINS, 6))
        low, high = np.percentile(blocks.x, (0.2, 99.8))
        shared, kept = flicker2 * (blocks.x - dark_level) ** 2, np.ones(len(blocks.x), bool)
        bin_pixels(blocks.x, blocks.y + shared, kept, low, max(high, low + 1e-9), sums)
        for _ in range(3):
            found = self._solve(sums[sums[:, 0] > 0], found, NEIGHBOURS, scatter**2) or found
            self.dark_level = dark_level
        return found

    def _blocks(self, size: int = NEIGHBOURS) -> Blocks:
        """Means of x, and of the variance above the dark one without the illumination's share, over neighbours."""
        steady = self.noise.above - self.noise.flicker2(self.dark_level) * (self.x - self.dark_level) ** 2
        return blocks_of(self.x, steady, self.used, size)

    def _typical(self, line: Line, base: Line, scatter: float) -> tuple[float, float]:
        """The typical per-pixel gain, and its relative standard error.

        Where the noise of single pixels is too large, from the line by place, whose slope is the mean of 1/K.
        """
        gains = self._gains(line, base, CLEAR)
        gain, error = typical_gain(gains[self.used & np.isfinite(gains)])
        if not np.count_nonzero(np.isfinite(gains)) > CLEAR_PART * np.count_nonzero(self.used):
            slope, shape = np.sqrt(base.covariance[1, 1]) / base.slope, scatter**2 / 4
            return (1 + scatter**2) / base.slope, float(np.hypot(slope, shape))
        if self.noise.floor_known:
            return gain, error
        at = np.array([1.0, self.dark_level, 0.0])
        dark_level = np.sqrt(at @ base.covariance @ at) * np.mean(1 / np.abs(base.at(self._some(self.x))))
        return gain, float(np.hypot(error, dark_level))

    def _some(self, values: Array) -> Array:
        """The values of a subset of the used pixels, for percentiles."""
        some = sample(values)[sample(self.used)]
        return some if len(some) >= 10 * MIN_PIXELS else values[self.used]

    # Reasons why the gain is undetermined

    def _no_light(self) -> str:
        if self.dark is None:
            return ""
        noise = np.sqrt(np.median(self._some(self.pixels.variance)) / self.pixels.frames)
        lit = np.median(self._some(self.x)) > 3 * noise
        return "" if lit else "the light is no brighter than the dark: check which is which"

    def _unsteady(self) -> str:
        moving = self._leave_out(self.noise.moving(self.dark_level, CLIP_SD), "they change slowly")
        return (
            f"{moving:.0%} of the pixels change slowly; take an even, still sample, and frames not averaged"
            if moving > MOVING_PART
            else ""
        )

    def _change(self) -> float:
        """The slow change of the sample relative to the noise; 0 if it is not significant."""
        if self.pixels.pairs < MIN_FRAMES:
            return 0.0
        change, error = self.noise.change(self.used, self.dark_level)
        if change < max(CLIP_SD * error, 0.01):
            return 0.0
        self.notes.append(f"the sample itself changes slowly, by {change:.0%} of the noise")
        return change

    def _too_even(self) -> str:
        if self.dark is None:
            return "the light is too even to separate gain from offset; give dark frames or the offset, or graded light"
        return "the variance does not grow with the mean"

    def _doubts(self, line: Line, error: float, change: float) -> str:
        x = self._some(self.x)
        variance = float(np.median(line.at(x))) + self.noise.dark
        if self.pixels.rounded and variance < SEEN_NOISE_ADU2:
            return f"the noise, {np.sqrt(max(variance, 0)):.2g} ADU, is hidden by the rounding to ADU; take more light"
        if self.rejected > MOVING_PART:
            return f"{self.rejected:.0%} of the pixels vary otherwise than light does; take an even, still sample"
        if change > CHANGE:
            return "the sample itself changes; take an even, still one"
        if not error <= MAX_ERROR:
            if self.dark is None and np.std(x) < np.sqrt(variance):
                return self._too_even()
            return f"too few frames or electrons: the standard error is {error:.1%}, {MAX_ERROR:.0%} is asked for"
        illumination = self.noise.flicker2(self.dark_level) * float(np.median(x - self.dark_level)) ** 2
        if np.mean(self.pixels.saturated) > 0.01 and illumination > ILLUMINATION_SHARE * variance:
            return "pixels saturate while the illumination changes, which hides how much it does; take less light"
        return ""

    def _read_variance(self, line: Line) -> float:
        """Read noise variance [ADU²] without that of rounding, NaN if unknown."""
        if self.dark is None:
            return np.nan
        if self.noise.floor_known:
            variance = np.asarray(self.noise.dark_variance).reshape(-1)
            return max(float(np.median(sample(variance))) - self.noise.rounding, 0.0)
        read = line.floor - self.noise.rounding
        return read if read > 4 * np.sqrt(line.covariance[0, 0]) else np.nan
