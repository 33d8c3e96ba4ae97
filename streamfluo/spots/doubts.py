"""What the frames say against the camera's numbers and against the stated false-alarm rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from scipy.ndimage import uniform_filter, uniform_filter1d

from ..core.errors import StateError
from ..core.state import State, require_array, require_int
from ..pixels.kernels.seen import seen_window
from .kernels.matched_filter import FILTERED, Search
from .kernels.measuring import Sensor
from .kernels.noise import BELOW, TO_SIGMA, tile_noise
from .structure import structured

EVERY = 32  # frames: a comparison costs one frame's detection
LOOK_EVERY = 256  # frames, at most
COMPARED_PX = 1 << 14  # pixels, in some of the rows: noise is known to .7 %, in 1 ms instead of 19 at 512 × 512
BOX_PX = 9  # side of the box whose mean is the light of a pixel
LEAST_STEPS, LEAST_VARIANCE, LEAST_PAIRS = 1.5, 2.0, 500  # below, noise is no bell: ADU, electrons², pairs of pixels
FEWER, MORE = 0.9, 1.12  # of the predicted noise: 20 % of the variance
STILL_FRAMES, STILL_SHARE, STILL_HITS = 20, 0.25, 5  # of frames in which a spot is found at one place
PATTERN, PATTERN_SD = 0.06, 5.0  # of the variance, and standard errors of that, a fixed pattern; 1.5 × the false alarms
SIGNS_ERROR = 1.9  # standard error of a correlation from products of signs of overlapping curvatures, times √ of them
ROUGH = 1.5  # noise of the matched filter over that of pixels that do not depend on each other
AS_STATED = "as stated"


class Comparison(NamedTuple):
    """Noise of a frame over the predicted one (NaN: cannot be told), its light a pixel [e], whether that is below 0."""

    noise: float
    light: float
    below: bool


def rows_compared(shape: tuple[int, int]) -> np.ndarray:
    """Return which rows of frames (y, x) are compared, and those beside them (BOX_PX, n); frames repeat beyond theirs.

    The rows themselves are in the middle.
    """
    near = np.pad(np.arange(shape[0]), BOX_PX // 2, "symmetric")
    return np.asarray(near[np.arange(shape[0])[_compared_rows(shape)] + np.arange(BOX_PX)[:, None]])


def compare(rows: np.ndarray, sensor: Sensor, shape: tuple[int, int]) -> Comparison:
    """Compare the differences of neighbours in a frame of a shape (y, x), its `rows_compared` (BOX_PX, n, x), with the
    camera's numbers.

    Medians, so that spots do not count; structure finer than a pixel and a fixed pattern do.
    """
    if sensor.poisson == 0 or not np.isfinite(rows).any():
        return Comparison(math.nan, math.nan, False)
    at = rows_compared(shape)
    offset, gain, dark = (np.broadcast_to(each, shape) for each in (sensor.offset, sensor.gain, sensor.variance))
    near = (rows - offset[at]) * gain[at]
    seen, electrons = np.isfinite(near), near[BOX_PX // 2]
    light = _box_means(near if seen.all() else np.where(seen, near, np.nanmedian(near)))
    some = _compared_rows(shape)
    gain, dark = gain[some], dark[some]
    below = np.median(light + BELOW * np.sqrt(dark) / BOX_PX) < 0
    variance = dark + sensor.poisson * np.maximum(light, 0)
    both = variance[:, 1:] + variance[:, :-1]
    pairs = np.diff(electrons, axis=1)
    steps = (LEAST_STEPS * gain[:, 1:]) ** 2
    told = np.isfinite(pairs) & (both < math.inf) & (both > 2 * np.maximum(steps, LEAST_VARIANCE))
    noise = math.nan
    if not sensor.measured and np.count_nonzero(told) >= LEAST_PAIRS:
        noise = float(TO_SIGMA * np.median(np.abs(pairs[told]) / np.sqrt(both[told])))
    return Comparison(noise, float(np.median(light)), bool(below))


def _compared_rows(shape: tuple[int, int]) -> slice:
    return slice(None, None, max(1, shape[0] * shape[1] // COMPARED_PX))


def _box_means(near: np.ndarray) -> np.ndarray:
    """Return the means over the box around each pixel of rows, (BOX_PX, n, x) with those beside them."""
    total = near[0].copy()
    for each in near[1:]:
        total += each
    return np.asarray(uniform_filter1d(total, BOX_PX, axis=1) / BOX_PX)


def status_of_image(
    frame: np.ndarray, sensor: Sensor, search: Search, places: np.ndarray, sigma_px: float, unknown: str = ""
) -> str:
    """Return "as stated", or what is doubtful about the spots of one image (y, x) that `search` has gone through.

    places (n, 2) [px]: where spots were found.
    """
    found = compare(frame[rows_compared(frame.shape)], sensor, frame.shape)
    told = camera_doubts(found.noise, found.light, found.below)
    top, bottom, left, right = seen_window(frame)
    height, width = bottom - top, right - left
    if height > 1 and width > 1:
        electrons = ((frame - sensor.offset) * sensor.gain)[top:bottom, left:right]
        pixels = TO_SIGMA * float(np.nanmedian(np.abs(np.diff(electrons, axis=1)))) / math.sqrt(2)
        along_y, along_x, share = search.squares
        alone = pixels * math.sqrt(along_y[len(along_y) // 2] * along_x[len(along_x) // 2] - share)
        rough = float(np.median(tile_noise(search.filtered[FILTERED, :height, :width]))) / alone if alone else 0.0
        if rough > ROUGH:
            light = uniform_filter(np.nan_to_num(electrons, nan=float(np.nanmedian(electrons))), 3)
            dark = np.broadcast_to(sensor.variance, frame.shape)[top:bottom, left:right]
            variance = (
                dark + sensor.poisson * np.maximum(light, 0) if sensor.poisson else np.full(light.shape, pixels**2)
            )
            unlike = int(structured(electrons, variance, places - (top, left), sigma_px).sum())
            told.append(
                f"over the width of a spot the image varies {rough:.2g} times as much as its pixels' noise explains, "
                f"and {unlike} of {len(places)} spots are explained as well by a smooth surface or a line as by the "
                "PSF: structure, or crowded spots; the false-alarm rate holds for noise alone"
            )
    return sentence(told, unknown)


def sentence(doubts: Sequence[str], unknown: str) -> str:
    """Return a status of doubts and of a sentence on what is unknown of the camera."""
    doubtful = [f"doubtful: {'; '.join(doubts)}"] if doubts else []
    return "; ".join([*doubtful, *([f"undetermined: {unknown}"] if unknown else [])]) or AS_STATED


def camera_doubts(noise: float, light: float, below: bool) -> list[str]:
    """Return what speaks against the camera's numbers: measured noise over predicted, light [e], light below zero."""
    if below:
        return [
            f"the background lies below zero ({light:.3g} electrons a pixel): the camera's offset is too high; errors "
            "of such spots are NaN"
        ]
    if math.isnan(noise) or FEWER < noise < MORE:
        return []
    return [
        f"pixels scatter {noise:.2f} times as much as the camera's offset, gain and read noise predict: one of them is "
        "wrong, or the frames are averaged, filtered or registered; errors, χ² and the false-alarm rate are wrong "
        "with it"
    ]


def curvature_signs(rows: np.ndarray, sensor: Sensor, shape: tuple[int, int]) -> np.ndarray:
    """Return the signs (y, x) int8 of each pixel of compared rows (n, x) of a frame less the mean of those left and
    right of it; 0: not known, not looked at.

    Structure as wide as a PSF hardly curves from pixel to pixel, and signs do not care how bright a spot is.
    """
    some, signs = _compared_rows(shape), np.zeros(shape, np.int8)
    offset, gain = (np.broadcast_to(each, shape)[some] for each in (sensor.offset, sensor.gain))
    electrons = (rows - offset) * gain
    curved = 2 * electrons[:, 1:-1] - electrons[:, :-2] - electrons[:, 2:]
    signs[some, 1:-1] = np.sign(np.nan_to_num(curved, nan=0.0))
    return signs


class Doubts:
    """Comparisons of every 32nd frame, and how often spots were found at each place."""

    def __init__(self, shape: tuple[int, int], sensor: Sensor, false_alarms: float, unknown: str = "") -> None:
        self.hits = np.zeros(shape, np.uint32)
        self.sums = np.zeros(3)  # of noise over predicted, of the comparisons that could tell, of light
        self.first_signs = np.zeros(shape, np.int8)  # of the frame compared first
        self.signs = self.first_signs.copy()  # of the frame compared last
        self.alike = np.zeros(2)  # sum of the products of signs of one comparison and the next, and their number
        self.frames = self.compared = self.below = 0
        self._look_at, self._doubt = EVERY, ""
        self._sensor, self.false_alarms, self._unknown = sensor, false_alarms, unknown

    @staticmethod
    def compares(index: np.ndarray) -> np.ndarray:
        """Return which frames, by their index, are compared: every 32nd, in whatever parts they come."""
        return np.asarray(index % EVERY == 0)

    def add(self, frames: int, compared: Sequence[np.ndarray]) -> None:
        """Count frames, and compare those that `compares` named, by their `rows_compared` (BOX_PX, n, x)."""
        self.frames += frames
        for rows in compared:
            found = compare(rows, self._sensor, self.hits.shape)
            self.compared += 1
            self.below += found.below
            if math.isfinite(found.noise):
                self.sums[:2] += found.noise, 1
            if math.isfinite(found.light):
                self.sums[2] += found.light
            signs = curvature_signs(rows[BOX_PX // 2], self._sensor, self.hits.shape)
            self._compare_signs(signs)
            self.signs = signs
            if self.compared == 1:
                self.first_signs = signs

    def merge(self, other: Self) -> None:
        """Add what the part that FOLLOWS this one found."""
        self._compare_signs(other.first_signs)
        self.first_signs = self.first_signs if self.compared else other.first_signs
        self.signs = other.signs if other.compared else self.signs
        self.hits += other.hits
        self.sums += other.sums
        self.alike += other.alike
        self.frames += other.frames
        self.compared += other.compared
        self.below += other.below

    def _compare_signs(self, signs: np.ndarray) -> None:
        some = _compared_rows(signs.shape)
        products = signs[some] * self.signs[some]
        self.alike += float(products.sum()), float(np.count_nonzero(products))

    def found(self, places: np.ndarray, seen: np.ndarray) -> None:
        """Count spots found at places (n, 2) [px], where their pixels are seen (n,)."""
        near = np.rint(places)  # NaN is not inside
        inside = seen & ((near >= 0) & (near < self.hits.shape)).all(1)
        np.add.at(self.hits, tuple(near[inside].T.astype(np.int64)), 1)

    def still(self) -> float:
        """Return how many spots of a frame stand where a quarter of the frames or more have one; NaN in 20 frames."""
        if self.frames < STILL_FRAMES:
            return math.nan
        near = np.pad(self.hits, 1).astype(np.int64)
        near = near[:-2] + near[1:-1] + near[2:]
        near = near[:, :-2] + near[:, 1:-1] + near[:, 2:]
        often = near >= max(STILL_HITS, STILL_SHARE * self.frames)
        return float(self.hits[often].sum() / self.frames)

    def pattern(self) -> tuple[float, float]:
        """Return which part of the pixels' variance is the same in every frame, and its standard error."""
        total, number = self.alike.tolist()
        if number < LEAST_PAIRS:
            return 0.0, math.inf
        return math.sin(math.pi / 2 * total / number), SIGNS_ERROR / math.sqrt(number)

    def doubt(self) -> str:
        """Return the doubts as of the last look, "" without any; a look costs 3 ms at 512 × 512."""
        if self.frames >= self._look_at:
            self._look_at = self.frames + min(max(self.frames, EVERY), LOOK_EVERY)
            self._doubt = "; ".join(self._told())
        return self._doubt

    def status(self) -> str:
        """Return "as stated", or what is doubtful or undetermined and why, in a sentence."""
        return sentence(self._told(), self._unknown)

    def _told(self) -> list[str]:
        noise = self.sums[0] / self.sums[1] if self.sums[1] else math.nan
        told = camera_doubts(noise, self.sums[2] / max(self.compared, 1), self.below > 0)
        still = self.still()
        if still > 2 * self.false_alarms:
            told.append(
                f"{still:.3g} of {self.hits.sum() / self.frames:.3g} spots a frame stand still: where molecules do "
                f"not, that is structure or a fixed pattern, not {self.false_alarms:g} false alarms a frame; the "
                "camera's maps take a fixed pattern away"
            )
            return told
        share, error = self.pattern()
        if not self._sensor.measured and share > max(PATTERN, PATTERN_SD * error):
            told.append(
                f"{share:.0%} of the pixels' variance is the same in every frame: a fixed pattern, as where offsets or "
                f"gains of pixels differ; it makes more than {self.false_alarms:g} false alarms a frame; the camera's "
                "maps take it away"
            )
        return told

    def state(self) -> State:
        """Return all counts."""
        counts = {"frames_seen": self.frames, "compared": self.compared, "below_zero": self.below}
        signs: State = {"curvature_signs": self.signs.copy(), "first_curvature_signs": self.first_signs.copy()}
        pattern = {**signs, "alike": self.alike.copy()}
        return {"hits": self.hits.copy(), "noise_sums": self.sums.copy(), **pattern, **counts}

    def restore(self, state: State) -> None:
        """Take over what `state` returned. Raises StateError."""
        self.hits = require_array(state, "hits", self.hits, "spots")
        self.sums = require_array(state, "noise_sums", self.sums, "spots")
        self.signs = require_array(state, "curvature_signs", self.signs, "spots")
        self.first_signs = require_array(state, "first_curvature_signs", self.first_signs, "spots")
        self.alike = require_array(state, "alike", self.alike, "spots")
        counts = [require_int(state, name, "spots") for name in ("frames_seen", "compared", "below_zero")]
        if min(counts) < 0:
            raise StateError(f"spots: a state counts from 0 on, found {counts}")
        self.frames, self.compared, self.below = counts
