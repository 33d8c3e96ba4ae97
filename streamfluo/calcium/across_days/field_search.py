"""The rotation and shift between two fields: the highest correlation of all, and what chance reaches beside it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.fft
from scipy import ndimage

from .field_images import binned
from .field_map import FieldMap

COARSE_SIDE_PX = 128  # at most, of the images that are searched: 34 rotations in 8 orientations take 2 s
COARSE_RADIUS_PX = 2.0  # of a cell in them
STEP_DEG = 1.5
MIN_OVERLAP = 0.2  # of the field
# Fields turned by quarters and mirrored have the same statistics and cannot match: (transpose, flip y, flip x).
IMPOSSIBLE = ((0, 1, 0), (0, 0, 1), (0, 1, 1), (1, 0, 0), (1, 1, 0), (1, 0, 1), (1, 1, 1))


class Evidence(NamedTuple):
    """Of a match: the correlation of the overlapping parts, the fraction that overlaps, and their product with √overlap
    at the best place, `peak`; the same of fields that cannot match, `chance` (n,)."""

    correlation: float
    overlap: float
    peak: float
    chance: np.ndarray

    @property
    def sigma(self) -> float:
        """How far the peak lies above chance, in its standard deviations."""
        spread = max(float(self.chance.std(ddof=1)), 0.05 * float(self.chance.mean()))
        return (self.peak - float(self.chance.mean())) / spread


class _Transformed(NamedTuple):
    """Transforms of images (n, y, x), of the sum of their squares and of where they are known."""

    images: np.ndarray
    squares: np.ndarray
    known: np.ndarray


def search(common: np.ndarray, moving: np.ndarray, radius_px: float, max_turn_deg: float) -> tuple[FieldMap, Evidence]:
    """Return the rigid map from the common field's places to the moving one's, and its evidence.

    `common`, `moving`: (n, y, x) of `field_images`. All rotations up to `max_turn_deg` in steps of 1.5° and all shifts
    with an overlap of a fifth are tried on binned images; the height is Σ ab / √(Σ a² Σ b²) over the overlap, times
    the root of the overlapping fraction, as its noise falls with that.
    """
    k = max(1, int(radius_px // COARSE_RADIUS_PX), -(-max(common.shape[1:]) // COARSE_SIDE_PX))
    a, b = binned(common, k), binned(moving, k)
    turns = np.radians(np.arange(-max_turn_deg, max_turn_deg + STEP_DEG / 2, STEP_DEG))
    size = tuple(scipy.fft.next_fast_len(int(1.8 * max(a.shape[1:])), real=True) for _ in range(2))
    reference = _transformed(a, np.ones(a.shape[1:], np.float32), size)
    best = max((_best_shift(reference, b, turn, size) for turn in turns), key=lambda found: found[0])
    chance = [
        max(_best_shift(reference, _turned(b, *way), turn, size)[0] for turn in turns) for way in IMPOSSIBLE
    ]  # fmt: skip
    peak, overlap, turn, shift = best
    middle = (np.array(b.shape[1:]) - 1) / 2
    matrix = _rotation(turn)
    # the turned image shows at place q the moving one's matrix · (q - middle) + middle, and lies at shift in the common
    found = FieldMap(matrix, middle - matrix @ (middle + shift)).of_pixels(k)
    return found, Evidence(peak / np.sqrt(overlap), overlap, peak, np.array(chance))


def _rotation(turn: float) -> np.ndarray:
    return np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])


def _turned(images: np.ndarray, transpose: int, flip_y: int, flip_x: int) -> np.ndarray:
    out = images.transpose(0, 2, 1) if transpose else images
    return out[:, :: -1 if flip_y else 1, :: -1 if flip_x else 1]


def _transformed(images: np.ndarray, known: np.ndarray, size: tuple[int, ...]) -> _Transformed:
    parts = (images, (images**2).sum(0), known)
    return _Transformed(*(scipy.fft.rfft2(part, size) for part in parts))


def _best_shift(
    reference: _Transformed, moving: np.ndarray, turn: float, size: tuple[int, ...]
) -> tuple[float, float, float, np.ndarray]:
    """Height and overlap at the best shift of the moving images turned by an angle [rad], the angle, and the shift."""
    shape = moving.shape[1:]
    middle, matrix = (np.array(shape) - 1) / 2, _rotation(turn)
    offset = middle - matrix @ middle
    known = ndimage.affine_transform(np.ones(shape, np.float32), matrix, offset, order=1)
    images = np.stack([ndimage.affine_transform(image, matrix, offset, order=1) for image in moving])
    other = _transformed(images * (known > 0.5), (known > 0.5).astype(np.float32), size)
    products = (
        (reference.images * other.images.conj()).sum(0), reference.squares * other.known.conj(),
        reference.known * other.squares.conj(), reference.known * other.known.conj(),
    )  # fmt: skip
    both, of_a, of_b, count = (scipy.fft.irfft2(product, size) for product in products)
    overlap = count / (shape[0] * shape[1])
    usable = overlap >= MIN_OVERLAP
    height = np.where(usable, both / np.sqrt(np.maximum(of_a * of_b, 1e-6)) * np.sqrt(np.maximum(overlap, 0)), -1)
    at = np.unravel_index(int(height.argmax()), height.shape)
    shift = np.array([i if i < n / 2 else i - n for i, n in zip(at, size, strict=True)], float)
    return float(height[at]), float(min(overlap[at], 1.0)), turn, shift
