"""Cross-cumulants: pixel pairs, the doubled grid of virtual pixels, and the PSF estimated from them.

The cross-cumulant of pixels p_i is that of a virtual pixel at their centroid c times the distance factor
exp(−Σ |p_i − c|² / 2σ²) of a Gaussian PSF (Dertinger et al. 2010, Opt. Express 18:18875, eq. 8). Shot and read noise
are independent between pixels and drop out. At order 3 no three pixels have their centroid midway between two: there
two triples (four at the corner of four pixels) with centroids a sixth of a pixel to each side are averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..core.card import Card
from ..core.spec import Spec
from .card_products import CardProductsWithTotal
from .product_sums import Factor, moved_to_origin
from .psf import PsfWidth, psf_width
from .with_total import AveragedProducts, ProductsWithTotal

Pixel = tuple[int, int]
MAX_GRID_ORDER = 4

# order → (half steps in y, in x) of the virtual pixel → tuples of pixels around it
TUPLES: dict[int, dict[Pixel, tuple[tuple[Pixel, ...], ...]]] = {
    2: {
        (0, 0): (((0, -1), (0, 1)), ((-1, 0), (1, 0))),
        (0, 1): (((0, 0), (0, 1)),),
        (1, 0): (((0, 0), (1, 0)),),
        (1, 1): (((0, 0), (1, 1)), ((0, 1), (1, 0))),
    },
    3: {
        (0, 0): (((0, -1), (0, 0), (0, 1)), ((-1, 0), (0, 0), (1, 0))),
        (0, 1): (((-1, 0), (1, 0), (0, 1)), ((-1, 1), (1, 1), (0, 0))),
        (1, 0): (((0, -1), (0, 1), (1, 0)), ((1, -1), (1, 1), (0, 0))),
        (1, 1): (
            ((0, 0), (0, 1), (1, 0)),
            ((0, 0), (0, 1), (1, 1)),
            ((0, 0), (1, 0), (1, 1)),
            ((0, 1), (1, 0), (1, 1)),
        ),
    },
    4: {
        (0, 0): (((0, -1), (0, 1), (-1, 0), (1, 0)),),
        (0, 1): (((0, 0), (0, 1), (-1, 0), (1, 1)),),
        (1, 0): (((0, 0), (1, 0), (0, -1), (1, 1)),),
        (1, 1): (((0, 0), (0, 1), (1, 0), (1, 1)),),
    },
}


def pair_offsets(radius: int) -> list[Pixel]:
    """Return the offsets s of ⟨δI(p + s) δI(p − s)⟩ up to a radius [px]: one of each s and −s, without 0."""
    reach = range(-radius, radius + 1)
    return [(y, x) for y in range(radius + 1) for x in reach if (y, x) > (0, 0)]


class CrossedSums:
    """Sums for the cross-cumulants of offsets up to `radius`, and of virtual pixels up to order 4.

    `kept`: the products whose joint cumulants are all that is shown; `tuples`: of factors, all of them.
    """

    def __init__(self, spec: Spec, radius: int, order: int, card: Card | None = None) -> None:
        """`card`: products are summed there."""
        self.spec = spec
        self.orders = range(2, min(order, MAX_GRID_ORDER) + 1)
        self.pairs = pair_offsets(radius)
        grid = [t for n in self.orders for tuples in TUPLES[n].values() for t in tuples]
        self._pair_tuples = [((y, x), (-y, -x)) for y, x in self.pairs]
        self.tuples = [_factors(t) for t in [*grid, *self._pair_tuples]]
        self.products = ProductsWithTotal(spec, self.tuples) if card is None else self.on_card(card)
        shown = {moved_to_origin(t)[0] for t in self.tuples}
        self.kept = [p for p in self.products.products if len(p) == 2 or p in shown]

    def on_card(self, card: Card) -> CardProductsWithTotal:
        """Return sums of these products on a card, without frames."""
        return CardProductsWithTotal(self.spec, self.tuples, card)

    def add(self, cell: np.ndarray) -> None:
        """Add a cell's frames (n, y, x)."""
        self.products.add(cell)

    def copy(self) -> CrossedSums:
        """Return an independent copy."""
        return self.showing(self.products.copy())

    def showing(self, products: ProductsWithTotal | AveragedProducts) -> CrossedSums:
        """Return what reads these products."""
        new = object.__new__(CrossedSums)
        new.__dict__.update(self.__dict__, products=products)
        return new

    def pair_images(self) -> np.ndarray:
        """Return ⟨δI(p + s) δI(p − s)⟩ of every offset (pairs, y, x), NaN where a pixel lies outside."""
        read = self.products.reader()
        return np.stack([self._image(pair, read) for pair in self._pair_tuples])

    def psf(self, variance: np.ndarray) -> PsfWidth:
        """Return the width of the PSF from the decay of covariances with distance; `variance` of each pixel (y, x).

        Without d = 0, which contains the noise.
        """
        return psf_width(self.products.pairs(), self.products.covariance_with_total(), variance)

    def grid(self, order: int, sigma_px: float) -> np.ndarray:
        """Return cumulants of virtual pixels half a pixel apart (2·y − 1, 2·x − 1), divided by their distance factors.

        NaN at the border where no tuple lies inside.
        """
        height, width = self.spec.shape
        image = np.full((2 * height, 2 * width), np.nan)
        read = self.products.reader()
        for (y, x), tuples in TUPLES[order].items():
            images = np.stack([self._image(t, read) / distance_factor(t, sigma_px) for t in tuples])
            known = np.isfinite(images)
            total = np.where(known, images, 0).sum(0)
            image[y::2, x::2] = np.where(known.any(0), total / np.maximum(known.sum(0), 1), np.nan)
        return image[:-1, :-1]

    def factors(self, order: int, sigma_px: float) -> np.ndarray:
        """Return the distance factors (2, 2) by half steps in y and x, averaged over a virtual pixel's tuples."""
        return np.array(
            [[np.mean([distance_factor(t, sigma_px) for t in TUPLES[order][y, x]]) for x in (0, 1)] for y in (0, 1)]
        )

    def _image(self, pixels: Sequence[Pixel], read: Callable[[Sequence[Factor]], np.ndarray]) -> np.ndarray:
        image = read(_factors(pixels)).reshape(self.spec.shape)
        for axis, side in enumerate(self.spec.shape):
            at = np.arange(side)
            outside = (at + min(p[axis] for p in pixels) < 0) | (at + max(p[axis] for p in pixels) >= side)
            image[(outside, slice(None)) if axis == 0 else (slice(None), outside)] = np.nan
        return image


def distance_factor(pixels: Sequence[Pixel], sigma_px: float) -> float:
    """Return the cross-cumulant of these pixels over the cumulant at their centroid; 1 if σ is unknown."""
    places = np.array(pixels, float)
    spread = ((places - places.mean(0)) ** 2).sum()
    return float(np.exp(-spread / (2 * sigma_px**2))) if np.isfinite(sigma_px) else 1.0


def _factors(pixels: Sequence[Pixel]) -> list[Factor]:
    return [(0, y, x) for y, x in pixels]
