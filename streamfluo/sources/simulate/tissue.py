"""What lies still: where neurons are, what they look like, the tissue around them, and the field under the lens."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage, sparse

_CANDIDATES = 5  # darts per neuron: more make the spacing more even and overlaps rarer
_REACH_SIGMA = 2.5
_FAINTEST_SECTION = 0.2  # of a cell's peak
_FAINTEST_BLEED = 0.02
SECTION_REACH_SIGMA = (
    -8 * math.log(_FAINTEST_SECTION)
) ** 0.25  # how far from its middle a cell's section is so bright
_PSF_POINTS = 5
_Columns = tuple[list[np.ndarray], list[np.ndarray], list[int]]


def scatter_neurons(
    count: int, shape: tuple[int, int], margin_px: float, rng: np.random.Generator, height_px: float = 0.0
) -> np.ndarray:  # fmt: skip
    """Return `count` positions (K, 2) as (y, x) in pixels, apart from each other but free to overlap a little.

    With a height they are (K, 3) as (y, x, z), 0 ≤ z ≤ height.

    Each is the one of 5 random candidates that is farthest from those before it (Mitchell 1991, SIGGRAPH: best
    candidate). All keep `margin_px` from the border, at most a quarter of the side.
    """
    sides = np.array((*shape, height_px + 1) if height_px else shape, float)
    margin = np.minimum(margin_px, sides / 4)
    margin[2:] = 0
    positions = np.empty((count, len(sides)))
    for k in range(count):
        candidates = margin + rng.random((_CANDIDATES, len(sides))) * (sides - 1 - 2 * margin)
        distances = ((candidates[:, None] - positions[None, :k]) ** 2).sum(2)
        positions[k] = candidates[np.argmax(distances.min(1, initial=np.inf))]
    return positions


class Bodies(NamedTuple):
    """What makes cell bodies unequal: the size of each (K,), in units of the common one, and whether it is a ring."""

    size: np.ndarray
    ring: np.ndarray


def draw_bodies(count: int, size_spread: float, rings: float, rng: np.random.Generator) -> Bodies:
    """Return sizes, log-normal of this sd and within 0.6 … 1.7, and rings, this fraction of all."""
    size = np.exp(size_spread * rng.standard_normal(count) - size_spread**2 / 2)
    return Bodies(np.clip(size, 0.6, 1.7), rng.random(count) < rings)


def draw_footprints(
    positions_px: np.ndarray, shape: tuple[int, int], pad_px: int, sigma_px: float, rng: np.random.Generator,
    bodies: Bodies, below_px: np.ndarray, psf_px: float = 0.0,
) -> list[sparse.csc_array]:  # fmt: skip
    """Return, for each slice, the neurons' images as columns (pixels of the padded field, K) float32.

    `below_px` (slices, K) is how far a slice lies from the middle of a neuron; the image of the middle has its peak at
    1. A neuron is an ellipse (axes ± 15 %, any angle) with a flat-topped rim and a darker nucleus:
    (exp(-r⁴/8) - depth · exp(-2.5 r²)) over r ≤ 2.5, r in units of `sigma_px` times its size, with 0.3 ≤ depth ≤ 0.8;
    a ring has a nucleus of depth 0.95 and exp(-1.2 r²). Of a section that is less than a fifth as bright the column is
    empty; with a PSF of that axial σ, which a slice shows the cell through, of one less than a fiftieth.
    """
    height, width = (side + 2 * pad_px for side in shape)
    common_px = sigma_px
    images: list[_Columns] = [([], [], [0]) for _ in below_px]
    depths, weights = np.polynomial.hermite_e.hermegauss(_PSF_POINTS if psf_px else 1)
    weights /= weights.sum()
    faintest = _FAINTEST_BLEED if psf_px else _FAINTEST_SECTION
    for centre, size, ring, below in zip(positions_px + pad_px, *bodies, below_px.T, strict=True):
        sigma_px = common_px * float(size)
        reach = int(np.ceil(1.15 * _REACH_SIGMA * sigma_px))
        angle, stretch, depth = rng.uniform((0, 0.85, 0.3), (np.pi, 1.15, 0.8))
        top, left = np.maximum(np.rint(centre).astype(int) - reach, 0)
        y, x = np.ogrid[top : min(top + 2 * reach + 1, height), left : min(left + 2 * reach + 1, width)]
        u = np.cos(angle) * (y - centre[0]) + np.sin(angle) * (x - centre[1])
        v = np.cos(angle) * (x - centre[1]) - np.sin(angle) * (y - centre[0])
        middle_r2 = ((u / stretch) ** 2 + (v * stretch) ** 2) / sigma_px**2
        nucleus = (0.95, 1.2) if ring else (depth, 2.5)
        visible = (y >= pad_px) & (y < height - pad_px) & (x >= pad_px) & (x < width - pad_px)
        peak = (_body(middle_r2, *nucleus) * visible).max()
        for dz, (values, indices, counts) in zip(below / sigma_px, images, strict=True):
            through = dz + depths * psf_px / sigma_px
            image = np.tensordot(weights, [_body(middle_r2 + d**2, *nucleus) for d in through], 1)
            shown = (image * visible).max() >= faintest * peak
            image = (image / peak).astype(np.float32) if shown else np.zeros(image.shape, np.float32)
            flat = np.broadcast_to(y * width + x, image.shape)[image > 0]
            values.append(image[image > 0])
            indices.append(flat)
            counts.append(len(flat))
    return [_csc(*columns, (height * width, len(positions_px))) for columns in images]


def _body(r2: np.ndarray, nucleus: float, steepness: float) -> np.ndarray:
    """Light of a cell at squared distances from its middle, in units of its sigma; without its faint rim."""
    image = np.exp(-(r2**2) / 8) - nucleus * np.exp(-steepness * r2)
    return np.where((r2 <= _REACH_SIGMA**2) & (image > 0.01), image, 0)


def _csc(values: list[np.ndarray], indices: list[np.ndarray], counts: list[int], shape: Any) -> sparse.csc_array:
    empty = np.empty(0)
    data = np.concatenate([empty.astype(np.float32), *values])
    rows = np.concatenate([empty.astype(np.int32), *indices]).astype(np.int32)
    return sparse.csc_array((data, rows, np.cumsum(counts).astype(np.int32)), shape)


def draw_tissue(shape: tuple[int, int], sigma_px: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return (brightness, neuropil weight), both (y, x) float32: uneven light with a fine grain, and a map in 0 … 1."""
    broad, grain, neuropil = (smooth_field(shape, n * sigma_px, rng) for n in (10, 0.6, 8))
    brightness = np.maximum(1 + 0.2 * broad + 0.1 * grain, 0.3)
    weight = 1 / (1 + np.exp(-1.5 * neuropil))
    return brightness.astype(np.float32), weight.astype(np.float32)


def smooth_field(shape: tuple[int, int], length_px: float, rng: np.random.Generator) -> np.ndarray:
    """White noise through a Gaussian of this length, scaled to mean 0 and standard deviation 1."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), length_px, mode="wrap")
    field -= field.mean()
    return np.asarray(field / field.std())


def view_field(field: np.ndarray, shape: tuple[int, int], pad_px: int, shift_px: np.ndarray) -> np.ndarray:
    """Return the frame (y, x) that shows the padded `field` after it moved by `shift_px` (dy, dx).

    frame(y + dy, x + dx) = field(y + pad, x + pad), interpolated by cubic convolution (Keys 1981, IEEE Trans.
    ASSP 29:1153, a = -1/2), along each axis in turn. Needs |shift| ≤ pad - 2 unless the shift is whole.
    """
    rows = _read_between(field, pad_px - float(shift_px[0]), shape[0])
    return np.ascontiguousarray(_read_between(rows.T, pad_px - float(shift_px[1]), shape[1]).T)


def _read_between(field: np.ndarray, start: float, count: int) -> np.ndarray:
    first = int(np.floor(start))
    t = start - first
    if t == 0:
        return field[first : first + count]
    weights = np.array(
        [t * (-1 + t * (2 - t)), 2 + t * t * (3 * t - 5), t * (1 + t * (4 - 3 * t)), t * t * (t - 1)], np.float32
    )
    out: np.ndarray = field[first - 1 : first - 1 + count] * (weights[0] / 2)
    for tap in range(1, 4):
        out += field[first - 1 + tap : first - 1 + tap + count] * (weights[tap] / 2)
    return out


def shift_lines(frame: np.ndarray, dx_px: np.ndarray) -> np.ndarray:
    """Return the frame (y, x) with each line moved along x by dx_px (y,), by cubic convolution; edges are repeated."""
    first = np.floor(-dx_px).astype(int)
    t = (-dx_px - first)[:, None].astype(np.float32)
    weights = (t * (-1 + t * (2 - t)), 2 + t * t * (3 * t - 5), t * (1 + t * (4 - 3 * t)), t * t * (t - 1))
    at = np.arange(frame.shape[1]) + first[:, None]
    out = np.zeros_like(frame)
    for tap, weight in enumerate(weights):
        out += weight / 2 * np.take_along_axis(frame, np.clip(at + tap - 1, 0, frame.shape[1] - 1), 1)
    return out
