"""The operator `debleach`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta

from ..core.block import Block
from ..core.operator import NO_VALUES, Gives, Operator, Output, Values
from ..core.params import Params
from ..core.registry import register
from ..core.spec import Spec
from ..core.state import State, require_array, require_int
from ..core.unseen import VALID, known_pixels, valid_frames
from .kernels.baseline import subtract_baseline


class DebleachParams(Params, frozen=True):
    smooth_frames: Annotated[
        int, Meta(ge=2, description="memory of the baseline, far longer than a blink [frames]")
    ] = 251


@register("debleach")
class Debleach(Operator):
    """Frames corrected for bleaching: less a baseline that follows each pixel, plus the first frame's mean; float32.

    The baseline is 2·b − c of double exponential smoothing, b following the frames and c following b with weight
    1 / smooth_frames: it does not lag a steady slope (Brown 1963, Smoothing, Forecasting and Prediction). Bleaching is
    removed; blinking stays but for a part of about 2 / smooth_frames. Bleaching segments are known only once they end:
    `streamfluo.analysis.debleach` subtracts their means. NaN pixels and frames that are not valid teach it nothing.
    Cost: some 5 copies of the frame.
    """

    Params = DebleachParams
    may_need = (VALID,)
    gives = (
        Gives("frames", "frames", ("t", "y", "x"), "ADU", "the frames without bleaching"),
        Gives("baseline", "snapshot", ("y", "x"), "ADU", "the baseline that is subtracted now"),
    )
    examples = ({"smooth_frames": 20},)
    live = {"smooth_frames": 7}

    def __init__(self, params: DebleachParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        self._baseline = np.full((2, *spec.shape), np.nan)
        self._level = np.zeros(1)
        self._n = 0
        empty = np.empty((0, *spec.shape), spec.dtype)
        empty.flags.writeable = False
        subtract_baseline(empty, np.empty(0), 0.0, self._baseline, np.empty((0, *spec.shape), np.float32))

    @property
    def out_spec(self) -> Spec:
        return self.spec.with_(dtype="float32")

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        block = known_pixels(block)
        valid = valid_frames(block, inputs)
        if not self._n and valid.any():
            self._level[0] = np.nanmean(block.pixels[np.argmax(valid)], dtype=float)
        frames = np.empty(block.pixels.shape, np.float32)
        seen = np.minimum(self._n + np.cumsum(valid), self.params.smooth_frames)
        rates = np.where(valid, 1 / np.maximum(seen, 1), 0.0)
        subtract_baseline(block.pixels, rates, float(self._level[0]), self._baseline, frames)
        self._n += int(valid.sum())
        return Output(block.index, block=block.of(frames))

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        return {name: 2 * self._baseline[0] - self._baseline[1] for name in self.snapshot_names(names)}

    def state(self) -> State:
        return {"baseline": self._baseline.copy(), "level": self._level.copy(), "n": self._n}

    def restore(self, state: State) -> None:
        self._baseline = require_array(state, "baseline", self._baseline, "debleach")
        self._level = require_array(state, "level", self._level, "debleach")
        self._n = require_int(state, "n", "debleach")
