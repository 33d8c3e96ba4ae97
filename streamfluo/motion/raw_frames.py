"""What motion does with the pixels of frames beside measuring them: on the processor; on a card see card_frames.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.block import Block
from ..core.spec import Spec
from ..core.state import State
from ..pixels.kernels.seen import Window, seen_window
from .banded import correlation
from .hot_pixels import HotPixels
from .kernels.gauss_newton import Frame, read_only
from .kernels.highpass import box_radius_px, high_pass
from .kernels.shifting import fraction_from
from .params import MotionParams, saturation_adu
from .patches import PatchGrid
from .template import ROW_STRIDE

MAX_SATURATED = 0.2  # of a frame's pixels


class RawFrames:
    """Frames as they come (y, x): whether they can be used, hot pixels replaced, high-passed, and resampled."""

    def __init__(self, params: MotionParams, spec: Spec, grid: PatchGrid) -> None:
        self.hot, self._grid = HotPixels(spec.shape, spec.dtype), grid
        self._saturation_adu = saturation_adu(spec)
        self._radius = None if params.highpass_sigma_px is None else box_radius_px(params.highpass_sigma_px)
        self._begin(spec)

    def _begin(self, spec: Spec) -> None:
        self._buffers = np.zeros((4 if self._radius else 0, *spec.shape), np.float32)

    def restore(self, state: State) -> None:
        """Restore the hot pixels. Raises StateError."""
        self.hot.restore(state)

    def of(self, block: Block) -> Any:
        """Return the frames of a block (t, y, x)."""
        return block.pixels

    def usable(self, t: int, frame: Any) -> bool:
        """Whether few pixels of frame t of a block are saturated."""
        return self._saturation_adu is None or fraction_from(frame, self._saturation_adu, ROW_STRIDE) <= MAX_SATURATED

    def repaired(self, frame: Any, observed: bool) -> Any:
        """Return a frame without its hot pixels, which are looked for in the first ones that are `observed`."""
        if observed:
            self.hot.observe(frame)
        return self.hot.repair(frame)

    def seen(self, t: int, frame: Any) -> Window:
        """Return the window of what is seen of frame t of a block, repaired."""
        window: Window = seen_window(frame)
        return window

    def filtered(self, frame: Any) -> Any:
        """Return what of a frame is registered: the frame, or its high-pass, in a buffer that the next one takes."""
        if self._radius is None:
            return frame
        high_pass(frame, self._radius, self._buffers[:2], self._buffers[2])
        return read_only(self._buffers[2])

    def empty(self, *shape: int) -> Any:
        """Return memory for frames, float32."""
        return np.empty(shape, np.float32)

    def resampled(self, frame: Frame, patches_px: np.ndarray, out: Any) -> tuple[Window, float]:
        """Write a frame interpolated at shifts to out; what `PatchGrid.resample` returns."""
        return self._grid.resample(frame, patches_px, out)

    def filtered_and_resampled(self, registered: Frame, patches_px: np.ndarray) -> Any:
        """Return what of a frame is registered, interpolated, in a buffer that the next one takes."""
        self.resampled(registered, patches_px, self._buffers[3])
        return self._buffers[3]

    def correlated(self, t: int, corrected: Any, image: Any, window: Window, into: np.ndarray) -> None:
        """Have the correlation of a corrected frame with the template stand at t of `into` (t,), at `done` at last."""
        into[t] = correlation(corrected, image, window, ROW_STRIDE)

    def hide_rim(self, out: Any, window: Window) -> None:
        """Write NaN outside a window."""
        top, bottom, left, right = window
        out[:top] = out[bottom:] = np.nan
        out[:, :left] = out[:, right:] = np.nan

    def done(self, block: Block, corrected: Any, correlations: np.ndarray) -> Block:
        """Return the block of the corrected frames (t, y, x) that is handed on."""
        return block.of(corrected)
