"""The template on a card: what each frame asks of it is computed there, and what is rare on the host."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from ..core.card import Card
from ..core.mirror import Mirrors
from ..core.state import State
from .card_search import CardSearch
from .frozen_template import FrozenTemplate
from .kernels.agreement import Evidence
from .kernels.gauss_newton import Frame, read_only
from .kernels.measuring_gpu import MEASURING, STEP
from .kernels.misfit import SIGMA
from .kernels.misfit_gpu import MISFIT
from .kernels.shifting import CorrectedFrame
from .kernels.template_gpu import TEMPLATE
from .measurement import Measurement, Tried
from .patches import PatchGrid
from .search import CoarseSearch
from .smoothing import KERNELS
from .template import MISFIT_ROWS, NOISE_RATE, STEP_PX, Template
from .template_information import MEMORY_FRAMES


class CardLight(NamedTuple):
    """A Light on a card: the gain, and there the slopes (2,) and levels (by, bx)."""

    gain: np.float32
    slopes: Any
    levels: Any


class CardTemplate(FrozenTemplate):
    """A Template whose arrays live on a card. A step of a single shift takes as few bytes from there whatever the size
    of the frame; the shifts of patches are solved on the host, from 40 bytes a block.

    Frames are arrays of the card. `here` is the same on the host, for what is rare, as an examination for repeats.
    """

    def __init__(self, card: Card, dtypes: Sequence[Any], of: tuple[Any, ...]) -> None:
        """dtypes: those of frames that are compared with it; of: what Template takes."""
        super().__init__(*of)
        self._card = card
        of_images, noise = self._images._asdict(), self.noise.blocks._asdict()
        large = {"mean": self.mean, "anchor": self._anchor, "matrix": self._matrix, "noise_bias": self._noise_bias}
        del of_images["window"]
        self._mirrors = Mirrors(card, {**of_images, **large, **noise})
        kinds = {np.dtype(dtype).name for dtype in (*dtypes, "float32")}  # the anchor is a frame of float32
        self._measuring = {
            name: {**card.compiled(MEASURING, PIXEL=name), **card.compiled(MISFIT, PIXEL=name)} for name in kinds
        }
        self._kernels = card.compiled(TEMPLATE)
        self._smoothings = [card.put(kernel) for kernel in KERNELS]
        blocks, xp = self._noise_bias.shape, card.xp
        self._projections, self._misfits = xp.zeros((*blocks, 5)), xp.zeros((*blocks, 4))
        self._weights, self._found, self._mean_level = xp.zeros(blocks), xp.zeros(STEP), xp.zeros(1, np.float32)
        self._dark = CardLight(np.float32(1), xp.zeros(2, np.float32), xp.zeros(blocks, np.float32))
        self._common, self._fraction = xp.zeros(1, np.float32), xp.zeros((2, *blocks), np.float32)
        self._blocks_old = True  # of what the host has of the blocks' matrices
        self._shifts_there = xp.zeros((*blocks, 2), np.int32)
        self._groups = blocks[0] * -(-self.image.shape[1] // 256)  # of threads, that have a row of blocks together
        self._counts_there = (card.put(self._counts.rows), card.put(self._counts.columns))

    # On the host

    def here(self) -> Template:
        self._mirrors.on_host()
        twin = object.__new__(FrozenTemplate)
        own = {"_shifts": self._shifts.copy(), "_sums": self._sums.copy(), "_total": None, "_information": None}
        twin.__dict__.update(self.__dict__, **own)
        return twin

    def coarse_search(self, max_shift_px: tuple[float, float]) -> CoarseSearch:
        height, width = self.image.shape
        return CardSearch(self._card, list(self._measuring), (height, width), max_shift_px)

    @property
    def structure_there(self) -> tuple[Any, Any]:
        """The Gauss–Newton images in steps (3, y, x), and the size of the steps (by, bx, 3), on the card."""
        there = self._mirrors.on_card()
        return there["steps"], there["scale"]

    def of_seen_pixels(self, image: np.ndarray) -> np.ndarray:
        self._mirrors.on_host()
        return super().of_seen_pixels(image)

    def exceeds_contrast(self, frame: Any) -> bool:
        return super().exceeds_contrast(self._card.get(frame))

    def begin(self, registered: Any, frame: Any) -> None:
        self._mirrors.to_change()
        first, pixels = (read_only(self._card.get(each)) for each in (registered, frame))
        super().begin(first, first if registered is frame else pixels)

    def settle(self, registered: Callable[[Any], Any]) -> None:
        self._mirrors.to_change()
        super().settle(lambda mean: self._card.get(registered(self._card.put(mean))))

    def add_mean(self, other: FrozenTemplate) -> None:
        self._mirrors.to_change()
        super().add_mean(other.here())  # type: ignore[arg-type]

    def state(self) -> State:
        self._mirrors.on_host()
        return super().state()

    def restore(self, state: State) -> None:
        self._mirrors.to_change()
        super().restore(state)
        self._counts_changed()
        self._blocks_old = True

    # On the card

    @property
    def image_there(self) -> Any:
        return self._mirrors.on_card()["image"]

    @property
    def own_light(self) -> Any:
        return self._dark

    @property
    def _normal(self) -> np.ndarray:
        if self._total is None:
            self._total = self._totals()[:9].reshape(3, 3)
        return self._total

    def _totals(self) -> np.ndarray:
        there = self._mirrors.on_card()
        args = self._noise_bias.size, there["matrix"], there["noise_bias"], self._found
        self._kernels["totals"].blocks(1, *args)
        return self._card.get(self._found)

    def _whole_noise_bias(self) -> float:
        return float(self._totals()[9])

    def _measure_one(self, frame: Frame, integer: np.ndarray, tried: Tried) -> Measurement:
        if (self._shifts[0, 0] != integer[0, 0]).any():
            self._shifts[...] = integer
            for axis in range(2):
                self._shifts_there[..., axis] = int(integer[0, 0, axis])
        light: Any = self._projected(frame, tried)
        there, count = self._mirrors.on_card(), self._noise_bias.size
        of_blocks = self._projections, there["matrix"], there["noise_bias"]
        gains = float(tried.gain), float(tried.usual)
        self._measuring["float32"]["solve"].blocks(1, count, *of_blocks, *gains, self._weights, self._found)
        found = self._card.get(self._found).tolist()
        dy, dx, better = found[:3]
        step_px = max(-STEP_PX, min(STEP_PX, dy)), max(-STEP_PX, min(STEP_PX, dx))
        evidence = _evidence(found, tried, count)
        return Measurement(integer + step_px, better, max(abs(dy), abs(dx)), evidence, light)

    def _compared(self, frame: Frame, tried: Tried) -> Any:
        """The same as of the processor, with shifts of patches: what follows from projections is solved there."""
        self._shifts_there = self._card.put(self._shifts.astype(np.int32))
        light, there = self._projected(frame, tried), self._mirrors.on_card()
        if self._blocks_old:
            self._matrix[...] = self._card.get(there["matrix"])
            self._noise_bias[...] = self._card.get(there["noise_bias"])
            self._blocks_old = False
        self._sums[...] = self._card.get(self._projections)
        return light

    def _projected(self, frame: Frame, tried: Tried) -> CardLight:
        there, kernels = self._mirrors.on_card(), self._measuring[np.dtype(frame.pixels.dtype).name]
        xp, blocks, places = self._card.xp, self._noise_bias.shape, self._places(frame)
        gain, image, limit = np.float32(tried.gain), there["image"], there["limit"]
        levels, slopes = xp.empty(blocks, np.float32), xp.empty(2, np.float32)
        kernels["block_levels"].blocks(self._groups, *places, frame.pixels, image, limit, gain, levels)
        kernels["light_slopes"].blocks(2, *blocks, levels, slopes)
        images = there["steps"], there["scale"], limit, gain
        told = *images, levels, slopes, np.float32(tried.reach), self._projections
        kernels["project"].blocks(self._groups, *places, frame.pixels, image, *told)
        return CardLight(gain, slopes, levels)

    def misfit(self, frame: Frame, found: Measurement) -> float:
        there, kernels = self._mirrors.on_card(), self._measuring[np.dtype(frame.pixels.dtype).name]
        blocks, light = self._noise_bias.size, cast(CardLight, found.light)
        if self._grid.single:
            for axis in range(2):
                self._fraction[axis] = np.float32(found.patches_px[0, 0, axis] - self._shifts[0, 0, axis])
        else:
            fraction = (self._grid.at_blocks(found.patches_px) - self._shifts).transpose(2, 0, 1)
            self._fraction = self._card.put(fraction.astype(np.float32, order="C"))
        kernels["mean_level"].blocks(1, blocks, light.levels, self._mean_level)
        told = light.gain, light.levels, self._mean_level, self._fraction, max(1, self.image.shape[0] // MISFIT_ROWS)
        places = *self._places(frame), frame.pixels, there["image"]
        kernels["misfit"].blocks(self._groups, *places, *told, self._misfits)
        of_blocks = self._misfits, there["variance"], self._projections, there["matrix"]
        kernels["lacking"].blocks(1, blocks, *of_blocks, self._found)
        structure, chance, number, contrast = self._card.get(self._found)[:4].tolist()
        top, bottom, left, right = self._images.window.tolist()
        compared = (bottom - top) * (right - left)
        lacking = 2 * (structure - SIGMA * math.sqrt(chance)) * compared / number if number else 0.0
        return lacking / max(found.gain**2 * contrast, 1e-9)

    def _update_noise(self, frame: CorrectedFrame, due: Sequence[int], scale: float) -> None:
        if not due:
            return
        there, light = self._mirrors.on_card(), cast(CardLight, frame.light)
        images = frame.registered, there["image"], there["limit"]
        count = len(due) * -(-self.image.shape[1] // 256)
        told = *self.image.shape, due[0], len(due), *images, light.gain, light.levels, light.slopes
        noise = float(scale), NOISE_RATE, there["variance"], there["intensity"]
        self._kernels["update_noise"].blocks(count, *told, *noise)

    def _move(self, corrected: CorrectedFrame, frozen: bool) -> None:
        there, light = self._mirrors.on_card(), cast(CardLight, corrected.light)
        top, bottom, left, right = corrected.window
        rows, columns = self._counts_there
        if not frozen:
            for counts, counted in ((self._counts.rows, self._counts.columns), (rows, columns)):
                counts[top:bottom] += 1
                counted[left:right] += 1
            blocks = self._noise_bias.shape
            self._kernels["common_level"].blocks(1, *blocks, light.levels, light.slopes, self._common)
        images = corrected.registered, corrected.pixels, there["limit"]
        of_light = light.gain, light.levels, light.slopes, self._common
        told = rows, columns, MEMORY_FRAMES, np.float32(1 / self._corrected), int(frozen)
        pixels = max(0, bottom - top) * max(0, right - left)
        window = *self.image.shape, top, bottom, left, right
        self._kernels["update_template"].items(
            pixels, *window, *images, *of_light, *told, there["image"], there["mean"]
        )

    def _age_noise_bias(self, factor: float) -> None:
        self._mirrors.on_card()["noise_bias"][...] *= factor
        self._blocks_old = True

    def _set_anchor(self) -> None:
        there = self._mirrors.on_card()
        there["anchor"][...] = there["image"]

    def _anchor_frame(self) -> Any:
        return self._mirrors.on_card()["anchor"]

    def _fit_noise(self) -> None:
        there = self._mirrors.on_card()
        for name, array in zip(("variance", "intensity"), self.noise.blocks, strict=True):
            array[...] = self._card.get(there[name])
        super()._fit_noise()

    def _forget_beyond(self, frames: int) -> None:
        super()._forget_beyond(frames)
        self._counts_changed()

    def _counts_changed(self) -> None:
        self._counts_there = (self._card.put(self._counts.rows), self._card.put(self._counts.columns))

    def _begin_rows(self) -> None:
        self._counts_changed()
        super()._begin_rows()

    def _build(self, by: int) -> None:
        self._blocks_old = True
        there, kernel = self._mirrors.on_card(), self._kernel
        smoothing = self._smoothings[kernel], len(KERNELS[kernel]) // 2
        counts = *self._counts_there, 2 * MEMORY_FRAMES - 1
        noise = *self.noise.line.tolist(), int(self.noise.filtered), there["variance"]
        images = there["steps"], there["scale"], there["limit"], there["matrix"], there["noise_bias"]
        place = *self.image.shape, by, *self._images.window.tolist()
        shares = map(float, self._noise_shares[kernel])
        self._kernels["build_images"].blocks(
            self._noise_bias.shape[1], *place, there["image"], *smoothing, *noise, *counts, *shares, *images
        )

    def _places(self, frame: Frame) -> tuple[Any, ...]:
        return *self.image.shape, *frame.seen, *self._images.window.tolist(), self._shifts_there


def card_template(
    card: Card, dtypes: Sequence[Any], shape: tuple[int, int], grid: PatchGrid, told: tuple[Any, ...]
) -> CardTemplate:
    """Return a template on a card; told: what Template takes behind shape and grid."""
    return CardTemplate(card, dtypes, (shape, grid, *told))


def _evidence(found: list[float], tried: Tried, blocks: int) -> Evidence:
    """What speaks for a step, of what `solve` gives: see `solve_step`, `agreement` and `deficit`."""
    _, _, better, seen, fitting, information, could, does, squares, known, n, _ = found
    if not math.isfinite(better):
        return Evidence(0.0, 0.0, 0.0, 0.0, 0.0)
    least, excess = min(better, tried.usual), squares - n / 2 - 2 * math.sqrt(1.25 * n)
    return Evidence(
        seen / blocks,
        fitting / max(seen, 1e-9),
        better * math.sqrt(max(information, 0.0)),
        1 - does / could if could > 0 else 1.0,
        math.sqrt(2 * excess / known) / least if excess > 0 and least > 0 else 0.0,
    )
