"""What pixels have in common besides the illumination: noise shared by neighbours, an offset that jitters.

Photon transfer takes the noise of each pixel for its own. A filter, a registration by parts of a pixel or an
interpolation shares noise among neighbours and makes it smaller; a jittering offset adds the same to all pixels of a
frame. Both are measured from the steps between consecutive frames in patches on a grid over the field.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np

from ..core.errors import StateError
from ..core.spec import Spec
from ..core.state import State, require_array
from .kernels.bins import Array
from .kernels.patches import PRODUCTS, accumulate_patches

GRID, SIDE_PX = 8, 8  # 64 patches of 64 pixels, .4 copies of a frame: a correlation is known to .8 % after 100
MIN_PATCHES = 8
NO_WINDOW = np.zeros(4, np.int64)
STEP_NOISE = 1.5  # variance of a mean product of consecutive steps, over that of independent ones


class Measured(NamedTuple):
    """A relative error that an effect makes in the slope of variance against mean, and its standard error."""

    effect: float
    error: float


class SharedNoise(NamedTuple):
    """Mean products of steps, halved, over `pairs` pairs of frames [ADU²], of patches g whose pixels all were seen.

    light (g, h, w): their mean [ADU]; patches (g, g): products of the means over patches; neighbours (g, 5): sums over
    a patch of the products of a pixel with itself, with the ones right, below and on both diagonals.
    """

    light: Array
    patches: Array
    neighbours: Array
    pairs: int

    def of_neighbours(self, common: Array) -> Measured:
        """By how much the noise of neighbours makes a pixel's too small, relative: Σ covariance / variance.

        common (3,): a, b, c of the variance a m² + 2 b m + c that all pixels share, as `fitted_common` returns it.
        """
        m, (height, width) = self.light, self.light.shape[1:]
        ends = ((m, m), *((m[:, :height - i, max(0, -j) : width - max(0, j)], m[:, i:, max(0, j) : width + min(0, j)])
                          for i, j in ((0, 1), (1, 0), (1, 1), (1, -1))))  # fmt: skip
        a, b, c = common
        shares = [np.sum(a * one * two + b * (one + two) + c, axis=(1, 2)) for one, two in ends]
        own, *others = (self.neighbours[:, k] - share for k, share in enumerate(shares))
        pixels = m[0].size
        scaled = [
            np.sum(other * pixels / max(one[0].size, 1)) for other, (one, _) in zip(others, ends[1:], strict=True)
        ]
        total = max(float(own.sum()), 1e-30)
        noise = own / pixels
        each = noise * noise + 2 * noise * np.maximum(
            shares[0] / pixels, 0
        )  # a product's variance, with the common one
        spread = sum(np.sum(each * pixels**2 / max(one[0].size, 1)) for one, _ in ends[1:])
        return Measured(float(2 * sum(scaled) / total), float(2 * np.sqrt(STEP_NOISE * spread / self.pairs) / total))

    def fitted_common(self, zero: float) -> tuple[Array, Array]:
        """The variance a m² + 2 b m + c that all pixels share, m the light above `zero` [ADU]: (a, b, c), covariance.

        From the products of different patches: a flickering illumination makes a, a jittering offset c.
        """
        m, count = self.light.mean(axis=(1, 2)) - zero, len(self.light)
        size = float(np.mean(np.abs(m))) or 1.0
        u, noise = m / size, np.maximum(self.neighbours[:, 0], 1e-12) / self.light[0].size ** 2
        one, two = np.triu_indices(count, 1)
        columns = np.stack([u[one] * u[two], u[one] + u[two], np.ones(len(one))])
        weight = 1 / (noise[one] * noise[two])
        inverse = np.linalg.pinv((columns * weight) @ columns.T, rcond=1e-9, hermitian=True)
        taken = inverse @ (columns * weight)
        found = taken @ self.patches[one, two]
        share = np.maximum(found[0] * u * u + 2 * found[1] * u + found[2], 0.0)
        crossed = np.zeros((3, count))  # the illumination's steps times a patch's noise: the same in all its products
        for k in range(3):
            np.add.at(crossed[k], one, taken[k] * np.sqrt(share[two]))
            np.add.at(crossed[k], two, taken[k] * np.sqrt(share[one]))
        covariance = STEP_NOISE / self.pairs * ((taken / weight) @ taken.T + (crossed * noise) @ crossed.T)
        scale = np.array([1 / size**2, 1 / size, 1.0])
        return found * scale, covariance * np.outer(scale, scale)


class PatchSums:
    """The sums behind SharedNoise; patches lie in the window (top, bottom, left, right) that the first frame shows."""

    def __init__(self, spec: Spec) -> None:
        self._shape = spec.shape
        self._window, self.places = NO_WINDOW.copy(), np.empty((0, 0, 0), np.int64)
        count = min(GRID, spec.shape[0]) * min(GRID, spec.shape[1])
        self.sums = {
            "patch_products": np.zeros((count, count)),
            "neighbour_products": np.zeros((count, PRODUCTS)),
        }

    def add(self, cell: np.ndarray, last: np.ndarray, linked: np.ndarray) -> None:
        """Add consecutive frames (n, p) that follow the frame last (p,); linked (n,): whether a frame's step counts."""
        if len(cell):
            self.place_in(cell[0])
        self._accumulate(cell, last, linked, self.places)

    def place_in(self, frame: np.ndarray) -> None:
        """Lay the patches where a first frame (p,) was seen, unless they lie somewhere."""
        if not len(self.places):
            self._place(_seen_window(frame.reshape(self._shape)))

    def add_placed(self, cell: np.ndarray, last: np.ndarray, linked: np.ndarray) -> None:
        """`add` of the pixels of the patches alone, (n, places) and (places,)."""
        self._accumulate(cell, last, linked, np.arange(self.places.size).reshape(self.places.shape))

    def _accumulate(self, cell: np.ndarray, last: np.ndarray, linked: np.ndarray, places: np.ndarray) -> None:
        steps = np.zeros((len(cell), len(places)))
        accumulate_patches(cell, last, linked, places, steps, self.sums["neighbour_products"])
        if len(cell):
            self.sums["patch_products"] += steps.T @ steps

    def merge(self, other: Self) -> None:
        """Add those of a later part; of another window nothing is known together."""
        if not np.array_equal(self._window, other._window):
            for array in self.sums.values():
                array[...] = 0.0
            return
        for name, array in self.sums.items():
            array += other.sums[name]

    def copy(self) -> PatchSums:
        """Return an independent copy."""
        copy = PatchSums.__new__(PatchSums)
        copy.__dict__ |= {**self.__dict__, "sums": {name: array.copy() for name, array in self.sums.items()}}
        return copy

    def state(self) -> State:
        """Return copies of the sums, as entries of a state."""
        return {"patch_window": self._window.copy(), **{name: array.copy() for name, array in self.sums.items()}}

    def restore(self, state: State) -> None:
        """Restore what `state` returned. Raises StateError."""
        for name, array in self.sums.items():
            array[...] = require_array(state, name, array, "gain")
            if not np.isfinite(array).all():
                raise StateError(f"gain: state {name!r} holds numbers that are not finite; the state was damaged")
        window = require_array(state, "patch_window", self._window, "gain").copy()
        top, bottom, left, right = window.tolist()
        if any(window) and not (0 <= top < bottom <= self._shape[0] and 0 <= left < right <= self._shape[1]):
            raise StateError(f"gain: state 'patch_window' {window.tolist()} is no part of {self._shape}")
        self._window, self.places = NO_WINDOW.copy(), np.empty((0, 0, 0), np.int64)
        if any(window):
            self._place(window)

    def _place(self, window: np.ndarray) -> None:
        """Lay the patches on a grid over the window."""
        self._window = window
        top, bottom, left, right = window.tolist()
        rows, columns = min(GRID, self._shape[0]), min(GRID, self._shape[1])
        side = max(min(SIDE_PX, (bottom - top) // rows), 1), max(min(SIDE_PX, (right - left) // columns), 1)
        y = np.linspace(top, bottom - side[0], rows).astype(np.int64)[:, None] + np.arange(side[0])
        x = np.linspace(left, right - side[1], columns).astype(np.int64)[:, None] + np.arange(side[1])
        places = y[:, None, :, None] * self._shape[1] + x[None, :, None, :]
        self.places = np.ascontiguousarray(places.reshape(rows * columns, *side))

    def measured(self, mean: Array, left_out: np.ndarray, pairs: int) -> SharedNoise | None:
        """What the patches have in common, from each pixel's mean (p,); None where too few have no pixel left out."""
        if not len(self.places) or not self.sums["neighbour_products"].any():
            return None
        light = mean[self.places]
        whole = ~left_out[self.places].any(axis=(1, 2)) & np.isfinite(light).all(axis=(1, 2))
        if np.count_nonzero(whole) < MIN_PATCHES or pairs < 2:
            return None
        halved = {name: array[whole] / (2 * pairs) for name, array in self.sums.items()}
        patches = halved["patch_products"][:, whole] / self.places[0].size ** 2
        return SharedNoise(light[whole], patches, halved["neighbour_products"], pairs)


def _seen_window(frame: np.ndarray) -> np.ndarray:
    """The window (top, bottom, left, right) around the finite pixels of a frame (y, x); all of it if there are none."""
    seen = np.isfinite(frame)
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    if not len(rows):
        return np.array([0, frame.shape[0], 0, frame.shape[1]])
    return np.array([rows[0], rows[-1] + 1, columns[0], columns[-1] + 1])
