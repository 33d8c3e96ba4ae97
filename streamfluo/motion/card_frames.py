"""What motion does with the pixels of frames beside measuring them, on a card."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..core.block import Block
from ..core.card import Card
from ..core.card_block import frames_of, made_on_card
from ..core.spec import Spec
from ..core.state import State
from ..pixels.kernels.seen import Window
from .interpolation_weights import FOUR_OUTER, SIX
from .kernels.displacement_field import kept_noise
from .kernels.gauss_newton import Frame, read_only
from .kernels.highpass import PASSES
from .kernels.shifting_gpu import SEGMENT, SHIFTING
from .params import MotionParams
from .patches import PatchGrid, window_of
from .raw_frames import MAX_SATURATED, RawFrames
from .template import ROW_STRIDE


class CardFrames(RawFrames):
    """The same of frames of a card, which stay there. Of a block of floats what is seen is asked once."""

    def __init__(self, card: Card, params: MotionParams, spec: Spec, grid: PatchGrid) -> None:
        self._card = card
        super().__init__(params, spec, grid)

    def _begin(self, spec: Spec) -> None:
        card, middle = self._card, "float32" if spec.dtype == "float32" else "float64"
        self._compiled = {
            name: card.compiled(SHIFTING, PIXEL=name, MIDDLE=middle, PATCHES_X=self._grid.shape[1])
            for name in {str(np.dtype(spec.dtype)), "float32"}
        }
        self._buffers_there = [card.xp.zeros(spec.shape, np.float32) for _ in range(4 if self._radius else 0)]
        self._basis = tuple(card.put(each.astype(np.float32)) for each in (*self._grid.pixel_basis, FOUR_OUTER))
        self._of_block: tuple[list[Window], np.ndarray] = ([], np.empty(0))
        self._coefficients = card.xp.zeros(0)
        self._hot_there: tuple[Any, ...] | None = None

    def of(self, block: Block) -> Any:
        frames, xp = frames_of(block, self._card), self._card.xp
        t, height, width = frames.shape
        saturated = np.zeros(t)
        if self._saturation_adu is not None:
            rows = frames[:, ::ROW_STRIDE]
            count = xp.sum((rows >= self._saturation_adu).reshape(t, -1), axis=1)
            saturated = self._card.get(count) / (rows.shape[1] * width)
        windows: list[Window] = [(0, height, 0, width)] * t
        if frames.dtype.kind == "f":
            known = ~xp.isnan(frames)
            rows_seen, columns_seen = (self._card.get(xp.any(known, axis=axis)) for axis in (2, 1))
            windows = [_window(*each) for each in zip(rows_seen, columns_seen, strict=True)]
        self._of_block = windows, saturated
        self._coefficients = xp.full(t, np.nan)
        return frames

    def usable(self, t: int, frame: Any) -> bool:
        return bool(self._of_block[1][t] <= MAX_SATURATED)

    def repaired(self, frame: Any, observed: bool) -> Any:
        looked = self.hot.looks
        if observed and looked:
            self.hot.observe(read_only(self._card.get(frame)))
        if not self.hot.count:
            return frame
        if self._hot_there is None or looked:
            pixels, neighbours = self.hot.places(frame.shape[1])
            self._hot_there = self._card.put(pixels), self._card.put(neighbours)
        repaired = frame.copy()
        self._of(frame)["repair"].items(self.hot.count, self.hot.count, frame, *self._hot_there, repaired)
        return repaired

    def restore(self, state: State) -> None:
        super().restore(state)
        self._hot_there = None

    def seen(self, t: int, frame: Any) -> Window:
        if frame.dtype.kind != "f" or not self.hot.count:
            return self._of_block[0][t]
        known = ~self._card.xp.isnan(frame)
        return _window(*(self._card.get(self._card.xp.any(known, axis=axis)) for axis in (1, 0)))

    def filtered(self, frame: Any) -> Any:
        if self._radius is None:
            return frame
        kernels, (height, width), (image, one, other, _) = self._of(frame), frame.shape, self._buffers_there
        kernels["begin_blur"].items(image.size, image.size, frame, image, one)
        for _ in range(PASSES):
            kernels["box"].items(width * -(-height // SEGMENT), width, height, 1, width, self._radius, one, other)
            kernels["box"].items(height * -(-width // SEGMENT), height, width, width, 1, self._radius, other, one)
        kernels["subtract"].items(image.size, image.size, one, image)
        return image

    def empty(self, *shape: int) -> Any:
        return self._card.xp.empty(shape, np.float32)

    def resampled(self, frame: Frame, patches_px: np.ndarray, out: Any) -> tuple[Window, float]:
        if not self._grid.single:
            return self._warped(frame, patches_px, out)
        (y_px, x_px), (height, width) = patches_px[0, 0].tolist(), frame.pixels.shape
        (y, weights_y, kept_y), (x, weights_x, kept_x) = map(_weights, (y_px, x_px))
        shift_frame = partial(self._of(frame.pixels)["shift_frame"].blocks, height * -(-width // 256))
        shift_frame(height, width, frame.pixels, y, x, *weights_y, *weights_x, out)
        return window_of((y, y, x, x), frame.seen, 2), kept_y * kept_x

    def _warped(self, frame: Frame, patches_px: np.ndarray, out: Any) -> tuple[Window, float]:
        card, (height, width) = self._card, frame.pixels.shape
        count = height * -(-width // 256)
        reach, patches = card.xp.empty((4, count), np.int32), card.put(patches_px.astype(np.float32))
        of_field = self._grid.shape[0], patches, *self._basis
        self._of(frame.pixels)["warp_frame"].blocks(count, height, width, frame.pixels, *of_field, out, reach)
        ends = card.get(card.xp.stack([*map(card.xp.min, reach[::2]), *map(card.xp.max, reach[1::2])]))
        least_y, least_x, most_y, most_x = ends.tolist()
        window = window_of((least_y, most_y, least_x, most_x), frame.seen, 1)
        return window, kept_noise(self._grid.at_blocks(patches_px), FOUR_OUTER)

    def filtered_and_resampled(self, registered: Frame, patches_px: np.ndarray) -> Any:
        self.resampled(registered, patches_px, self._buffers_there[3])
        return self._buffers_there[3]

    def correlated(self, t: int, corrected: Any, image: Any, window: Window, into: np.ndarray) -> None:
        top, bottom, left, right = window
        if top >= bottom or left >= right:
            return
        kernels, count = self._of(corrected), right - left
        columns = self._card.xp.empty((6, count), np.float32)
        kernels["correlate"].items(count, corrected.shape[1], *window, ROW_STRIDE, corrected, image, columns)
        kernels["coefficient"].blocks(1, count, columns, t, self._coefficients)

    def hide_rim(self, out: Any, window: Window) -> None:
        self._of(out)["unseen_rim"].items(out.size, *out.shape, *window, out)

    def done(self, block: Block, corrected: Any, correlations: np.ndarray) -> Block:
        correlations[:] = self._card.get(self._coefficients)
        return made_on_card(block, self._card, corrected, block.index, block.times_ns)

    def _of(self, frame: Any) -> Any:
        return self._compiled[np.dtype(frame.dtype).name]


def _window(rows: np.ndarray, columns: np.ndarray) -> Window:
    """The window of the rows and columns in which something is seen."""
    (y,), (x,) = np.nonzero(rows), np.nonzero(columns)
    if not len(y):
        return 0, 0, 0, 0
    return int(y[0]), int(y[-1]) + 1, int(x[0]), int(x[-1]) + 1


def _weights(shift_px: float) -> tuple[int, list[np.float32], float]:
    """The integer shift below, six weights, and what they leave of a pixel's noise variance: see `shift_frame`."""
    below = int(np.floor(shift_px))
    fraction, weights = shift_px - below, []
    for row in SIX.tolist():
        value = 0.0
        for coefficient in reversed(row):
            value = value * fraction + coefficient
        weights.append(value)
    return below, [np.float32(weight) for weight in weights], sum(weight * weight for weight in weights)
