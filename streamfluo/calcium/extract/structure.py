"""Cells of a structural channel: how likely each component is one of those that it labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.ndimage as ndi

from ...core.errors import ConfigError, StateError
from ...core.loaded import Loaded, plain_array
from ...core.spec import Spec
from ...core.state import State, require_int
from ...pixels.region_masks import masks_of_labels
from ..extracted_components import MARKED
from ..kernels.footprint_statistics import add_shifted
from ..summary_images import masks_from_structure
from .background import Background
from .components import UNMEASURED, Components
from .params import ExtractParams

STRUCTURE = "structure"  # the input, and the parameter
SEEDED_BY_IT = "structure"  # of `seeds`
MARKED_PER_FRAME = 2  # .4 ms each
FITS, NEIGHBOUR_ERROR = 3, 0.3  # of what is shown of neighbours, and which part of that is uncertain
AROUND_PX = 5  # beyond a footprint: what its surroundings are taken from
NEIGHBOURS = 8  # that a fit has a place for, those that overlap most
MOST_BLEED = 0.5  # that is estimated; more is to be stated
BLEED_SPREAD = 0.3  # relative sd of it between cells: the green picture is of the first frames, and activity differs
LEAST_CELLS = 5  # to estimate it from
LARGEST = 100.0  # of what a label may be in units of the noise
# The chance of a label, a logistic function of contrast in noise σ times its correlation with the footprint: fitted to
# 24 simulated fields of 25 cells each, labels down to a seventh of a usual one's light.
HALF, SCALE = 2.0, 0.35
# Of the cells labelled, at most, in the prior: that of most of those fields; rounds to estimate a smaller one.
PART, ROUNDS = 0.4, 10
NEARLY_ALL, FEW = 0.9, 10
MOST_OF_THE_FIELD = 0.5  # that the mask of one cell may cover


def structure_of_file(loaded: Loaded, spec: Spec) -> np.ndarray:
    """Return the picture, masks or labels of a .npy, or the mean picture that a session left."""
    if loaded.steps is None:
        return plain_array(loaded, spec)
    for step in loaded.steps:
        for name in ("mean", "background"):
            if (found := step.snapshot.get(name)) is not None and found.shape == spec.shape:
                return np.asarray(found, np.float32)
    raise ConfigError(f"{loaded.path}: no step left a picture of {spec.shape}")


class Structure:
    """What is known of the structural channel of frames of one shape, and what it says of components.

    Of a picture, how far a cell's own light exceeds what surrounds it, and whether it has the footprint's shape; the
    indicator's light in it, which is the least part of its own picture that cells have in common, is taken away. Of
    masks, how much of a footprint lies in one. NaN where nothing is known.
    """

    def __init__(self, params: ExtractParams, shape: tuple[int, int]) -> None:
        self._shape, self._sigma_px, self._stated = shape, params.neuron_sigma_px, params.structure_bleed
        self._picture: np.ndarray | None = None
        self._masks: np.ndarray | None = None
        self._in_masks = np.zeros(shape, bool)
        self._taken = self._turn = 0
        self._noise = 0.0  # of a cell's light in the picture [ADU]; 0: to be measured
        self.bleed = self._stated or 0.0
        if params.structure is not None:
            self._state(params.structure)

    @property
    def known(self) -> bool:
        """Whether there is anything to compare cells with."""
        return self._picture is not None or self._masks is not None

    def _state(self, value: Any) -> None:
        try:
            array = np.asarray(value)
        except ValueError:  # lists of several lengths
            array = np.asarray(None)
        if array.dtype.kind not in "biuf":
            raise ConfigError(f"extract: structure: no session folder and no .npy file {str(value)[:80]!r}")
        if not np.isfinite(array.astype(float)).all():
            raise ConfigError("extract: structure must be finite")
        if array.shape == self._shape and array.dtype.kind == "f":
            self._picture = array.astype(np.float32)
        elif array.shape == self._shape:
            self._masks = masks_of_labels(array, "extract: structure (a picture is of floats)")
        elif array.ndim == 3 and array.shape[1:] == self._shape:
            self._masks = array > 0
            if (share := self._masks.mean((1, 2))).max(initial=0) > MOST_OF_THE_FIELD:
                raise ConfigError(
                    f"extract: structure: mask {share.argmax()} covers {share.max():.0%} of the field; masks are 0 "
                    "outside their cell, and a picture is (y, x)"
                )
        else:
            raise ConfigError(
                f"extract: structure is a picture (y, x) of floats, labels (y, x) or masks (n, y, x) on {self._shape}, "
                f"found {array.shape} {array.dtype}"
            )
        if self._masks is not None:
            self._in_masks = np.asarray(self._masks.any(0))

    def take(self, picture: np.ndarray, stop: int) -> None:
        """Take the mean picture (y, x) of the frames before `stop`; the first one, and then one of twice as many."""
        if self._taken and stop < 2 * self._taken:
            return
        seen = np.isfinite(picture)
        if not seen.any():
            return
        self._picture = np.where(seen, picture, np.median(picture[seen])).astype(np.float32)
        self._taken, self._noise = stop, 0.0

    def masks(self) -> np.ndarray:
        """Return the cells of the structural channel (n, y, x), to seed components with."""
        if self._masks is not None:
            return self._masks
        if self._picture is None:
            return np.zeros((0, *self._shape), bool)
        return masks_from_structure(self._picture, self._sigma_px)

    def mark(self, cells: Components, background: Background, count: int) -> None:
        """Measure the next `count` components, in turn, and say of all how likely they are labelled."""
        if not self.known or not cells.count:
            return
        if self._picture is not None and not self._noise:
            self._noise = picture_noise(self._picture - np.float32(self.bleed) * background.mean, self._sigma_px)
        for n in range(min(count, cells.count)):
            k = (self._turn + n) % cells.count
            if self._masks is not None:
                cells.structural[k] = _share_within(cells, k, self._in_masks)
            else:
                assert self._picture is not None
                cells.label[k] = light_of(cells, k, self._picture, background, self.bleed, self._noise)
        self._turn = (self._turn + count) % cells.count
        if self._picture is not None and self._masks is None:
            self._judge(cells, background)

    def _judge(self, cells: Components, background: Background) -> None:
        assert self._picture is not None
        measured = cells["label"][:, 2] != UNMEASURED
        structural, indicator, correlation = cells["label"][measured].T
        if self._stated is None:
            self.bleed = bleed_through(structural, indicator, self._noise)
        cells["structural"][measured] = chance(structural, indicator, correlation, self.bleed, self._noise)

    def doubt(self, cells: Components) -> str:
        """Return why the marks may be wrong, or ""."""
        if not self.known:
            return ""
        accepted = cells["accepted"]
        marked = (cells["structural"] > MARKED)[accepted]
        if self._masks is None and self._stated is None and len(marked) >= FEW and marked.mean() >= NEARLY_ALL:
            return (
                f"{int(marked.sum())} of {len(marked)} cells are marked as structural: all are labelled, or the "
                "channel shows much of the indicator's light; then state structure_bleed"
            )
        return ""

    def state(self) -> State:
        """Return all carried values as state entries."""
        picture = np.zeros((0, 0), np.float32) if self._picture is None else self._picture.copy()
        return {
            "structure_picture": picture, "structure_taken": self._taken, "structure_turn": self._turn,
            "structure_noise": float(self._noise), "structure_bleed": float(self.bleed),
        }  # fmt: skip

    def restore(self, state: State, where: str) -> None:
        """Restore what `state` returned. Raises StateError."""
        picture = np.asarray(state.get("structure_picture"))
        numbers = [state.get(f"structure_{name}") for name in ("noise", "bleed")]
        sound = picture.dtype == np.float32 and picture.shape in ((0, 0), self._shape) and np.isfinite(picture).all()
        if not sound or not all(isinstance(n, float) and np.isfinite(n) for n in numbers):
            raise StateError(f"{where}: state 'structure' must be a finite picture of {self._shape}; it was damaged")
        self._picture = picture.copy() if picture.size else None
        self._taken, self._turn = (require_int(state, f"structure_{name}", where) for name in ("taken", "turn"))
        self._noise, self.bleed = float(numbers[0]), float(numbers[1])  # type: ignore[arg-type]


def light_of(
    cells: Components, k: int, picture: np.ndarray, background: Background, bleed: float, noise_adu: float
) -> np.ndarray:
    """Return light of component k's peak in the structural and in the indicator's picture [ADU], and the correlation of
    its footprint with what the former shows of it alone (3,).

    Least squares of both pictures on its footprint, those of its neighbours and a plane, over the footprint and what
    lies within AROUND_PX of it. Neighbours' footprints are uncertain: a pixel counts less for a part of what is shown
    there of them, beside the picture's noise, and light that as large an error of all of it explains is not counted.
    """
    (height, width), (top, left) = cells.box_shape, cells.origin[k]
    area = np.s_[top : top + height, left : left + width]
    noise = background.noise[area]
    own = cells.box[k] * noise
    peak = float(own.max())
    near = ndi.binary_dilation(own > 0, iterations=AROUND_PX) & (background.weight[area] > 0)
    if peak <= 0 or near.sum() < 20:
        return np.array([0.0, 0.0, 0.0])
    y, x = np.nonzero(near)
    columns = [own[near] / peak, np.ones(len(y)), (y - y.mean()) / height, (x - x.mean()) / width]
    others = []
    for other in cells.neighbour[k, : cells.neighbours[k]].tolist():
        box = np.zeros(cells.box_shape, np.float32)
        add_shifted(box, cells.origin[k], cells.box[other], cells.origin[other], np.float32(1))
        light = (box * noise)[near]
        if light.any():
            others.append(light / float(light.max()))
    others = sorted(others, key=lambda light: -float(light.sum()))[:NEIGHBOURS]
    both = np.stack([picture[area][near], background.mean[area][near]], 1).astype(float)
    shown = both[:, 0] - bleed * both[:, 1]
    weight = np.ones(len(y))
    for _ in range(FITS):
        design, values = np.stack([*columns, *others], 1), np.column_stack([both, shown])
        solved = np.linalg.lstsq(design * weight[:, None], values * weight[:, None], rcond=None)[0]
        lights = solved[len(columns) :, 2]
        kept = [(one, height) for one, height in zip(others, lights.tolist(), strict=True) if height > 0]
        others = [one for one, _ in kept]  # a neighbour takes no light away
        beside = sum((height * one for one, height in kept), np.zeros(len(y)))
        weight = noise_adu / np.sqrt(noise_adu**2 + (NEIGHBOUR_ERROR * beside) ** 2)
    rest, shape = shown - design[:, 1:] @ solved[1:, 2], columns[0]
    rest, shape = (values - np.average(values, weights=weight**2) for values in (rest, shape))
    products = [np.average(a * b, weights=weight**2) for a, b in ((rest, shape), (rest, rest), (shape, shape))]
    spread = float(np.sqrt(products[1] * products[2]))
    correlation = float(products[0]) / spread if spread > 0 else 0.0
    own_light, leak = solved[0, 0], NEIGHBOUR_ERROR * float(columns[0] @ beside) / float(columns[0] @ columns[0])
    return np.array([min(own_light, max(0.0, own_light - leak)), solved[0, 1], correlation])


def picture_noise(picture: np.ndarray, sigma_px: float) -> float:
    """Return the robust σ of a picture's (y, x) contrast at the scale of cells [ADU], at least a millionth."""
    cell = sigma_px / 2
    contrast = ndi.gaussian_filter(picture, cell) - ndi.gaussian_filter(picture, 4 * cell)
    return max(1.4826 * float(np.median(np.abs(contrast - np.median(contrast)))), 1e-6)


def bleed_through(structural: np.ndarray, indicator: np.ndarray, noise: float) -> float:
    """Return which part β of the indicator's light (K,) the structural channel shows, 0 of fewer than five cells.

    The likeliest of a grid up to MOST_BLEED: light of a cell is β of the indicator's, with noise and a spread of 30 %,
    or anything above that, as likely at each of two decades. Cells without a label have β in common; labels differ.
    """
    if len(structural) < LEAST_CELLS:
        return 0.0
    tried = np.linspace(0, MOST_BLEED, 51)[:, None]
    common = tried * np.maximum(indicator, 0)
    sd = np.sqrt(noise**2 + (BLEED_SPREAD * common) ** 2)
    over = structural - common
    alone = np.exp(-((over / sd) ** 2) / 2) / (np.sqrt(2 * np.pi) * sd)
    labelled = np.where(over > sd, 1 / (np.log(LARGEST) * np.maximum(over, sd)), 0)
    return float(tried[np.log(alone / 2 + labelled / 2 + 1e-12).sum(1).argmax(), 0])


def chance(
    structural: np.ndarray, indicator: np.ndarray, correlation: np.ndarray, bleed: float, noise: float
) -> np.ndarray:
    """Return the chance (K,) that each cell is labelled, of what `light_of` returns of each.

    The part of the cells that is labelled is estimated from the chances themselves, by expectation maximisation: where
    hardly any is, or nobody, a mark needs more, as of many cells without a label a few stand out by noise.
    """
    common = bleed * np.maximum(indicator, 0)
    contrast = (structural - common) / np.sqrt(noise**2 + (BLEED_SPREAD * common) ** 2)
    score = (contrast * np.maximum(correlation, 0) - HALF) / SCALE
    part, usual = PART, np.log(PART / (1 - PART))
    for _ in range(ROUNDS):
        odds = score + np.log(part / (1 - part)) - usual
        found = 1 / (1 + np.exp(-np.clip(odds, -50, 50)))
        part = min(float((found.sum() + PART) / (len(found) + 1)), PART)
    return np.asarray(found)


def _share_within(cells: Components, k: int, inside: np.ndarray) -> float:
    """The part of a footprint's weight that lies in masks (y, x)."""
    (height, width), (top, left) = cells.box_shape, cells.origin[k]
    box = cells.box[k]
    total = float(box.sum())
    return float(box[inside[top : top + height, left : left + width]].sum()) / total if total > 0 else 0.0
