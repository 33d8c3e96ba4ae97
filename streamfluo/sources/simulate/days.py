"""`sim:calcium` of an animal that is seen on several days: each seed is a day.

The animal's cells and tissue are drawn from `animal`, wider than the field. A day sees them turned and shifted (normal,
sd `day_turn_deg`, `day_shift_px` along each axis, at most 2.5 sd) and smoothly deformed (sd `day_warp_px`, over a third
of the field). Each cell is there with probability `day_common`, independently of other days, so that this is also the
part of a day's cells that another day has; one that is not there shows no light at rest either. Amplitude and light at
rest change by factors exp(`day_brightness` · normal); a fifth of the tissue is the day's own.
Days are of one animal where shape, size of neurons and these parameters are the same.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage, sparse

from .calcium_params import CalciumParams
from .calcium_scene import PX_PER_NEURON, Scene, Slice
from .camera import generator
from .neuropil import FollowingNeuropil
from .tissue import draw_bodies, draw_footprints, draw_tissue, scatter_neurons, smooth_field

_ANIMAL, _DAY = 12, 13  # streams of random numbers
_LIMIT = 2.5
_OWN_TISSUE = 0.2
_SHOWN = 0.3  # of a cell's light must lie in the field


class DayScene(Scene):
    """What lies still on one day: `cell` (K,) the animal's number of each, the day's `turn_deg` and `moved_px` (2,)."""

    def __init__(self, params: CalciumParams, pad_px: int) -> None:
        assert params.animal is not None
        p, sigma, animal = params, params.neuron_sigma_px, generator(params.animal, _ANIMAL)
        self.pad_px = pad_px
        self.field = (p.shape[0] + 2 * pad_px, p.shape[1] + 2 * pad_px)
        own = generator(p.seed, _DAY)
        drawn = np.clip(own.standard_normal(3), -_LIMIT, _LIMIT)
        self.turn_deg, self.moved_px = float(p.day_turn_deg * drawn[0]), p.day_shift_px * drawn[1:]
        margin = self._margin_px(p)
        wide = (self.field[0] + 2 * margin, self.field[1] + 2 * margin)
        count = p.neurons if p.neurons is not None else max(1, p.shape[0] * p.shape[1] / (PX_PER_NEURON * sigma**2))
        population = max(1, round(count * wide[0] * wide[1] / (p.shape[0] * p.shape[1]) / p.day_common))
        places = scatter_neurons(population, wide, 0, animal)
        bodies = draw_bodies(population, p.size_spread, p.rings, animal)
        images = draw_footprints(places, wide, 0, sigma, animal, bodies, np.zeros((1, population)))[0]
        rates = p.spike_rate_hz * animal.lognormal(-(0.5**2) / 2, 0.5, population)
        amplitude = p.signal * p.photons * animal.lognormal(-(0.3**2) / 2, 0.3, population)
        rest = p.rest * animal.lognormal(-(0.4**2) / 2, 0.4, population)
        tissue = draw_tissue(wide, sigma, animal)

        at = self._seen_at(margin, p, own)
        there = own.random(population) < p.day_common
        shown = sparse.csc_array(_weights(at, wide) @ images)
        inside = np.zeros(self.field, bool)
        self.inside(inside)[:] = True
        light = np.asarray(images.sum(0)).ravel()
        seen = np.asarray(inside.ravel().astype(np.float32) @ shown).ravel()
        self.cell = np.flatnonzero(there & (seen > _SHOWN * light))
        footprints = sparse.csc_array(shown[:, self.cell])
        self.position_px = _centres(footprints, self.field) - pad_px
        factors = np.exp(p.day_brightness * own.standard_normal((2, population)))[:, self.cell]
        self.rate_hz = rates[self.cell]
        self.amplitude, self.rest = amplitude[self.cell] * factors[0], rest[self.cell] * factors[1]
        self.z_um = np.zeros(len(self.cell))
        self.slices = [self._of_day(p, footprints, [_sampled(image, at) for image in tissue], own)]
        self.following = FollowingNeuropil(self.field, self.position_px + pad_px, sigma)
        self.focus_depth = animal.standard_normal(population)[self.cell]

    def _margin_px(self, p: CalciumParams) -> int:
        turn = min(np.radians(_LIMIT * p.day_turn_deg), np.pi / 2)
        moved = _LIMIT * p.day_shift_px + 4 * p.day_warp_px
        return int(np.ceil(np.sin(turn) * np.hypot(*self.field) / 2 + moved + 4 * p.neuron_sigma_px))

    def _seen_at(self, margin: int, p: CalciumParams, own: np.random.Generator) -> np.ndarray:
        """Where the pixels of the padded field lie in the animal (2, pixels)."""
        turn, middle = np.radians(self.turn_deg), (np.array(self.field) - 1) / 2
        y, x = (axis.ravel() - m for axis, m in zip(np.mgrid[: self.field[0], : self.field[1]], middle, strict=True))
        at = np.stack([np.cos(turn) * y - np.sin(turn) * x, np.sin(turn) * y + np.cos(turn) * x])
        at += (middle + margin + self.moved_px)[:, None]
        if p.day_warp_px:
            at += p.day_warp_px * np.stack([smooth_field(self.field, max(p.shape) / 3, own).ravel() for _ in range(2)])
        return at

    def _of_day(
        self, p: CalciumParams, footprints: sparse.csc_array, tissue: list[np.ndarray], own: np.random.Generator
    ) -> Slice:
        other = draw_tissue(self.field, p.neuron_sigma_px, own)
        brightness, weight = (
            ((1 - _OWN_TISSUE) * image.reshape(self.field) + _OWN_TISSUE * new).astype(np.float32)
            for image, new in zip(tissue, other, strict=True)
        )
        brightness += footprints.dot(self.rest.astype(np.float32)).reshape(self.field)
        scale = p.photons / self.inside(brightness).mean(dtype=float)
        brightness *= np.float32(scale)
        self.rest_photons = self.rest * scale
        nothing = np.zeros(self.field, np.float32)
        return Slice(footprints, brightness, brightness * weight, nothing, sparse.csc_array((brightness.size, 0)))


def _sampled(image: np.ndarray, at: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.map_coordinates(image, at, order=1, mode="nearest"))


def _weights(at: np.ndarray, shape: tuple[int, int]) -> sparse.csr_array:
    """The matrix (places, y·x) that interpolates images bilinearly at places (2, n)."""
    first = np.clip(np.floor(at).astype(int), 0, np.array(shape)[:, None] - 2)
    part = np.clip(at - first, 0, 1)
    corners = [(dy, dx) for dy in (0, 1) for dx in (0, 1)]
    data = [np.abs(1 - dy - part[0]) * np.abs(1 - dx - part[1]) for dy, dx in corners]
    columns = [(first[0] + dy) * shape[1] + first[1] + dx for dy, dx in corners]
    rows, size = np.tile(np.arange(at.shape[1]), 4), (at.shape[1], shape[0] * shape[1])
    return sparse.csr_array((np.concatenate(data).astype(np.float32), (rows, np.concatenate(columns))), shape=size)


def _centres(footprints: sparse.csc_array, shape: tuple[int, int]) -> np.ndarray:
    total = np.asarray(footprints.sum(0)).ravel()
    axes = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    return np.stack([np.asarray(axis.astype(float) @ footprints).ravel() / total for axis in axes], 1)
