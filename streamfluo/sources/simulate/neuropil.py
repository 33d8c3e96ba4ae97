"""Neuropil that follows the cells around it, and processes of cells elsewhere that cross the field."""

from __future__ import annotations

import numpy as np
from scipy import ndimage, sparse

_SPACING_SIGMA = 5.0  # of the nodes, and the width of what each contributes
_REACH_SIGMA = 6.0  # how far a node hears cells
FOLLOWS = 0.6  # of a node's variance comes from the cells around it, the rest is its own
_LENGTH_SIGMA = (12.0, 30.0)
_BEND_PER_PX = 0.02  # rms change of a process's direction [rad]


class FollowingNeuropil:
    """Nodes 5 neuron σ apart, each with a smooth Gaussian image; their images add up to 1 everywhere.

    The course of a node is a Gaussian mean of the activity of the cells within about 6 σ, of standard deviation 1.
    """

    def __init__(self, field: tuple[int, int], positions_px: np.ndarray, sigma_px: float) -> None:
        spacing = _SPACING_SIGMA * sigma_px
        nodes = [np.arange(0, side + spacing, spacing) for side in field]
        self._basis = [_partition(side, at, spacing) for side, at in zip(field, nodes, strict=True)]
        self.shape = (len(nodes[0]), len(nodes[1]))
        places = np.stack(np.meshgrid(*nodes, indexing="ij"), -1).reshape(-1, 1, 2)
        distance2 = ((places - positions_px) ** 2).sum(2)
        self._weight = np.exp(-distance2 / (2 * (_REACH_SIGMA * sigma_px) ** 2))

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return self.shape[0] * self.shape[1]

    def courses(self, standardised: np.ndarray, own: np.ndarray) -> np.ndarray:
        """Return the course (nodes, t) from the cells' activity (K, t), each of mean 0 and sd 1, and its own course."""
        norm = np.sqrt((self._weight**2).sum(1, keepdims=True))
        following = self._weight @ standardised / np.maximum(norm, 1e-12)
        return np.sqrt(FOLLOWS) * following + np.sqrt(1 - FOLLOWS) * own

    def image(self, course: np.ndarray) -> np.ndarray:
        """Return the image (y, x) float32 of the nodes' values (nodes,)."""
        rows, columns = self._basis
        image: np.ndarray = rows @ course.reshape(self.shape).astype(np.float32) @ columns.T
        return image


def _partition(side: int, nodes: np.ndarray, width: float) -> np.ndarray:
    """Gaussians (side, nodes) float32 around the nodes, divided by their sum."""
    basis = np.exp(-((np.arange(side)[:, None] - nodes) ** 2) / (2 * width**2))
    return (basis / basis.sum(1, keepdims=True)).astype(np.float32)


def draw_processes(
    count: int, shape: tuple[int, int], pad_px: int, sigma_px: float, rng: np.random.Generator
) -> sparse.csc_array:
    """Return thin curved lines as columns (pixels of the padded field, count) float32, each with its peak at 1.

    They are 12 to 30 `sigma_px` long, 0.3 `sigma_px` wide (σ), uneven in brightness, and cross the unpadded field.
    """
    field = (shape[0] + 2 * pad_px, shape[1] + 2 * pad_px)
    columns = []
    for _ in range(count):
        middle = pad_px + rng.random(2) * shape
        length = round(2 * sigma_px * rng.uniform(*_LENGTH_SIGMA))  # steps of half a pixel
        bend = ndimage.gaussian_filter1d(rng.standard_normal(length), 2 * sigma_px, mode="wrap")
        angle = rng.uniform(0, 2 * np.pi) + np.cumsum(_BEND_PER_PX * bend / max(bend.std(), 1e-12)) / 2
        path = np.cumsum(np.stack((np.sin(angle), np.cos(angle)), 1) / 2, 0)
        path += middle - path[length // 2]
        brightness = np.exp(0.5 * ndimage.gaussian_filter1d(rng.standard_normal(length), 2.0))
        y, x = np.rint(path).astype(int).T
        inside = (y >= 0) & (y < field[0]) & (x >= 0) & (x < field[1])
        image = np.zeros(field)
        np.add.at(image, (y[inside], x[inside]), brightness[inside])
        image = ndimage.gaussian_filter(image, max(0.3 * sigma_px, 0.7))
        image[image < 0.05 * image.max()] = 0
        columns.append(sparse.csc_array(image.reshape(-1, 1) / image.max(), dtype=np.float32))
    if not columns:
        return sparse.csc_array((field[0] * field[1], 0), dtype=np.float32)
    return sparse.csc_array(sparse.hstack(columns))


def draw_spines(
    count: int, lines: sparse.csc_array, field: tuple[int, int], pad_px: int, sigma_px: float, rng: np.random.Generator
) -> sparse.csc_array:
    """Return small bodies beside lines (pixels of the padded field, n) as columns, each with its peak at 1.

    Each is a Gaussian of 0.4 `sigma_px`, its centre one `sigma_px` beside a bright pixel of some line that is seen.
    """
    y, x = np.mgrid[: field[0], : field[1]]
    seen = np.zeros(field, bool)
    seen[pad_px:-pad_px, pad_px:-pad_px] = True
    columns = []
    for _ in range(count):
        line = lines[:, [int(rng.integers(lines.shape[1]))]].toarray().reshape(field)
        bright = np.argwhere((line > 0.5) & seen)
        if not len(bright):  # a line that hardly crosses the field
            bright = np.argwhere(seen)
        at = bright[rng.integers(len(bright))] + sigma_px * np.array(_direction(rng))
        image = np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * (0.4 * sigma_px) ** 2))
        image[image < 0.05] = 0
        columns.append(sparse.csc_array(image.reshape(-1, 1), dtype=np.float32))
    return sparse.csc_array(sparse.hstack(columns))


def _direction(rng: np.random.Generator) -> tuple[float, float]:
    angle = rng.uniform(0, 2 * np.pi)
    return float(np.sin(angle)), float(np.cos(angle))
