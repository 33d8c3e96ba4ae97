"""The operator `interpolate`."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from msgspec import Meta

from ..core.block import Block
from ..core.errors import ConfigError
from ..core.operator import NO_VALUES, Gives, Operator, Output, Values
from ..core.params import Params
from ..core.registry import register
from ..core.spec import MAX_SIDE_PX, Spec
from ..core.state import State
from ..core.unseen import known_pixels
from .cosine_interpolation import interpolate_seen


class InterpolateParams(Params, frozen=True):
    factor: Annotated[int, Meta(ge=2, le=16, description="samples a pixel")] = 2
    dtype: Annotated[
        Literal["float32", "float64"], Meta(description="of the output frames; float64 has no preview")
    ] = "float32"


@register("interpolate")
class Interpolate(Operator):
    """Each frame interpolated by the DCT-II onto (n − 1)·factor + 1 points a side; negative values stay negative.

    Before `sofi` this differs from interpolating its images, as cumulants are not linear. The output has no camera,
    because interpolation correlates the noise of neighbouring points. A rim that was not seen stays NaN, as does what
    lies beside a NaN pixel. Cost: some 10 copies of the output frame.
    """

    Params = InterpolateParams
    gives = (Gives("frames", "frames", ("t", "y", "x"), "ADU", "the interpolated frames"),)
    examples = ({"factor": 3, "dtype": "float64"},)

    def __init__(self, params: InterpolateParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        height, width = ((side - 1) * params.factor + 1 for side in spec.shape)
        if max(height, width) > MAX_SIDE_PX:
            raise ConfigError(f"interpolate: factor = {params.factor} makes frames of {(height, width)}, too large")
        pixel_um = spec.pixel_um and spec.pixel_um / params.factor
        odd = np.array([[[0.0, np.nan], [0.0, 0.0]]])
        interpolate_seen(odd, params.factor)  # compiles, and loads what else is slow to load, before frames flow
        finer = params.factor  # the first of `finer` pixels a pixel lies at its centre
        origin = tuple(o * finer + (finer - 1) / 2 for o in spec.origin_px)
        self._out_spec = spec.with_(
            shape=(height, width), dtype=params.dtype, pixel_um=pixel_um, camera=None, origin_px=origin
        )

    @property
    def out_spec(self) -> Spec:
        return self._out_spec

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        block = known_pixels(block)
        fine = interpolate_seen(block.pixels.astype(float), self.params.factor).astype(self.params.dtype)
        return Output(block.index, block=block.of(fine))

    def state(self) -> State:
        return {}

    def restore(self, state: State) -> None:
        pass
