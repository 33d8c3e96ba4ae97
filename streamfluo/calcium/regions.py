"""Regions: fluorescence of given areas, live, for who needs no demixing."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta

from ..core.block import Block
from ..core.card import Card
from ..core.card_block import frames_of, on_device
from ..core.errors import ConfigError
from ..core.freezable import Freezable
from ..core.loaded import Loaded, plain_array
from ..core.operator import NO_VALUES, Gives, Output, Presents, Values
from ..core.params import Params
from ..core.registry import register
from ..core.spec import Spec
from ..core.state import State
from ..core.step_values import IDS
from ..core.unseen import VALID, known_pixels, valid_frames
from ..pixels.region_masks import neuropils, region_masks
from .extract.seeds import seeds_of_session
from .kernels.region_means import region_means
from .kernels.region_means_gpu import REGION_MEANS
from .running_f0 import COARSE, RunningF0

_Positive = Annotated[float, Meta(gt=0)]


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


class Areas(NamedTuple):
    """Pixels of n regions, and runs (m, 2) of neighbouring ones of all regions and neuropils (2 n) one after the other,
    first pixel and one past the last, and where each region's begin.

    labels (y, x) number the regions from 1 on; offset (2 n,) is the camera's [ADU], factor what of the neuropil is
    subtracted.
    """

    regions: list[np.ndarray]
    starts: np.ndarray
    runs: np.ndarray
    labels: np.ndarray
    offset: np.ndarray
    factor: float


@register("regions")
class Regions(Freezable):
    """Mean, neuropil and ΔF/F of given regions in every frame.

    The neuropil of a region is the mean of the pixels around it that belong to none; ΔF/F is (F − F0) / F0 with
    F = mean − factor · neuropil, and F0 a running percentile of F, taken of its means over a 64th of the window. The
    camera's offset is taken off first; where it is not known, ΔF/F counts it as light. NaN where F0 is not 3 σ above 0,
    before two 64ths of the window, and in frames that are not valid. Cost: 1 ns a pixel of all regions and
    neuropils; state: 64 numbers a region.

    `regions` may be changed while frames flow, to polygons: a region whose pixels are others than those of the one in
    its place before begins its F0 anew, the others go on.
    """

    Params = RegionsParams
    devices = ("cpu", "gpu")
    twin_tolerance = 2e-7  # a step of float32: sums of floats are added in another order
    version = 3  # 2: the state knows its regions, which may be changed; 3: σ of stretches in the order of their times
    learns = False
    presents = Presents(("frames", "masks"), ("dff", "mean"))
    live = {"regions": [[[0, 0], [0, 5], [6, 5], [6, 0]], [[8, 9], [8, 15], [12, 12]], [[9, 1], [9, 4], [12, 3]]]}
    may_need = (VALID,)
    from_file = {"regions": regions_of_file}
    examples = (
        {
            "regions": [[[1, 1], [1, 6], [7, 6], [7, 1]], [[8, 9], [8, 15], [12, 12]]],
            "neuropil_px": 3.0,
            "f0_window_s": 1.28,  # stretches of a frame: 65 warm up, which the movie of the laws has
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
        interval_s = params.interval_s or spec.interval_s
        if interval_s is None:
            raise ConfigError("regions: F0 needs the frame interval; the source does not state one: set interval_s")
        self._known: dict[Any, Areas] = {}  # by what they are made of: those that were, and those prepared
        self._areas = self._areas_of(params)
        self._stretch = max(1, round(params.f0_window_s / interval_s / COARSE))
        self._f0 = RunningF0(self._areas.regions, self._stretch, params.f0_percentile)
        if self.card is None:
            self._means_of(Block(0, np.zeros(1, np.int64), np.zeros((1, *spec.shape), spec.dtype)).pixels)
        else:
            total = "int64" if np.dtype(spec.dtype).kind in "iu" else "float64"
            self._of_card = self.card.compiled(REGION_MEANS, PIXEL=spec.dtype, TOTAL=total)["region_means"]
            self._placed = _placed(self._areas, self.card)

    def prepare(self, params: RegionsParams) -> None:
        self._areas_of(params)

    def change(self, params: RegionsParams) -> None:
        areas = self._areas_of(params)
        if self.card is not None:
            self._placed = _placed(areas, self.card)
        self._areas, self.params = areas, params

    def _areas_of(self, params: RegionsParams) -> Areas:
        regions = params.regions
        key = msgspec.json.encode(regions) if isinstance(regions, list | tuple) else id(regions)
        if (found := self._known.get(key)) is None:
            found = _areas(params, self.spec)
            self._known = {**dict(list(self._known.items())[-3:]), key: found}
        return found

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        block = known_pixels(on_device(block, self.card))
        means = self._means_of(frames_of(block, self.card))
        means[~valid_frames(block, inputs)] = np.nan
        areas, count = self._areas, len(self._areas.regions)
        mean, neuropil = means[:, :count], means[:, count:]
        over = means - areas.offset
        light = over[:, :count]
        if areas.factor:
            light = light - areas.factor * over[:, count:]
        dff = np.empty_like(light)
        self._f0 = self._f0.of(areas.regions)
        for t, row in enumerate(light):
            self._f0.follow(block.index + t, row)
            dff[t] = (row - self._f0.value) / self._f0.value
        values = {"mean": mean, "neuropil": neuropil, "dff": dff}
        return Output(block.index, {IDS: np.arange(count), **{n: a.astype(np.float32) for n, a in values.items()}})

    def read(self, names: Any = None, inputs: Values = NO_VALUES) -> dict[str, np.ndarray]:
        return {name: self._areas.labels.copy() for name in self.snapshot_names(names)}

    def state(self) -> State:
        return self._f0.state()

    def restore(self, state: State) -> None:
        self._f0.restore(state, "regions")

    @property
    def warm_up_frames(self) -> int:
        return self._f0.memory_frames

    def freeze(self) -> None:
        """Begin anew: what it saw of a sample, from which others learn, is of other frames."""
        self._f0 = RunningF0(self._areas.regions, self._stretch, self.params.f0_percentile)

    def begin_part(self) -> None:
        """Go on: F0 is that of the frames before."""

    def absorb(self, other: Regions) -> None:
        self._f0 = other._f0

    def _means_of(self, frames: Any) -> np.ndarray:
        n, count = len(frames), 2 * len(self._areas.regions)
        if self.card is not None:
            there, pixels = self.card.xp.empty((n, count)), self.spec.shape[0] * self.spec.shape[1]
            self._of_card.blocks(n * count, frames, n, pixels, count, *self._placed, there)
            return self.card.get(there)
        means = np.empty((n, count))
        flat = np.ascontiguousarray(frames).reshape(len(frames), -1)
        zero = np.float64(0) if flat.dtype.kind == "f" else np.int64(0)
        region_means(flat, self._areas.starts, self._areas.runs, zero, means)
        return means


def _areas(params: RegionsParams, spec: Spec) -> Areas:
    """Return the regions and neuropils that parameters ask for. Raises ConfigError."""
    whole = [[0, 0], [0, spec.shape[1]], list(spec.shape), [spec.shape[0], 0]]
    masks = region_masks([whole] if params.regions is None else params.regions, spec.shape)
    around = neuropils(masks, params.neuropil_gap_px, params.neuropil_px)
    factor = params.neuropil_factor if params.regions is not None else 0.0
    lonely = np.flatnonzero(~around.any((1, 2)))
    if factor and len(lonely):
        raise ConfigError(
            f"regions: around region {lonely[0]} every pixel belongs to another; raise neuropil_px, or set "
            "neuropil_factor = 0"
        )
    listed = [np.flatnonzero(mask) for mask in (*masks, *around)]
    runs = [_runs(pixels) for pixels in listed]
    starts = np.concatenate(([0], np.cumsum([len(run) for run in runs]))).astype(np.int64)
    labels = np.zeros(spec.shape, np.int32)
    for n, mask in enumerate(masks, 1):
        labels[mask] = n
    offset = None if spec.camera is None else spec.camera.offset_adu
    level = np.broadcast_to(0.0 if offset is None else offset, spec.shape).reshape(-1)
    offsets = np.array([level[pixels].mean() if len(pixels) else 0.0 for pixels in listed])
    return Areas(listed[: len(masks)], starts, np.concatenate(runs), labels, offsets, factor)


def _placed(areas: Areas, card: Card) -> tuple[Any, Any]:
    """Return on a card where the pixels of each region and neuropil begin (2 n + 1,), and the pixels listed."""
    lengths = areas.runs[:, 1] - areas.runs[:, 0]
    first = np.repeat(areas.runs[:, 0] - np.cumsum(lengths) + lengths, lengths)
    starts = np.concatenate(([0], np.cumsum(lengths)))[areas.starts]
    return card.put(starts), card.put((first + np.arange(len(first))).astype(np.int32))


def _runs(pixels: np.ndarray) -> np.ndarray:
    """Return runs (m, 2) of neighbouring pixels in ascending ones (n,): the first of each, and one past its last."""
    ends = np.flatnonzero(np.diff(pixels) != 1)
    first, last = np.append(pixels[:1], pixels[ends + 1]), np.append(pixels[ends], pixels[-1:])
    return np.stack([first, last + 1], 1).astype(np.int64)
