"""Regions: fluorescence of given areas, live, for who needs no demixing."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import scipy.ndimage as ndi
from msgspec import Meta

from ..core.block import Block
from ..core.errors import ConfigError
from ..core.loaded import Loaded, plain_array
from ..core.operator import NO_VALUES, Gives, Operator, Output, Values
from ..core.params import Params
from ..core.registry import register
from ..core.spec import Spec
from ..core.state import State, require_array, require_int
from ..core.step_values import IDS
from ..core.unseen import VALID, known_pixels, valid_frames
from .extract.seeds import seeds_of_session
from .kernels.region_means import region_means
from .region_masks import region_masks

_Positive = Annotated[float, Meta(gt=0)]
COARSE = 64  # means of so many stretches of the window are what F0 is a percentile of


class RegionsParams(Params, frozen=True):
    """Parameters of `regions`."""

    regions: Annotated[
        Any,
        Meta(description="masks (n, y, x) or a labelled image (y, x) as .npy, a session, or polygons [[y, x], …] [px]"),
    ] = None
    neuropil_gap_px: Annotated[float, Meta(ge=0, description="distance of the neuropil from the region [px]")] = 2.0
    neuropil_px: Annotated[float, Meta(ge=1, description="width of the neuropil around it [px]")] = 8.0
    neuropil_factor: Annotated[float, Meta(ge=0, le=1, description="how much of the neuropil is subtracted")] = 0.7
    f0_percentile: Annotated[float, Meta(ge=0, le=100, description="F0 is this percentile of the window")] = 8.0
    f0_window_s: Annotated[float, Meta(gt=0, description="window of F0 [s]")] = 30.0
    interval_s: Annotated[_Positive | None, Meta(description="frame interval if the source does not state it [s]")] = (
        None
    )


def regions_of_file(loaded: Loaded, spec: Spec) -> np.ndarray:
    """Return masks or labels from a .npy, or the accepted footprints of a session."""
    return plain_array(loaded, spec) if loaded.steps is None else np.array(seeds_of_session(loaded, spec).images)


@register("regions")
class Regions(Operator):
    """Mean, neuropil and ΔF/F of given regions in every frame.

    The neuropil of a region is the mean of the pixels around it that belong to none; ΔF/F is (F − F0) / F0 with
    F = mean − factor · neuropil, and F0 a running percentile of F, taken of its means over a 64th of the window. The
    camera's offset is taken off first; where it is not known, ΔF/F counts it as light. NaN where F0 is not 3 σ above 0,
    before two 64ths of the window, and in frames that are not valid. Cost: 1 ns a pixel of all regions and
    neuropils; state: 64 numbers a region.
    """

    Params = RegionsParams
    may_need = (VALID,)
    from_file = {"regions": regions_of_file}
    examples = (
        {
            "regions": [[[1, 1], [1, 6], [7, 6], [7, 1]], [[8, 9], [8, 15], [12, 12]]],
            "neuropil_px": 3.0,
            "f0_window_s": 6.4,
        },
    )
    gives = (
        Gives("mean", "by_id", ("t", "id"), "ADU", "mean of each region"),
        Gives("neuropil", "by_id", ("t", "id"), "ADU", "mean around it"),
        Gives("dff", "by_id", ("t", "id"), "", "ΔF/F of what is above the neuropil; NaN where F0 is not known"),
        Gives("masks", "snapshot", ("y", "x"), "", "number of the region that a pixel belongs to, from 1 on"),
    )

    def __init__(self, params: RegionsParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        whole = [[0, 0], [0, spec.shape[1]], list(spec.shape), [spec.shape[0], 0]]
        masks = region_masks([whole] if params.regions is None else params.regions, spec.shape)
        around = _neuropils(masks, params.neuropil_gap_px, params.neuropil_px)
        self._factor = params.neuropil_factor if params.regions is not None else 0.0
        lonely = np.flatnonzero(~around.any((1, 2)))
        if self._factor and len(lonely):
            raise ConfigError(
                f"regions: around region {lonely[0]} every pixel belongs to another; raise neuropil_px, or set "
                "neuropil_factor = 0"
            )
        self._count = len(masks)
        self._starts, self._pixels = _listed(np.concatenate((masks, around)))
        self._labels = np.zeros(spec.shape, np.int32)
        for n, mask in enumerate(masks, 1):
            self._labels[mask] = n
        interval_s = params.interval_s or spec.interval_s
        if interval_s is None:
            raise ConfigError("regions: F0 needs the frame interval; the source does not state one: set interval_s")
        self._stretch = max(1, round(params.f0_window_s / interval_s / COARSE))
        offset = None if spec.camera is None else spec.camera.offset_adu
        level = np.broadcast_to(0.0 if offset is None else offset, spec.shape)
        self._offset = np.array([level[mask].mean() if mask.any() else 0.0 for mask in (*masks, *around)])
        self._coarse = np.full((COARSE, self._count), np.nan)
        self._sums, self._seen = np.zeros((2, self._count))
        self._next_index = self._stretches = 0
        self._f0 = np.full(self._count, np.nan)
        self._means_of(Block(0, np.zeros(1, np.int64), np.zeros((1, *spec.shape), spec.dtype)).pixels)

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        block = known_pixels(block)
        means = self._means_of(block.pixels)
        means[~valid_frames(block, inputs)] = np.nan
        mean, neuropil = means[:, : self._count], means[:, self._count :]
        over = means - self._offset
        light = over[:, : self._count]
        if self._factor:
            light = light - self._factor * over[:, self._count :]
        dff = np.empty_like(light)
        for t, row in enumerate(light):
            self._follow(block.index + t, row)
            dff[t] = (row - self._f0) / self._f0
        values = {"mean": mean, "neuropil": neuropil, "dff": dff}
        return Output(
            block.index, {IDS: np.arange(self._count), **{n: a.astype(np.float32) for n, a in values.items()}}
        )

    def read(self, names: Any = None, inputs: Values = NO_VALUES) -> dict[str, np.ndarray]:
        return {name: self._labels.copy() for name in self.snapshot_names(names)}

    def state(self) -> State:
        arrays = {name: array.copy() for name, array in self._arrays().items()}
        return {"next_index": self._next_index, "stretches": self._stretches, **arrays}

    def restore(self, state: State) -> None:
        for name, array in self._arrays().items():
            array[...] = require_array(state, name, array, "regions")
        self._next_index = require_int(state, "next_index", "regions")
        self._stretches = require_int(state, "stretches", "regions")

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"coarse": self._coarse, "sums": self._sums, "seen": self._seen, "f0": self._f0}

    def _means_of(self, frames: np.ndarray) -> np.ndarray:
        means = np.empty((len(frames), 2 * self._count))
        region_means(np.ascontiguousarray(frames).reshape(len(frames), -1), self._starts, self._pixels, means)
        return means

    def _follow(self, index: int, light: np.ndarray) -> None:
        """Take a frame's light (n,) into the stretch of the window that its index falls in."""
        if index // self._stretch != self._next_index // self._stretch:  # a gap went over the end of a stretch
            self._end_stretch()
        known = np.isfinite(light)
        self._sums[known] += light[known]
        self._seen += known
        self._next_index = index + 1
        if self._next_index % self._stretch == 0:
            self._end_stretch()

    def _end_stretch(self) -> None:
        if not self._seen.any():
            return
        with np.errstate(invalid="ignore"):
            self._coarse[self._stretches % COARSE] = self._sums / self._seen
        self._stretches += 1
        self._sums[:], self._seen[:] = 0, 0
        filled = self._coarse[: min(self._stretches, COARSE)]
        self._f0[:] = _percentile(filled, self.params.f0_percentile)
        scatter = 1.0484 * _percentile(np.abs(np.diff(filled, axis=0)), 50)  # σ of a stretch, of normal ones
        self._f0[~(self._f0 > 3 * scatter)] = np.nan  # light at rest that is none: the ratio would be anything


def _percentile(values: np.ndarray, percent: float) -> np.ndarray:
    """Return a percentile of the known values (n, k) of each column, NaN of none: as numpy's, which takes a loop."""
    known = np.count_nonzero(~np.isnan(values), 0)
    ordered = np.sort(values, 0)  # NaN is last
    if not len(ordered):
        return np.full(values.shape[1], np.nan)
    place = percent / 100 * np.maximum(known - 1, 0)
    low = np.floor(place).astype(int)
    columns = np.arange(values.shape[1])
    below, above = ordered[low, columns], ordered[np.minimum(low + 1, np.maximum(known - 1, 0)), columns]
    found: np.ndarray = below + (place - low) * (above - below)
    return found


def _neuropils(masks: np.ndarray, gap_px: float, width_px: float) -> np.ndarray:
    """For each region the pixels (n, y, x) between `gap_px` and that and `width_px` around it that belong to none."""
    free = ~masks.any(0)
    found = []
    for mask in masks:
        distance = ndi.distance_transform_edt(~mask)
        found.append(free & (distance > gap_px) & (distance <= gap_px + width_px))
    return np.array(found)


def _listed(masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of all masks one after the other, and where each begins."""
    listed = [np.flatnonzero(mask) for mask in masks]
    starts = np.concatenate(([0], np.cumsum([len(pixels) for pixels in listed])))
    return starts.astype(np.int64), np.concatenate(listed).astype(np.int64)
