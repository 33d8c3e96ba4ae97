"""Which detected spots a smooth surface or a line explains as well: structure that a matched filter takes for spots.

Least squares on a crop of each: a surface of second degree beside the PSF, without it, or beside a straight line of one
of eight directions and two widths, each moved by its derivatives to where it fits.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

REACH = 3.85  # half the side of a crop, in σ of the PSF
SEEN = 3.5  # standard errors of a spot beside a surface: fewer, and the surface alone may do
DIRECTIONS, WIDTHS = 8, (1.0, 1.5)  # of a line; in σ of the PSF


def structured(electrons: np.ndarray, variance: np.ndarray, places: np.ndarray, sigma_px: float) -> np.ndarray:
    """Return which spots (n,) at places (n, 2) [px] of an image (y, x) need no PSF to be explained.

    variance: of its pixels [e²]. So are 75 to 98 % of what is found on blobs and filaments, and 2 to 7 % of spots of
    120 to 4000 photons, alone or on them. A crop with pixels that are not seen is none.
    """
    reach = max(2, math.ceil(REACH * sigma_px))
    spot, alone, flat, lines = _bases(reach, sigma_px)
    at = np.rint(places).astype(int)
    steps = np.arange(-reach, reach + 1)
    y = np.clip(at[:, 0, None] + steps, 0, electrons.shape[0] - 1)[:, :, None]
    x = np.clip(at[:, 1, None] + steps, 0, electrons.shape[1] - 1)[:, None, :]
    crops = electrons[y, x].reshape(len(at), (2 * reach + 1) ** 2)
    error = np.sqrt(np.broadcast_to(variance, electrons.shape)[y, x].reshape(crops.shape).mean(1))
    seen = np.isfinite(crops).all(1)
    crops = np.where(seen[:, None], crops - crops.mean(1, keepdims=True), 0.0)
    explained = [((crops @ basis) ** 2).sum(1) for basis in (spot, alone, flat)]
    best_line = np.max([((crops @ basis) ** 2).sum(1) for basis in lines], axis=0)
    faint = (crops @ spot[:, -1] < SEEN * error) & (explained[1] > explained[2])
    return np.asarray(seen & (faint | (best_line > explained[0])))


@lru_cache(maxsize=8)
def _bases(reach: int, sigma_px: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]]:
    """Return orthonormal bases (pixels, terms): surface and PSF (last), surface, plane and PSF, surface and lines."""
    y, x = (axis.ravel() / reach for axis in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    plane, curved = [np.ones_like(y), y, x], [y * y, y * x, x * x]
    psf = np.exp(-((y * y + x * x) * (reach / sigma_px) ** 2) / 2)
    moved = [y * psf, x * psf]
    lines = []
    for angle in np.arange(DIRECTIONS) * np.pi / DIRECTIONS:
        across = y * np.cos(angle) - x * np.sin(angle)
        for width in WIDTHS:
            line = np.exp(-((across * reach / (width * sigma_px)) ** 2) / 2)
            lines.append(_orthonormal([*plane, *curved, line, across * line, across**2 * line]))
    spot = _orthonormal([*plane, *curved, *moved, psf])
    return spot, _orthonormal([*plane, *curved]), _orthonormal([*plane, *moved, psf]), lines


def _orthonormal(terms: list[np.ndarray]) -> np.ndarray:
    columns = np.stack(terms, axis=1)
    basis, triangle = np.linalg.qr(columns)
    return np.asarray(basis * np.sign(np.diag(triangle)))
