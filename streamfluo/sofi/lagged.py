"""Cumulants between frames: ⟨δ(t) δ(t + τ_1) … δ(t + τ_(n−1))⟩, free of noise that is new in each frame."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import StateError
from ..core.spec import Spec
from ..core.state import State
from .product_sums import Factor, ProductSums


class LaggedSums:
    """Sums over every frame t from which all lags lie in the same unbroken run of frames.

    The last frames of the run are kept for those that follow, and the first of all for a part that comes before:
    parts merge exactly.
    """

    def __init__(self, spec: Spec, lags: tuple[int, ...]) -> None:
        self.factors: list[Factor] = [(lag, 0, 0) for lag in lags]
        self.products = ProductSums(spec, [self.factors])
        self.depth = self.products.depth
        nothing = np.empty((0, *spec.shape), spec.dtype)
        self.head, self.tail = nothing, nothing
        self._whole = True  # there is one run so far, and the head is all of it

    def add(self, cell: np.ndarray) -> None:
        """Add a cell's frames (n, y, x) that follow those before."""
        run = np.concatenate([self.tail, cell])
        if self._whole:
            self.head = run[: self.depth].copy()
            self._whole = len(run) < self.depth
        self.products.add(run)
        self.tail = run[len(run) - min(self.depth, len(run)) :].copy()

    def end_run(self) -> None:
        """Frames are missing here."""
        self.tail = self.tail[:0]
        self._whole = self._whole and not len(self.head)

    def seam(self, other: LaggedSums, frames: int) -> ProductSums:
        """The products between this part's last frames and the first `frames` of the part that follows."""
        run = np.concatenate([self.tail, other.head[:frames]])
        seam = self.products.copy()
        seam.n = 0
        seam.sums = np.zeros_like(seam.sums)
        seam.add(run)
        return seam

    def absorb(self, other: LaggedSums, unbroken: bool) -> None:
        """Add the part that follows; `unbroken`: its first frame comes right after this one's last."""
        if not unbroken:
            self.end_run()
        self.products.absorb(self.seam(other, len(other.head)))
        self.products.absorb(other.products)
        run = np.concatenate([self.tail, other.head])
        if self._whole:
            self.head = run[: self.depth].copy()
        short = other._whole and unbroken
        self._whole = self._whole and other._whole and len(self.head) < self.depth
        self.tail = run[len(run) - min(self.depth, len(run)) :].copy() if short else other.tail.copy()

    def cumulant(self, order: int, sums: np.ndarray | None = None, n: int | None = None) -> np.ndarray:
        """The lagged cumulant of this order (y, x), of these sums and n instead of all."""
        maps = None if sums is None else self.products.maps(sums)
        return self.products.cumulant(self.factors[:order], maps, n).reshape(self.products.spec.shape)

    def copy(self) -> LaggedSums:
        """An independent copy."""
        new = object.__new__(LaggedSums)
        new.__dict__.update(self.__dict__, products=self.products.copy())
        return new

    def state(self) -> State:
        """As state entries."""
        own: State = {"lag_head": self.head.copy(), "lag_tail": self.tail.copy(), "lag_whole": int(self._whole)}
        return {**own, **self.products.state("lag")}

    def restore(self, state: State) -> None:
        """Take over what `state` returned. Raises StateError."""
        self.products.restore(state, "lag")
        self.head, self.tail = (_frames(state.get(f"lag_{name}"), self.head) for name in ("head", "tail"))
        self._whole = bool(state["lag_whole"])


def _frames(value: Any, like: np.ndarray) -> np.ndarray:
    if not isinstance(value, np.ndarray) or (value.shape[1:], value.dtype) != (like.shape[1:], like.dtype):
        raise StateError(f"sofi: lagged frames are {like.shape[1:]} {like.dtype}, found {value!r:.80}")
    return value.copy()
