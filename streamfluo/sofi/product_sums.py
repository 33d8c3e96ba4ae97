"""Sums of products over pixels and frames, for lagged and cross-cumulants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any, Self

import numpy as np

from ..core.spec import Spec
from ..core.thread_pool import in_bands
from .kernels.products import PRODUCT_TILE_PX, Products, add_products, centred, joint_cumulant
from .shared_sums import SharedSums

READ_PX = 4096  # at a time: the moments of four factors stay in the cache, 4 × faster than whole images

NS_A_PRODUCT = 0.5  # on one core, of a pixel, frame and product

Factor = tuple[int, int, int]  # lag in frames, y and x in pixels
Product = tuple[Factor, ...]


def moved_to_origin(factors: Sequence[Factor]) -> tuple[Product, tuple[int, int]]:
    """Return a product with its first pixel moved to the origin, and that pixel's position."""
    _, y, x = min(factors, key=lambda f: f[1:])
    return tuple(sorted((lag, fy - y, fx - x) for lag, fy, fx in factors)), (y, x)


class ProductSums(SharedSums):
    """Sums of all products that the joint cumulants of tuples of factors need.

    Memory: 16 bytes a pixel and product; a tuple of k factors needs up to 2^k − 1. A cell's frames follow those of
    `depth` = the largest lag before it.
    """

    def __init__(self, spec: Spec, tuples: Sequence[Sequence[Factor]]) -> None:
        self.spec = spec
        subsets = [s for t in tuples for k in range(1, len(t) + 1) for s in combinations(t, k)]
        self.products = sorted({moved_to_origin(s)[0] for s in subsets}, key=lambda p: (len(p), p))
        self._at = {product: q for q, product in enumerate(self.products)}
        self.depth = max(f[0] for p in self.products for f in p)
        width = spec.shape[1]
        self._last = [p[-1] for p in self.products]
        self._parents = [self._at[p[:-1]] if len(p) > 1 else -1 for p in self.products]
        shifts = [f[1] * width + f[2] for f in self._last]
        self._table = Products(np.array(self._parents), np.array([f[0] for f in self._last]), np.array(shifts))
        self.pixels = spec.shape[0] * width
        tiles = -(-self.pixels // PRODUCT_TILE_PX)
        self._allocate((self.pixels,), (tiles, len(self.products), 2, PRODUCT_TILE_PX))

    def empty(self) -> Self:
        """Return sums of the same products without frames."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__, n=0, sums=np.zeros(self.sums.shape), pivot=np.zeros(self.pixels))
        new.__dict__.update(_readers=None, _left=None, _left_readers=None)
        return new

    def add(self, frames: np.ndarray) -> None:
        """Add the products whose first frame is any but the last `depth`; frames (n, y, x)."""
        count = max(0, len(frames) - self.depth)
        before, flat = self.own(), frames.reshape(len(frames), self.pixels)
        table, work_ns = self._table, NS_A_PRODUCT * count * len(self.products) * self.pixels

        def add(*tiles: int) -> None:
            add_products(flat, count, self.pivot, table, self.sums, before, tiles)

        in_bands(len(self.sums), work_ns, add)
        self.n += count

    def settle(self, pivot: np.ndarray) -> None:
        """Set the pivot (p,) while there are no sums."""
        if not self.n:
            self.pivot = pivot.copy()

    def move_pivot(self, pivot: np.ndarray) -> None:
        """Re-base the sums on another pivot (p,)."""
        if self.n:
            plain = self.tiled(self.about(pivot))
            self.own()
            sums = self.sums
            sums[:, :, 0], sums[:, :, 1] = plain, 0
            self.sums = sums
        self.pivot = pivot.copy()

    def absorb(self, other: ProductSums) -> None:
        """Add another part's sums."""
        if not other.n:
            return
        sums = self.own_filled()
        if np.array_equal(self.pivot, other.pivot, equal_nan=True):
            sums += other.sums
        else:
            sums[:, :, 0] += self.tiled(other.about(self.pivot))
        self.sums = sums
        self.n += other.n

    def about(self, pivot: np.ndarray, sums: np.ndarray | None = None, n: int | None = None) -> list[np.ndarray]:
        """Return every product's sum about another pivot, maps (p,); of these sums (tiles, products, 1024) and n."""
        n = self.n if n is None else n
        plain = self.maps(self.plain() if sums is None else sums)
        shift = self.pivot - pivot
        if not shift.any():
            return plain
        result = []
        for product in self.products:
            total = np.zeros(self.pixels)
            for bits in range(1 << len(product)):
                kept = [f for i, f in enumerate(product) if bits >> i & 1]
                term = self._map_of(plain, kept) if kept else np.full(self.pixels, float(n))
                for _, y, x in (f for i, f in enumerate(product) if not bits >> i & 1):
                    term = term * ahead(shift, y * self.spec.shape[1] + x)
                total += term
            result.append(total)
        return result

    def cumulant(
        self, factors: Sequence[Factor], maps: Sequence[np.ndarray] | None = None, n: int | None = None
    ) -> np.ndarray:
        """Return the joint cumulant (p,) of factors from these maps and n; invalid where a factor lies outside."""
        maps, n = self.all_maps() if maps is None else maps, self.n if n is None else n
        order = len(factors)
        subsets = [moved_to_origin([f for i, f in enumerate(factors) if b >> i & 1]) for b in range(1, 1 << order)]
        places = [(maps[self._at[product]], y * self.spec.shape[1] + x) for product, (y, x) in subsets]
        found = np.empty(self.pixels)
        for a in range(0, self.pixels, READ_PX):
            part = slice(a, min(a + READ_PX, self.pixels))
            moments = {b: _ahead_of(part, image, shift) / (n or np.nan) for b, (image, shift) in enumerate(places, 1)}
            found[part] = joint_cumulant(centred(moments, order), order)
        return found

    def all_maps(self) -> Sequence[np.ndarray]:
        """Return the map (p,) of every product's sum, each computed on first use."""
        return _Maps(self._map, len(self.products))

    def _map(self, q: int) -> np.ndarray:
        return np.asarray((self.sums[:, q, 0] + self.sums[:, q, 1]).reshape(-1)[: self.pixels])

    def plain(self) -> np.ndarray:
        """Return the sums as float64 (tiles, products, 1024), a copy."""
        return self.sums[:, :, 0] + self.sums[:, :, 1]

    def maps(self, plain: np.ndarray) -> list[np.ndarray]:
        """Return a map (p,) for every product of sums (tiles, products, 1024)."""
        return [plain[:, q].reshape(-1)[: self.pixels] for q in range(plain.shape[1])]

    def tiled(self, maps: Sequence[np.ndarray]) -> np.ndarray:
        """Return maps (p,) of all products as sums (tiles, products, 1024)."""
        plain = np.zeros((self.sums.shape[0], len(maps), PRODUCT_TILE_PX))
        for q, image in enumerate(maps):
            padded = np.zeros(self.sums.shape[0] * PRODUCT_TILE_PX)
            padded[: self.pixels] = image
            plain[:, q] = padded.reshape(-1, PRODUCT_TILE_PX)
        return plain

    def _map_of(self, maps: Sequence[np.ndarray], factors: Sequence[Factor]) -> np.ndarray:
        """Return the map of a product at the pixel of these factors, not at the product's origin."""
        product, (y, x) = moved_to_origin(factors)
        return ahead(maps[self._at[product]], y * self.spec.shape[1] + x)


class _Maps(Sequence[np.ndarray]):
    """Maps (p,), each made when it is asked for first."""

    def __init__(self, make: Callable[[int], np.ndarray], many: int) -> None:
        self._make, self._many = make, many
        self._made: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return self._many

    def __getitem__(self, q: Any) -> Any:
        if q not in self._made:
            self._made[q] = self._make(q)
        return self._made[q]


def ahead(image: np.ndarray, shift: int) -> np.ndarray:
    """Return a flattened image shifted by `shift` pixels."""
    return np.roll(image, -shift) if shift else image


def _ahead_of(part: slice, image: np.ndarray, shift: int) -> np.ndarray:
    """Return a part of a flattened image shifted by `shift` pixels."""
    first, stop = part.start + shift, part.stop + shift
    if first >= 0 and stop <= len(image):
        return image[first:stop]
    return np.take(image, np.arange(first, stop), mode="wrap")
