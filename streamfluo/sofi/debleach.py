"""The operator `debleach`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta

from ..core.block import Block
from ..core.card_block import CardBlock, frames_of, on_device
from ..core.mirror import Mirror
from ..core.operator import NO_VALUES, Gives, Operator, Output, Values
from ..core.params import Params
from ..core.registry import register
from ..core.spec import Spec
from ..core.state import State, require_array, require_int
from ..core.unseen import VALID, known_pixels, valid_frames
from .kernels.baseline import subtract_baseline
from .kernels.baseline_gpu import BASELINE


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
    devices = ("cpu", "gpu")
    twin_tolerance = 0.0  # the same steps in the same order
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
        if self.card is not None:
            self._mirror = Mirror(self.card, self._baseline.shape)
            self._mirror.host = self._baseline
            self._subtract = self.card.compiled(BASELINE, PIXEL=spec.dtype)["subtract_baseline"]
        self._level = np.zeros(1)
        self._n = 0
        empty = np.empty((0, *spec.shape), spec.dtype)
        empty.flags.writeable = False
        subtract_baseline(empty, np.empty(0), 0.0, self._baseline, np.empty((0, *spec.shape), np.float32))

    @property
    def out_spec(self) -> Spec:
        return self.spec.with_(dtype="float32")

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        block = known_pixels(on_device(block, self.card))
        valid = valid_frames(block, inputs)
        seen = np.minimum(self._n + np.cumsum(valid), self.params.smooth_frames)
        rates = np.where(valid, 1 / np.maximum(seen, 1), 0.0)
        if self.card is None:
            self._find_level(block, valid)
            frames = np.empty(block.pixels.shape, np.float32)
            subtract_baseline(block.pixels, rates, float(self._level[0]), self._baseline, frames)
            self._n += int(valid.sum())
            return Output(block.index, block=block.of(frames))
        there, out = self.card.put(rates), self.card.xp.empty(block.shape, np.float32)
        self._find_level(block, valid)
        pixels, level = self.spec.shape[0] * self.spec.shape[1], float(self._level[0])
        given = (frames_of(block, self.card), len(block), pixels, there, level, self._mirror.to_change(), out)
        self._subtract.items(pixels, *given)
        self._n += int(valid.sum())
        return Output(block.index, block=CardBlock(block, self.card, out))

    def _find_level(self, block: Block, valid: np.ndarray) -> None:
        if not self._n and valid.any():
            first = block.index + int(np.argmax(valid))
            self._level[0] = np.nanmean(block.cut(first, first + 1).pixels[0], dtype=float)

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        baseline = self._on_host()
        return {name: 2 * baseline[0] - baseline[1] for name in self.snapshot_names(names)}

    def state(self) -> State:
        return {"baseline": self._on_host().copy(), "level": self._level.copy(), "n": self._n}

    def restore(self, state: State) -> None:
        self._baseline = require_array(state, "baseline", self._baseline, "debleach")
        if self.card is not None:
            self._mirror.host = self._baseline
        self._level = require_array(state, "level", self._level, "debleach")
        self._n = require_int(state, "n", "debleach")

    def _on_host(self) -> np.ndarray:
        """Return the baseline (2, y, x), to be read."""
        return self._baseline if self.card is None else self._mirror.host
