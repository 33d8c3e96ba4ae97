"""What lies still in `sim:calcium`: cells in one slice or through several, the tissue of each, a structural label.

A slice at depth z shows of a cell its section: the image is a function of r² + (z - z_cell)², so that its edge is a
circle of radius √(R² - (z - z_cell)²), R = 2.5 `neuron_sigma_px`. A section is there where it is at least a fifth as
bright as the cell's brightest, up to 1.9 `neuron_sigma_px` from the centre. Cells are scattered evenly through the
volume and so far above and below it as they are seen, as many to a slice as there would be in one alone.
With `z_psf_um` σ a slice shows the mean of the sections around it, with the weights of a Gaussian of depth of this σ
(five points of Gauss and Hermite), down to a fiftieth of the cell's brightest: what bleeds in from above and below.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from ...core.plane import Plane
from .calcium_params import CalciumParams
from .camera import generator
from .neuropil import FollowingNeuropil, draw_processes, draw_spines
from .tissue import SECTION_REACH_SIGMA, draw_bodies, draw_footprints, draw_tissue, scatter_neurons

_TISSUE, _BODIES, _PROCESSES = 0, 4, 5  # streams of random numbers; calcium.py has the others
_FOCUS, _LABEL, _SPINES = 8, 11, 12
PX_PER_NEURON = 40  # in units of neuron_sigma_px²: 410 neurons in 512 × 512 at 4 px
_PSF_REACH = 1.5  # σ of the PSF that cells are scattered further up and down
_UNLABELLED = 0.3  # mean light of tissue in the structural channel, in units of tissue


class Slice(NamedTuple):
    """One slice, on the padded field: `footprints` (pixels, K) with empty columns for cells that it does not show,
    light at rest, neuropil map, light of the structural label (y, x), and `processes` (pixels, P) of its own."""

    footprints: sparse.csc_array
    background: np.ndarray
    neuropil_map: np.ndarray
    structure: np.ndarray
    processes: sparse.csc_array


class Scene:
    """Places, sizes and brightness of all cells, and the slices through them, drawn from the seed."""

    def __init__(self, params: CalciumParams, pad_px: int) -> None:
        self.pad_px = pad_px
        self.field = (params.shape[0] + 2 * pad_px, params.shape[1] + 2 * pad_px)
        p, sigma, rng = params, params.neuron_sigma_px, generator(params.seed, _TISSUE)
        step_px = p.z_step_um / p.pixel_um
        psf_px = p.z_psf_um / p.pixel_um
        reach_px = SECTION_REACH_SIGMA * sigma + _PSF_REACH * psf_px
        height_px = (p.z - 1) * step_px + 2 * reach_px if p.z > 1 else 0.0
        count = p.neurons
        if count is None:
            seen_in = height_px / (2 * reach_px) if p.z > 1 else 1
            count = max(1, round(p.shape[0] * p.shape[1] / (PX_PER_NEURON * sigma**2) * seen_in))
        places = scatter_neurons(count, p.shape, 2 * sigma, rng, height_px)
        self.position_px = places[:, :2]
        depth_px = places[:, 2] - reach_px if p.z > 1 else np.zeros(count)
        self.z_um = depth_px * p.pixel_um
        bodies = draw_bodies(count, p.size_spread, p.rings, generator(p.seed, _BODIES))
        below_px = np.arange(p.z)[:, None] * step_px - depth_px if p.z > 1 else np.zeros((1, count))
        sections = draw_footprints(self.position_px, p.shape, pad_px, sigma, rng, bodies, below_px, psf_px)
        self.rate_hz = p.spike_rate_hz * rng.lognormal(-(0.5**2) / 2, 0.5, count)
        self.amplitude = p.signal * p.photons * rng.lognormal(-(0.3**2) / 2, 0.3, count)
        self.rest = p.rest * rng.lognormal(-(0.4**2) / 2, 0.4, count)
        self.label = p.label * generator(p.seed, _LABEL).lognormal(-(0.4**2) / 2, 0.4, count)
        self.label[generator(p.seed, _LABEL, 1).random(count) >= p.labelled] = 0
        lines = self._draw_processes(p)
        self.slices = [
            self._slice(p, footprints, images, rng) for footprints, images in zip(sections, lines, strict=True)
        ]
        self.following = FollowingNeuropil(self.field, self.position_px + pad_px, sigma)
        self.focus_depth = generator(p.seed, _FOCUS, 2**31).standard_normal(count)

    def inside(self, field: np.ndarray) -> np.ndarray:
        """The part of a padded field that an unshifted frame shows."""
        return field[self.pad_px : -self.pad_px, self.pad_px : -self.pad_px]

    def _slice(
        self, p: CalciumParams, footprints: sparse.csc_array, processes: sparse.csc_array, rng: np.random.Generator
    ) -> Slice:
        brightness, weight = draw_tissue(self.field, p.neuron_sigma_px, rng)
        structure = brightness * np.float32(_UNLABELLED)
        structure += footprints.dot(self.label.astype(np.float32)).reshape(self.field)
        structure *= np.float32(p.photons / self.inside(structure).mean(dtype=float))
        brightness += footprints.dot(self.rest.astype(np.float32)).reshape(self.field)
        scale = p.photons / self.inside(brightness).mean(dtype=float)
        brightness *= np.float32(scale)
        self.rest_photons = self.rest * scale  # of focus drift, which there is in one slice alone
        return Slice(footprints, brightness, brightness * weight, structure, processes)

    def _draw_processes(self, p: CalciumParams) -> list[sparse.csc_array]:
        """Draw the processes of each slice, and the rates and amplitudes of all, slice by slice."""
        images, rates_hz, amplitudes = [], [], []
        for n in range(p.z):
            rng = generator(p.seed, _PROCESSES, n)
            lines = draw_processes(p.processes, p.shape, self.pad_px, p.neuron_sigma_px, rng)
            rates_hz.append(p.spike_rate_hz * rng.lognormal(-(0.5**2) / 2, 0.5, p.processes))
            amplitudes.append(p.signal * p.photons * rng.lognormal(-(0.3**2) / 2, 0.3, p.processes))
            if p.spines:
                rng = generator(p.seed, _SPINES, n)
                spines = draw_spines(p.spines, lines, self.field, self.pad_px, p.neuron_sigma_px, rng)
                lines = sparse.csc_array(sparse.hstack([lines, spines]))
                rates_hz.append(p.spike_rate_hz * rng.lognormal(-(0.5**2) / 2, 0.5, p.spines))
                amplitudes.append(p.signal * p.photons * rng.lognormal(-(0.3**2) / 2, 0.3, p.spines))
            images.append(lines)
        self.process_rate_hz, self.process_amplitude = np.concatenate(rates_hz), np.concatenate(amplitudes)
        return images


def planes_of(params: CalciumParams) -> tuple[Plane, ...]:
    """Return the planes in the order in which they are taken: slice by slice, of each the structural channel first."""
    if params.channels * params.z == 1:
        return ()
    colours = {"red": "#ff0000", "green": "#00ff00"} if params.channels == 2 else {"green": "#00ff00"}
    return tuple(
        Plane(channel, z, z * params.z_step_um, colour=colour)
        for z in range(params.z)
        for channel, colour in colours.items()
    )
