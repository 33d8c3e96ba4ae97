"""The template frames are registered against: how it grows, what it knows of its noise, how far it has walked."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import StateError
from ..core.state import State, require_array
from .hot_pixels import despiked
from .interpolation_weights import tap_weights
from .kernels.gauss_newton import BLOCK_PX, SECANT, build_steering, noise_line, solve_step, steer
from .kernels.shifting import block_noise, learn, take_noise_out
from .patches import PatchGrid, Window

MEMORY_FRAMES = 800  # the template's mean forgets older frames than so many
NOISE_SHARE = 0.2  # of H that the template's own noise may make up; a wider smoothing kernel is taken before that
NOISE_RATE = 0.2
CONTRAST_RATIO = 1.5
OFTEN = 0.1  # of the frames have to have shown a rim for it to be compared
STEP_PX = 2.0
NEAR_PX = 0.75  # a step longer than this is taken again from the next whole pixel
MOST = 0.95  # of the blocks have to be near
EVERY_ROW = 8  # for figures that need not every pixel


def _gaussian(sigma_px: float, radius: int) -> np.ndarray:
    x = np.arange(-radius, radius + 1)
    kernel = np.exp(-(x**2) / (2 * sigma_px**2))
    return (kernel / kernel.sum()).astype(np.float32)


# From light to heavy: little is lost of a clean template, much is gained with a noisy one.
KERNELS = (
    np.array([1, 2, 1], np.float32) / 4,
    np.array([1, 4, 6, 4, 1], np.float32) / 16,
    _gaussian(1.4, 5),
    _gaussian(2.0, 6),
)


class Measured(NamedTuple):
    """What one step of a frame against the template gave.

    Shifts of the patches (py, px, 2), the frame's gain, the part of the template seen, and how far the shifts are from
    the whole pixels at which the frame was compared.
    """

    patches_px: np.ndarray
    gain: float
    seen: float
    far_px: float


class SteeredTemplate:
    """Mean of the corrected frames (y, x) float32, with what it takes to measure a frame's shift against it.

    `frames` it was made of, `mean` of all of them. Everything is renewed one row of blocks a frame, so that no frame
    pays for all. `filtered`: what is registered has no brightness of its own. A template `given` counts as
    the mean of 800 frames.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        grid: PatchGrid,
        anchor_frames: int,
        given: np.ndarray | None = None,
        filtered: bool = False,
    ) -> None:
        self._grid, self._filtered = grid, filtered
        self._shares = _noise_shares(grid.taps)
        height, width = shape
        blocks = (-(-height // BLOCK_PX), -(-width // BLOCK_PX))
        self.frames = self._handed_on = 0
        self.walked_px = np.zeros((*grid.shape, 2))  # from the anchor
        self.image, self.mean = np.zeros((2, *shape), np.float32)
        self._anchor, self._anchor_frames = np.zeros(shape, np.float32), anchor_frames
        self._steering, self._limit = np.zeros((3, *shape), np.float32), np.ones((blocks[0], width), np.float32)
        self._matrix, self._sums = np.zeros((*blocks, 3, 3)), np.zeros((*blocks, 4))
        self._noise_bias = np.zeros(blocks)
        self._variance, self._intensity = np.zeros((2, *blocks))
        self._noise = np.array([1.0, 0.0, 1.0])
        self._seen_y, self._seen_x = np.zeros(height, np.int64), np.zeros(width, np.int64)
        self._window = np.array([0, height, 0, width])
        self._kernel = self._next_kernel = len(KERNELS) - 1
        self._row, self._established = 0, False
        self._rows = np.zeros((4, width), np.float32)
        self._shifts = np.zeros((*blocks, 2), np.int64)
        self._given = given
        self._arrays: dict[str, np.ndarray] = {
            "image": self.image, "mean": self.mean, "anchor": self._anchor, "steering": self._steering,
            "limit": self._limit, "matrix": self._matrix, "feigned": self._noise_bias, "variance": self._variance,
            "intensity": self._intensity, "noise": self._noise, "seen_y": self._seen_y, "seen_x": self._seen_x,
            "walked_px": self.walked_px, "window": self._window,
        }  # fmt: skip

    @property
    def structure(self) -> np.ndarray:
        """The image that answers to the template's brightness: weighted, local means out (y, x)."""
        return self._steering[2]

    def exceeds_contrast(self, frame: np.ndarray) -> bool:
        """Whether a frame's contrast exceeds the template's by so much that the template cannot show the scene."""
        step = frame[::EVERY_ROW]
        return bool(np.std(step[np.isfinite(step)]) > CONTRAST_RATIO * np.std(self.image[::EVERY_ROW]))

    def begin(self, seen: np.ndarray, frame: np.ndarray) -> None:
        """Start from a frame (y, x) alone, or from the template given; single bright pixels are taken out.

        `seen`: what of the frame is registered.
        """
        first = despiked(seen.astype(np.float32))
        differences = [_blocks(np.diff(first, axis=1), *self._variance.shape), _blocks(first, *self._variance.shape)]
        self._variance[...] = [
            [0.5 * np.mean(block**2) if block.size else 1.0 for block in row] for row in differences[0]
        ]
        self._intensity[...] = [[np.mean(block) for block in row] for row in differences[1]]
        self._fit_noise()
        self.image[...] = first if self._given is None else self._given
        self.mean[...] = first if seen is frame else despiked(frame.astype(np.float32))
        self._handed_on = 1
        self.frames = 1 if self._given is None else MEMORY_FRAMES
        self._seen_y[:] = self._seen_x[:] = self.frames
        self.walked_px[:] = 0
        if self._given is not None:
            self._anchor[...] = self.image
        self._row = 0
        self._next_kernel = len(KERNELS) - 1
        for _ in range(2):  # how much smoothing is needed shows once there is some
            for by in range(self._matrix.shape[0]):
                self._renew(by)
            self._choose_kernel()
        self._established = self._look_whether_established()

    def measure(
        self, frame: np.ndarray, patches_px: np.ndarray, gain: float = 1.0, last_px: np.ndarray | None = None
    ) -> Measured:
        """Step from the shifts of patches (py, px, 2), by the frame read at the next whole shifts, compared at a gain.

        Good where a step is not far, and for a gain within a few times the noise. `last_px`: those of the frame before.
        """
        if self._grid.single:
            return self._measure_one(frame, np.rint(patches_px), gain)
        field = self._grid.at_blocks(patches_px)
        whole = np.rint(field)
        self._compare(frame, whole, gain)
        matrix = self._sums[..., 3, None, None] * self._matrix
        own = self._sums[..., :3].copy()
        self._sums[..., :3] += gain * _answers(matrix, field - whole)
        dy, dx, better, seen = solve_step(self._sums, self._matrix, self._noise_bias, gain)
        moved, far = patches_px + np.clip((dy, dx), -STEP_PX, STEP_PX), max(abs(dy), abs(dx))
        if not far <= NEAR_PX:
            return Measured(moved, better, seen, far)
        answer = ((better - gain) * matrix[..., 2] - own) / max(better, 0.1) + _answers(matrix, whole)
        patches = self._grid.solve(matrix[..., :2, :2], answer[..., :2], patches_px if last_px is None else last_px)
        if not np.isfinite(patches).all():  # a template of one frame or two may know no more than one shift
            return Measured(moved, better, seen, far)
        far = np.quantile(np.abs(self._grid.at_blocks(patches) - whole), MOST)
        return Measured(patches, better, seen, float(far))

    def _measure_one(self, frame: np.ndarray, whole: np.ndarray, gain: float) -> Measured:
        self._compare(frame, whole, gain)
        dy, dx, better, seen = solve_step(self._sums, self._matrix, self._noise_bias, gain)
        return Measured(whole + np.clip((dy, dx), -STEP_PX, STEP_PX), better, seen, max(abs(dy), abs(dx)))

    def _compare(self, frame: np.ndarray, shifts: np.ndarray, gain: float) -> None:
        self._shifts[...] = shifts
        images, window = (frame, self.image, self._steering, self._limit), tuple(self._window.tolist())
        steer(*images, window, self._shifts, np.float32(gain), self._rows, self._sums)

    def established(self) -> bool:
        """Whether there is more structure in the template than its own noise can feign, enough to tell a shift."""
        return self._established

    def _look_whether_established(self) -> bool:
        chance = 3 * math.sqrt(100 / self.image.size)  # smoothed noise has a grain of about 100 pixels
        return bool(self.information.min() > max(chance * self._noise_share(self._kernel), 0.25))

    @property
    def information(self) -> np.ndarray:
        """1 / variance of a shift (2,) [px⁻²] measured against the template."""
        return np.einsum("bckk->k", self._matrix)[:2]

    def learn(self, seen: np.ndarray, corrected: np.ndarray, window: Window, blur: float, frozen: bool) -> None:
        """Take in a corrected frame (y, x), seen within window (top, bottom, left, right).

        `seen`: what of it is registered; `blur`: what interpolation left of a pixel's noise variance. A frozen template
        still learns its noise.
        """
        rows = self._matrix.shape[0]
        settled = self.frames >= MEMORY_FRAMES and self.frames % 2  # renewed the oftener the faster it changes
        due = [(self._row + n) % rows for n in range(0 if settled else max(1, rows // self.frames))]
        scale = 1 / (blur + 1 / self._effective_frames())
        for by in due:
            compared = (seen, self.image, self._limit)
            block_noise(*compared, BLOCK_PX, by, scale, NOISE_RATE, self._variance, self._intensity)
        self.frames += 1
        self._handed_on += 1
        often, mean_rate = (self._seen_y, self._seen_x, MEMORY_FRAMES), np.float32(1 / self._handed_on)
        learn(seen, corrected, window, *often, self._limit, BLOCK_PX, mean_rate, frozen, self.image, self.mean)
        for by in due:
            self._renew(by)
        self._row = (self._row + len(due)) % rows
        self._established = self._established or self._look_whether_established()
        if self.frames == self._anchor_frames and self._given is None:
            self._anchor[...] = self.image
        if rows - 1 in due:
            self._fit_noise()
            self._choose_kernel()
            if not frozen and self.frames > self._anchor_frames:
                self._measure_walk()

    def state(self) -> State:
        """Everything it carries, as state entries."""
        counts = {
            "frames": self.frames, "handed_on": self._handed_on,
            "row": self._row, "kernel": self._kernel, "next_kernel": self._next_kernel,
        }  # fmt: skip
        arrays = {f"template_{name}": array.copy() for name, array in self._arrays.items()}
        return {**arrays, **counts, "established": int(self._established)}

    def restore(self, state: State) -> None:
        """Take over what `state` returned. Raises StateError if it is another template's."""
        for name, array in self._arrays.items():
            array[...] = require_array(state, f"template_{name}", array, "motion")
        names = ("frames", "handed_on", "row", "kernel", "next_kernel")
        counts = [_count(state, name) for name in names]
        self.frames, self._handed_on, self._row, self._kernel, self._next_kernel = counts
        self._established = bool(_count(state, "established"))
        if not max(self._kernel, self._next_kernel) < len(KERNELS):
            raise StateError(f"motion: no smoothing kernel {max(self._kernel, self._next_kernel)}")

    def _renew(self, by: int) -> None:
        if by == 0:
            self._kernel = self._next_kernel
            self._look_at_rims()
        kernel = KERNELS[self._kernel]
        noise = np.empty((self._matrix.shape[1], 3))
        noise[:] = self._noise
        if self._filtered:  # what passed the filter says nothing of the light that its noise comes from
            noise[:, 0], noise[:, 1:] = np.maximum(self._variance[by], self._noise[0] / 10), 0
        window = tuple(self._window.tolist())
        build_steering(self.image, kernel, noise, window, by, self._steering, self._limit, self._matrix)
        most, shares = 2 * MEMORY_FRAMES - 1, self._shares[self._kernel]
        take_noise_out(self._seen_y, self._seen_x, window, most, BLOCK_PX, by, shares, self._matrix, self._noise_bias)

    def _look_at_rims(self) -> None:
        """Leave out of the window what motion has seldom brought into sight.

        There the template is of few frames; its noise, taken for structure, made shifts on a field of 170 px a tenth
        too small.
        """
        for n, seen in enumerate((self._seen_y, self._seen_x)):
            often = np.flatnonzero(seen >= OFTEN * min(self.frames, MEMORY_FRAMES))
            self._window[2 * n : 2 * n + 2] = (often[0], often[-1] + 1) if len(often) else (0, len(seen))

    def _fit_noise(self) -> None:
        known = np.isfinite(self._variance) & np.isfinite(self._intensity)
        if known.any():
            line = noise_line(self._intensity[known], self._variance[known])
            self._noise[:] = (np.median(self._variance[known]), 0, 0) if self._filtered else line

    def _effective_frames(self) -> float:
        return min(self.frames, 2 * MEMORY_FRAMES - 1)

    def _noise_share(self, kernel: int) -> float:
        """What the template's own noise would add to H for a shift, were it not taken out."""
        return self._shares[kernel][0] * self.image.size / self._effective_frames()

    def _choose_kernel(self) -> None:
        """The lightest smoothing with which noise has no more than its share of H."""
        allowed = NOISE_SHARE * float(self.information.min())
        fit = (n for n in range(len(KERNELS)) if self._noise_share(n) < allowed)
        self._next_kernel = next(fit, len(KERNELS) - 1)

    def _measure_walk(self) -> None:
        """How far the template has come from the anchor, through the same eyes as frames are seen."""
        seen = self.measure(self._anchor, np.zeros_like(self.walked_px))
        if seen.far_px < 1:
            self.walked_px[...] = -seen.patches_px


def _answers(matrix: np.ndarray, shifts_px: np.ndarray) -> np.ndarray:
    """Each block's answer (by, bx, 3) to a shift (by, bx, 2)."""
    return matrix[..., 0] * shifts_px[..., :1] + matrix[..., 1] * shifts_px[..., 1:]


def _count(state: State, name: str) -> int:
    value: Any = state.get(name)
    if type(value) is not int or value < 0:
        raise StateError(f"motion: state {name!r} must be a count, found {value!r}")
    return value


def _blocks(image: np.ndarray, rows: int, columns: int) -> list[list[np.ndarray]]:
    b = BLOCK_PX
    return [[image[y * b : y * b + b, x * b : x * b + b] for x in range(columns)] for y in range(rows)]


def _noise_shares(taps: np.ndarray) -> list[tuple[float, float]]:
    """For each kernel, (⟨smoothed slope, slope⟩, ⟨smoothed, itself⟩) of noise as interpolation leaves it, a pixel.

    The template's noise is in V and in the slopes alike, so that H has this much too much for each pixel and frame.
    """
    weights = tap_weights((np.arange(40) + 0.5) / 40, taps).T.astype(float)
    correlation = np.mean([np.correlate(w, w, "full") for w in weights], axis=0)
    secant = np.array([-SECANT[2], -SECANT[1], -SECANT[0], 0, *SECANT])
    shares = []
    for kernel in KERNELS:
        slope = np.convolve(kernel, [-0.5, 0, 0.5])
        along, across = _inner(slope, secant, correlation), _inner(kernel, np.ones(1), correlation)
        shares.append((along * across, across**2))
    return shares


def _inner(one: np.ndarray, other: np.ndarray, correlation: np.ndarray) -> float:
    n = 41
    a, b = (np.pad(k, ((n - len(k)) // 2)) for k in (one, other))
    return float(np.convolve(a, correlation, "same") @ b)
