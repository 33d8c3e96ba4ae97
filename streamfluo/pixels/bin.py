"""Spatial and temporal binning."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from ..core.block import Block
from ..core.card_block import frames_of, made_on_card, on_device
from ..core.errors import ConfigError
from ..core.operator import NO_VALUES, Gives, Operator, Output, Values
from ..core.params import Params
from ..core.registry import register
from ..core.spec import Camera, Spec
from ..core.state import State, require_array, require_int
from ..core.unseen import VALID, known_pixels, valid_frames
from .frame_bins import CardBins, FrameBins


class BinParams(Params, frozen=True):
    bin_px: Annotated[int, Meta(ge=1, description="side of a bin [px]")] = 2
    bin_frames: Annotated[int, Meta(ge=1, description="frames in a bin [frames]")] = 1
    mode: Annotated[Literal["mean", "sum"], Meta(description="value of a bin")] = "mean"


@register("bin")
class Bin(Operator):
    """Frames binned in space and time, as float32 (mean) or, for integers, uint32 or int32 (sum).

    Temporal bins lie on the grid of the frame index: output frame j is made of frames j·k … j·k + k − 1, has the time
    of the first, and is a gap if one of them is missing; a partial bin is never emitted, not at the end either. Rows
    and columns that do not fill a bin are left out. The camera's calibration is that of the binned pixel (electrons
    add, so read noise grows with the square root of the bin) where it is numbers, not maps. A bin with a NaN pixel is
    NaN; a temporal bin with a frame that is not valid is NaN as a whole.
    """

    Params = BinParams
    devices = ("cpu", "gpu")
    twin_tolerance = 0.0  # the same additions in the same order
    gives = (Gives("frames", "frames", ("t", "y", "x"), "ADU", "the binned frames"),)
    examples = ({"bin_px": 3, "bin_frames": 5}, {"bin_px": 1, "bin_frames": 2, "mode": "sum"})

    def __init__(self, params: BinParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        if min(spec.shape) < params.bin_px:
            raise ConfigError(f"bin: bin_px = {params.bin_px} is larger than the frame {spec.shape}")
        exact = np.dtype(spec.dtype).kind in "iu"
        largest = max(np.iinfo(spec.dtype).max, -np.iinfo(spec.dtype).min) if exact else 0
        if params.mode == "sum" and largest * params.bin_px**2 * params.bin_frames > 2**31 - 1:
            raise ConfigError(f"bin: the sum of so many {spec.dtype} pixels can overflow; use mode = 'mean'")
        self.frame_axis = "same" if params.bin_frames == 1 else "own"
        self._dtype = _out_dtype(np.dtype(spec.dtype), params.mode)
        self.may_need = (VALID,) if params.bin_frames > 1 and self._dtype == "float32" else ()
        divisor = float(params.bin_px**2 * params.bin_frames) if params.mode == "mean" else 0.0
        given = (spec, params.bin_px, divisor, self._dtype)
        self._bins = FrameBins(*given) if self.card is None else CardBins(*given, self.card)
        self._count = self._invalid = 0
        self._time_ns = 0
        self._next_index = -1

    @property
    def out_spec(self) -> Spec:
        p, spec = self.params, self.spec
        return spec.with_(
            shape=self._bins.shape,
            dtype=self._dtype,
            interval_s=spec.interval_s and spec.interval_s * p.bin_frames,
            pixel_um=spec.pixel_um and spec.pixel_um * p.bin_px,
            origin_px=tuple(o / p.bin_px for o in spec.origin_px),
            camera=spec.camera and _binned_camera(spec.camera, p.bin_px**2 * p.bin_frames, p.mode),
        )

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        block = known_pixels(on_device(block, self.card))
        k = self.params.bin_frames
        valid = valid_frames(block, inputs) if self.may_need else np.ones(len(block), bool)
        out = self._bins.empty(block.stop // k - block.index // k)
        if block.index != self._next_index:
            self._restart()
        times, at = list[int](), block.index
        while at < block.stop:
            begun = at % k
            whole = 0 if begun else (block.stop - at) // k
            part = block.cut(at, at + (whole * k or k - begun))
            if begun == self._count:  # else the first frames of this bin are missing
                seen = valid[at - block.index : part.stop - block.index]
                first = len(times)
                times += (
                    self._whole(part, seen, out[first : first + whole])
                    if whole
                    else self._begin(part, seen, out[first:])
                )
            at = part.stop
        self._next_index = block.stop
        if not times:
            return Output(block.index, held=True)
        last = block.stop // k - 1
        index, times_ns = last - len(times) + 1, np.array(times)
        if self.card is None:
            return Output(block.index, block=Block(index, times_ns, out[: len(times)], block.channel, block.z))
        return Output(block.index, block=made_on_card(block, self.card, out[: len(times)], index, times_ns))

    def _whole(self, part: Block, valid: np.ndarray, out: Any) -> list[int]:
        """Write whole bins; return their times."""
        self._bins.whole(frames_of(part, self.card), out)
        for j in np.flatnonzero(~valid.reshape(len(out), -1).all(1)).tolist():
            out[j] = np.nan
        return [int(time_ns) for time_ns in part.times_ns[:: self.params.bin_frames]]

    def _begin(self, part: Block, valid: np.ndarray, out: Any) -> list[int]:
        """Add frames to the bin; write it if they fill it, and return its time."""
        if not self._count:
            self._time_ns = int(part.times_ns[0])
        self._bins.add(frames_of(part, self.card))
        self._count += len(part)
        self._invalid += int(np.count_nonzero(~valid))
        if self._count < self.params.bin_frames:
            return []
        self._bins.finish(out[0])
        if self._invalid:
            out[0] = np.nan
        self._count = self._invalid = 0
        return [self._time_ns]

    def gap(self, first: int, count: int) -> None:
        self._restart()

    def state(self) -> State:
        return {
            "total": self._bins.total.copy(),
            "count": self._count,
            "invalid": self._invalid,
            "next_index": self._next_index,
            "time_ns": self._time_ns,
        }

    def restore(self, state: State) -> None:
        self._bins.total = require_array(state, "total", self._bins.total, "bin")
        self._count = require_int(state, "count", "bin")
        self._invalid = require_int({"invalid": 0, **state}, "invalid", "bin")
        self._next_index = require_int(state, "next_index", "bin")
        self._time_ns = require_int(state, "time_ns", "bin")

    def _restart(self) -> None:
        self._bins.restart()
        self._count = self._invalid = 0


def _out_dtype(dtype: np.dtype[Any], mode: str) -> str:
    if mode == "mean" or dtype.kind == "f":
        return "float32"
    return "uint32" if dtype.kind == "u" else "int32"


def _binned_camera(camera: Camera, n: int, mode: str) -> Camera:
    def scaled(value: Any, factor: float) -> float | None:
        return value * factor if isinstance(value, float) else None

    adu = n if mode == "sum" else 1
    return Camera(
        offset_adu=scaled(camera.offset_adu, adu),
        gain_e_per_adu=scaled(camera.gain_e_per_adu, n / adu),
        read_noise_e=scaled(camera.read_noise_e, n**0.5),
        qe=scaled(camera.qe, 1),
        saturation_adu=scaled(camera.saturation_adu, adu),
        excess_noise=camera.excess_noise,
    )
