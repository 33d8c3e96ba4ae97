"""The template: the running mean of corrected frames, its noise, its drift, and shifts measured against it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..core.errors import StateError
from ..core.later import Later
from ..core.state import State, require_array
from ..pixels.kernels.seen import seen_window
from .banded import compared, misfit, update
from .block_statistics import rim_as_nan
from .hot_pixels import without_outliers
from .kernels.agreement import Evidence
from .kernels.displacement_field import field_equations, move_projections
from .kernels.frame_rows import BLOCK_PX
from .kernels.gauss_newton import Frame, Light, TemplateImages, read_only, solve_step
from .kernels.shifting import CorrectedFrame, FrameCounts, update_noise
from .kernels.template_images import build_images
from .measurement import Measurement, Tried
from .noise_model import NoiseModel
from .patches import PatchGrid
from .search import CoarseSearch
from .smoothing import KERNELS, noise_shares
from .template_information import MEMORY_FRAMES, TemplateInformation

AVERAGED_FRAMES = 200  # of a template that is not established; those before, dark ones too, are forgotten
NOISE_RATE = 0.2
CONTRAST_RATIO = 1.1  # at .3 photons a pixel and 1 e of read noise light makes 1.14
MIN_COVERAGE = 0.1  # of the frames, at least, in which a row or column was inside, for it to be compared
STEP_PX = 2.0
NEAR_PX = 0.75  # a longer step is repeated from the nearest integer shift
NEAR_QUANTILE = 0.95  # of the blocks are near
SETTLED_EVERY = 4  # frames, a row of blocks is renewed: once in 128 frames each where a frame has 512 rows
ROW_STRIDE = 8  # for statistics that do not need every row
MISFIT_ROWS = 64  # that are looked at for structure that a frame lacks


class Template(TemplateInformation):
    """The running mean of corrected frames (y, x) float32, and the shift of a frame measured against it.

    `frames`: how many it is the mean of; `mean`: of all corrected frames; `walked_px` (py, px, 2): its drift from the
    anchor; `noise`: that of the frames. The Gauss–Newton images are renewed one row of blocks per frame, so that the
    cost is even. `filtered`: what is registered is high-passed and has no brightness. A `known` template counts as the
    mean of 800 frames.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        grid: PatchGrid,
        anchor_frames: int,
        known: np.ndarray | None = None,
        filtered: bool = False,
    ) -> None:
        self._grid = grid
        self._noise_shares = noise_shares(grid.interpolation)
        height, width = shape
        blocks = (-(-height // BLOCK_PX), -(-width // BLOCK_PX))
        self.frames = self._corrected = 0
        self.walked_px = np.zeros((*grid.shape, 2))  # from the anchor
        self.image, self.mean = np.zeros((2, *shape), np.float32)
        self._anchor, self._anchor_frames = np.zeros(shape, np.float32), anchor_frames
        steps, scale = np.zeros((3, *shape), np.int8), np.zeros((*blocks, 3), np.float32)
        limit, window = np.ones((blocks[0], width), np.float32), np.array([0, height, 0, width])
        self._images = TemplateImages(self.image, steps, scale, limit, window)
        self._matrix, self._sums = np.zeros((*blocks, 3, 3)), np.zeros((*blocks, 5))
        self._noise_bias = np.zeros(blocks)
        self.noise = NoiseModel(blocks, filtered)
        self._counts = FrameCounts(np.zeros(height, np.int64), np.zeros(width, np.int64), MEMORY_FRAMES)
        self._kernel = self._next_kernel = len(KERNELS) - 1
        self._row, self._established = 0, False
        self._own_light = Light(np.float32(1), np.float32(0), np.float32(0), np.zeros(blocks, np.float32))
        self._first_contrast = np.zeros(1)  # of the frame it began with
        self._shifts = np.zeros((*blocks, 2), np.int64)
        self._known = known
        self.kernels_of_drift: Later | None = None  # that are waited for
        self._arrays: dict[str, np.ndarray] = {  # by the names that sessions know them by
            "image": self.image, "mean": self.mean, "anchor": self._anchor, "steering": steps, "scale": scale,
            "limit": limit, "matrix": self._matrix, "feigned": self._noise_bias, "variance": self.noise.blocks.variance,
            "intensity": self.noise.blocks.intensity, "noise": self.noise.line, "seen_y": self._counts.rows,
            "seen_x": self._counts.columns, "walked_px": self.walked_px, "window": window,
            "first_contrast": self._first_contrast,
        }  # fmt: skip

    def here(self) -> Template:
        """Return it where its arrays can be read: itself, or of one on a card the same on the host."""
        return self

    @property
    def image_there(self) -> Any:
        """The template (y, x) where frames are."""
        return self.image

    def coarse_search(self, max_shift_px: tuple[float, float]) -> CoarseSearch:
        """Return what searches for frames within these shifts (y, x) [px], where frames are."""
        height, width = self.image.shape
        return CoarseSearch((height, width), max_shift_px)

    @property
    def structure(self) -> np.ndarray:
        """The third Gauss–Newton image (y, x): the smoothed template minus its local means, weighted."""
        return self._gauss_newton(2)

    def of_seen_pixels(self, image: np.ndarray) -> np.ndarray:
        """Return a copy of an image (y, x) of the template, NaN where no frame was seen yet."""
        unseen = (self._counts.rows == 0)[:, None] | (self._counts.columns == 0)
        return np.where(unseen & (self.frames > 0), np.float32(np.nan), image)

    def exceeds_contrast(self, frame: np.ndarray) -> bool:
        """Whether a frame's (y, x) contrast exceeds that of the first one so far that this one was dark.

        The template is no measure: its noise is averaged out, and every dim frame exceeds it.
        """
        return bool(_contrast(frame) > CONTRAST_RATIO * self._first_contrast[0])

    def forget(self) -> None:
        """Let the next frame begin a new template."""
        self.frames, self._established = 0, False

    def begin(self, registered: np.ndarray, frame: np.ndarray) -> None:
        """Start from one frame (y, x) without its outliers, or from the known template.

        `registered`: what of the frame is registered (y, x).
        """
        first, window = without_outliers(registered.astype(np.float32)), seen_window(frame)
        self.noise.begin(rim_as_nan(first, window))
        self.image[...] = first if self._known is None else self._known
        self.mean[...] = first if registered is frame else without_outliers(frame.astype(np.float32))
        self._corrected = 1
        self._first_contrast[:] = _contrast(registered)
        self.frames = 1 if self._known is None else MEMORY_FRAMES
        self._counts.rows[:] = self._counts.columns[:] = self.frames if self._known is not None else 0
        top, bottom, left, right = window
        self._counts.rows[top:bottom] = self._counts.columns[left:right] = self.frames
        self.walked_px[:] = 0
        if self._known is not None:
            self._anchor[...] = self.image
        self._next_kernel = len(KERNELS) - 1
        self._begin_rows()
        self._established = self._has_structure()

    def _begin_rows(self) -> None:
        """Renew all rows of blocks."""
        self._row = 0
        for _ in range(2):  # the kernel is chosen by the information that a first one leaves
            for by in range(self._matrix.shape[0]):
                self._renew(by)
            self._choose_kernel()

    def measure(
        self, frame: Frame, patches_px: np.ndarray, tried: Tried = Tried(), last_px: np.ndarray | None = None
    ) -> Measurement:
        """Take one Gauss–Newton step from the shifts of patches (py, px, 2) [px], at the nearest integer shifts.

        Accurate for steps below NEAR_PX and a gain near the frame's. `last_px`: the shifts of the frame before, the
        mean of the prior.
        """
        gain = tried.gain
        if self._grid.single:
            return self._measure_one(frame, np.rint(patches_px), tried)
        field = self._grid.at_blocks(patches_px)
        integer = np.rint(field)
        self._shifts[...] = integer
        light = self._compared(frame, tried)
        normal, vector = np.empty((*self._noise_bias.shape, 2, 2)), np.empty((*self._noise_bias.shape, 2))
        move_projections(self._sums, self._matrix, field - integer, gain, vector)
        dy, dx, updated, evidence = solve_step(self._sums, self._matrix, self._noise_bias, gain, tried.usual)
        moved, distance = patches_px + np.clip((dy, dx), -STEP_PX, STEP_PX), max(abs(dy), abs(dx))
        found = Measurement(moved, updated, distance, Evidence(*evidence), light)
        if not distance <= NEAR_PX:
            return found
        field_equations(self._sums, self._matrix, integer, (gain, updated), (normal, vector))
        patches = self._grid.solve(normal, vector, patches_px if last_px is None else last_px)
        if not np.isfinite(patches).all():  # a template of one or two frames may determine the rigid shift alone
            return found
        apart = np.sort(np.abs(self._grid.at_blocks(patches) - integer), axis=None)
        return found._replace(patches_px=patches, distance_px=float(apart[math.ceil(NEAR_QUANTILE * apart.size) - 1]))

    def _measure_one(self, frame: Frame, integer: np.ndarray, tried: Tried) -> Measurement:
        y_px, x_px = integer[0, 0].tolist()
        if self._shifts[0, 0].tolist() != [y_px, x_px]:  # all are the same
            self._shifts[...] = integer
        light = self._compared(frame, tried)
        dy, dx, updated, evidence = solve_step(self._sums, self._matrix, self._noise_bias, tried.gain, tried.usual)
        step_px = max(-STEP_PX, min(STEP_PX, dy)), max(-STEP_PX, min(STEP_PX, dx))  # np.clip takes 8 µs
        moved_px = np.array([[[y_px + step_px[0], x_px + step_px[1]]]])
        return Measurement(moved_px, updated, max(abs(dy), abs(dx)), Evidence(*evidence), light)

    def misfit(self, frame: Frame, found: Measurement) -> float:
        """Return what a frame lacks of the template's structure, by what it has; `found`: the last measurement."""
        fraction = np.empty((2, *self._noise_bias.shape), np.float32)
        if self._grid.single:
            (y, x), (y_px, x_px) = found.patches_px[0, 0].tolist(), self._shifts[0, 0].tolist()
            fraction[0], fraction[1] = y - y_px, x - x_px
        else:
            fraction[...] = (self._grid.at_blocks(found.patches_px) - self._shifts).transpose(2, 0, 1)
        expected = tuple(found.light), fraction
        stride = max(1, self.image.shape[0] // MISFIT_ROWS)
        told = stride, self.noise.blocks.variance, self._sums, self._matrix
        left, contrast = misfit(frame, self._images, self._shifts, expected, told)
        return left / max(found.gain**2 * contrast, 1e-9)

    @property
    def own_light(self) -> Light:
        """The light of a frame that is lit as the template is."""
        return self._own_light

    def established(self) -> bool:
        """Whether the template has been good enough once to measure the shift of a single frame."""
        return self._established

    @property
    def slopes(self) -> np.ndarray:
        """The Gauss–Newton images (2, y, x) of the slopes."""
        return np.stack([self._gauss_newton(j) for j in range(2)])

    def _gauss_newton(self, j: int) -> np.ndarray:
        """A Gauss–Newton image (y, x) float32. Cost at 512 × 512: 1 ms; a frame needs it where it is searched for."""
        steps, scale = self._images.steps[j], self._images.scale[..., j]
        side, (height, width) = BLOCK_PX, steps.shape
        image: np.ndarray = steps * scale.repeat(side, 0)[:height].repeat(side, 1)[:, :width]
        return image

    def update(self, frame: CorrectedFrame, noise_left: float, frozen: bool) -> Callable[[], None]:
        """Update the noise with a corrected frame, and return what updates the rest with it, from its window alone.

        `noise_left`: the fraction of a pixel's noise variance that interpolation left. A frozen template updates its
        noise and the mean alone.
        """
        if not self._established:
            self._forget_beyond(min(AVERAGED_FRAMES, self._anchor_frames - 1))
        rows = self._matrix.shape[0]
        settled = self.frames >= MEMORY_FRAMES and self.frames % SETTLED_EVERY  # it changes slowly
        due = [(self._row + n) % rows for n in range(0 if settled else max(1, rows // self.frames))]
        scale = 1 / (noise_left + 1 / self.effective_frames)
        self._update_noise(frame, due, scale)
        return partial(self._average, frame, due, frozen)

    def _average(self, corrected: CorrectedFrame, due: Sequence[int], frozen: bool) -> None:
        """Update the mean with a frame, and renew the rows of blocks that are due."""
        before, rows = self.effective_frames, self._matrix.shape[0]
        self.frames += 1
        self._corrected += 1
        self._move(corrected, frozen)
        if not frozen:
            self._age_noise_bias(before / self.effective_frames)  # of rows that are not renewed now
        for by in due:
            self._renew(by)
        self._row = (self._row + len(due)) % rows
        self._established = self._established or self._has_structure()
        if self.frames == self._anchor_frames and self._known is None:
            self._set_anchor()
        if rows - 1 in due:
            self._fit_noise()
            self._choose_kernel()
            if not frozen and self.frames > self._anchor_frames:
                self._measure_drift()

    # What a template on a card does there

    def _compared(self, frame: Frame, tried: Tried) -> Light:
        """Write the projections of a frame's residuals at the shifts of the blocks; return its light."""
        return compared(frame, self._images, self._shifts, tried[:2], self._sums)

    def _update_noise(self, frame: CorrectedFrame, due: Sequence[int], scale: float) -> None:
        corrected = (*frame[:3], tuple(frame.light))
        images, noise = tuple(self._images), tuple(self.noise.blocks)
        for by in due:
            update_noise(corrected, images, by, scale, NOISE_RATE, noise)

    def _move(self, corrected: CorrectedFrame, frozen: bool) -> None:
        update(corrected, self._images, self._counts, self.mean, (1 / self._corrected, frozen))

    def _age_noise_bias(self, factor: float) -> None:
        self._noise_bias *= factor

    def _set_anchor(self) -> None:
        self._anchor[...] = self.image

    def _anchor_frame(self) -> np.ndarray:
        return read_only(self._anchor)

    def _fit_noise(self) -> None:
        self.noise.fit()

    def _build(self, by: int) -> None:
        blocks, bias = (self._matrix, self._noise_bias), (tuple(self._counts), self._noise_shares[self._kernel])
        build_images(tuple(self._images), KERNELS[self._kernel], self.noise.of_row(by), by, blocks, bias)

    def state(self) -> State:
        """Return what it carries, as entries of a state."""
        counts = {
            "frames": self.frames, "handed_on": self._corrected,
            "row": self._row, "kernel": self._kernel, "next_kernel": self._next_kernel,
        }  # fmt: skip
        arrays = {f"template_{name}": array.copy() for name, array in self._arrays.items()}
        return {**arrays, **counts, "established": int(self._established)}

    def restore(self, state: State) -> None:
        """Restore what `state` returned. Raises StateError if it belongs to a template of another kind."""
        for name, array in self._arrays.items():
            array[...] = require_array(state, f"template_{name}", array, "motion")
        self._information = self._total = None
        names = ("frames", "handed_on", "row", "kernel", "next_kernel")
        counts = [_count(state, name) for name in names]
        self.frames, self._corrected, self._row, self._kernel, self._next_kernel = counts
        self._established = bool(_count(state, "established"))
        if not max(self._kernel, self._next_kernel) < len(KERNELS):
            raise StateError(f"motion: no smoothing kernel {max(self._kernel, self._next_kernel)}")

    def _forget_beyond(self, frames: int) -> None:
        """Count the template as the mean of so many frames at most, so that the next one weighs accordingly."""
        self.frames = min(self.frames, frames)
        for counts in (self._counts.rows, self._counts.columns):
            np.minimum(counts, frames, out=counts)

    def _renew(self, by: int) -> None:
        if by == 0:
            self._kernel = self._next_kernel
            self._set_window()
        self._information = self._total = None
        self._build(by)

    def _set_window(self) -> None:
        """Exclude the rims that were inside in less than MIN_COVERAGE of the frames.

        There the template is the mean of few frames; its noise, mistaken for structure, makes shifts of a frame of
        170 px a tenth too small.
        """
        for n, counts in enumerate((self._counts.rows, self._counts.columns)):
            covered = np.flatnonzero(counts >= MIN_COVERAGE * min(self.frames, MEMORY_FRAMES))
            edges = (covered[0], covered[-1] + 1) if len(covered) else (0, len(counts))
            self._images.window[2 * n : 2 * n + 2] = edges

    def _measure_drift(self) -> None:
        """Measure the template's drift by registering the anchor against it as if it were a frame."""
        if self.kernels_of_drift is not None:
            self.kernels_of_drift.wait()
        everything = (0, self.image.shape[0], 0, self.image.shape[1])
        anchor = self.measure(Frame(self._anchor_frame(), everything), np.zeros_like(self.walked_px))
        if anchor.distance_px < 1:
            self.walked_px[...] = -anchor.patches_px


def _contrast(frame: np.ndarray) -> float:
    """The standard deviation of a frame (y, x) over every eighth row."""
    step = frame[::ROW_STRIDE]
    return float(np.std(step[np.isfinite(step)]))


def _count(state: State, name: str) -> int:
    value: Any = state.get(name)
    if type(value) is not int or value < 0:
        raise StateError(f"motion: state {name!r} must be a count, found {value!r}")
    return value
