"""Cumulants between frames, ⟨δ(t) δ(t + τ_1) … δ(t + τ_(n−1))⟩, free of noise independent between frames."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from ..core.card import Card
from ..core.errors import StateError
from ..core.spec import Spec
from ..core.state import State
from .card_products import CardProducts
from .product_sums import Factor, ProductSums


class LaggedSums:
    """Sums over every frame t from which all lags lie in the same unbroken run of frames.

    The last frames of the run are kept for those that follow, and the first of all for an earlier part: parts merge
    exactly.
    """

    def __init__(self, spec: Spec, lags: tuple[int, ...]) -> None:
        self.factors: list[Factor] = [(lag, 0, 0) for lag in lags]
        self.products = ProductSums(spec, [self.factors])
        self.depth = self.products.depth
        nothing = np.empty((0, *spec.shape), spec.dtype)
        self.head, self.tail = nothing, nothing
        self._one_run = True  # all frames so far are one run, and in the head

    def add(self, cell: np.ndarray) -> None:
        """Add a cell's frames (n, y, x) that follow the last ones."""
        run = np.concatenate([self.tail, cell])
        if self._one_run:
            self.head = run[: self.depth].copy()
            self._one_run = len(run) < self.depth
        self.products.add(run)
        self.tail = run[len(run) - min(self.depth, len(run)) :].copy()

    def end_run(self) -> None:
        """End the run: frames are missing here."""
        self.tail = self.tail[:0]
        self._one_run = self._one_run and not len(self.head)

    def seam(self, other: LaggedSums, frames: int) -> ProductSums:
        """Return the products between this part's last frames and the first `frames` of the later part."""
        run = np.concatenate([self.tail, other.head[:frames]])
        seam = self.products.copy()
        seam.n = 0
        seam.sums = np.zeros_like(seam.sums)
        seam.add(self._there(run))
        return seam

    def _there(self, run: np.ndarray) -> Any:
        """Return frames where products are made of them."""
        return run

    def absorb(self, other: LaggedSums, unbroken: bool) -> None:
        """Add the later part; `unbroken`: its first frame follows this one's last."""
        if not unbroken:
            self.end_run()
        self.products.absorb(self.seam(other, len(other.head)))
        self.products.absorb(other.products)
        run = np.concatenate([self.tail, other.head])
        if self._one_run:
            self.head = run[: self.depth].copy()
        short = other._one_run and unbroken
        self._one_run = self._one_run and other._one_run and len(self.head) < self.depth
        self.tail = run[len(run) - min(self.depth, len(run)) :].copy() if short else other.tail.copy()

    def cumulant(self, order: int, sums: np.ndarray | None = None, n: int | None = None) -> np.ndarray:
        """Return the lagged cumulant of this order (y, x), of these sums and n, or of all."""
        maps = None if sums is None else self.products.maps(sums)
        return self.products.cumulant(self.factors[:order], maps, n).reshape(self.products.spec.shape)

    def copy(self) -> Self:
        """Return an independent copy."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__, products=self.products.copy())
        return new

    def state(self) -> State:
        """Return state entries."""
        own: State = {"lag_head": self.head.copy(), "lag_tail": self.tail.copy(), "lag_whole": int(self._one_run)}
        return {**own, **self.products.state("lag")}

    def restore(self, state: State) -> None:
        """Restore the entries of `state`. Raises StateError."""
        self.products.restore(state, "lag")
        self.head, self.tail = (_frames(state.get(f"lag_{name}"), self.head) for name in ("head", "tail"))
        self._one_run = bool(state["lag_whole"])


class CardLaggedSums(LaggedSums):
    """LaggedSums on a card, of frames there; the last ones of the run stay there."""

    products: CardProducts

    def __init__(self, spec: Spec, lags: tuple[int, ...], card: Card) -> None:
        self._card, self._n_tail = card, 0
        depth = max(lags)
        self._tails = [card.xp.empty((depth, *spec.shape), spec.dtype) for _ in range(2)]  # this one, and for the next
        super().__init__(spec, lags)
        self.products = CardProducts(spec, [self.factors], card)

    @property
    def tail(self) -> np.ndarray:
        """The last frames of the run, on the host."""
        return self._card.get(self._tails[0][: self._n_tail]) if self._n_tail else np.empty_like(self.head[:0])

    @tail.setter
    def tail(self, frames: np.ndarray) -> None:
        self._n_tail = len(frames)
        if len(frames):
            self._tails[0][: len(frames)] = self._card.put(frames)

    def add(self, cell: Any) -> None:
        earlier, n = self._tails[0][: self._n_tail], len(cell)
        run = self._n_tail + n
        if self._one_run:
            missing = cell[: self.depth - len(self.head)]
            self.head = np.concatenate([self.head, self._card.get(missing)]) if len(missing) else self.head
            self._one_run = run < self.depth
        self.products.add(cell, earlier)
        kept = min(self.depth, run)
        of_cell = min(n, kept)
        after = self._tails[1]
        if kept > of_cell:
            after[: kept - of_cell] = earlier[run - kept :]
        if of_cell:
            after[kept - of_cell : kept] = cell[n - of_cell :]
        self._tails, self._n_tail = [after, self._tails[0]], kept

    def end_run(self) -> None:
        self._n_tail = 0
        self._one_run = self._one_run and not len(self.head)

    def copy(self) -> Self:
        new = super().copy()
        new.__dict__["_tails"] = [tail.copy() for tail in self._tails]
        return new

    def _there(self, run: np.ndarray) -> Any:
        return self._card.put(run) if len(run) else self._tails[0][:0]


def _frames(value: Any, like: np.ndarray) -> np.ndarray:
    if not isinstance(value, np.ndarray) or (value.shape[1:], value.dtype) != (like.shape[1:], like.dtype):
        raise StateError(f"sofi: lagged frames are {like.shape[1:]} {like.dtype}, found {value!r:.80}")
    return value.copy()
