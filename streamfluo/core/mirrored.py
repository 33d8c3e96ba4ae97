"""Sums that live on a card while frames come, and on the host where they are read, merged or saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .card import Card


class Mirrored:
    """Arrays of the host, by name, and the same on a card; each is copied when the other one is newer.

    All memory is taken at once, so that a card that is full says so before frames flow.
    """

    def __init__(self, card: Card, arrays: Mapping[str, np.ndarray]) -> None:
        self.card, self.host = card, arrays
        self._there = {name: card.xp.zeros(array.shape, array.dtype) for name, array in arrays.items()}
        self._host_is_new, self._card_is_new = True, False

    def on_card(self) -> Mapping[str, Any]:
        """Return the arrays on the card, to be changed there."""
        if self._host_is_new:
            for name, array in self.host.items():
                if array.size:
                    self._there[name][...] = self.card.put(array)
        self._host_is_new, self._card_is_new = False, True
        return self._there

    def on_host(self) -> Mapping[str, np.ndarray]:
        """Return the arrays on the host, to be read."""
        if self._card_is_new:
            for name, array in self.host.items():
                array[...] = self.card.get(self._there[name])
        self._card_is_new = False
        return self.host

    def to_change(self) -> Mapping[str, np.ndarray]:
        """Return the arrays on the host, to be changed there."""
        found = self.on_host()
        self._host_is_new = True
        return found

    def copy(self) -> Mirrored:
        """Return an independent copy, made on the card; its arrays of the host are its own."""
        new = object.__new__(Mirrored)
        there = {name: array.copy() for name, array in self.on_card().items()}
        new.__dict__.update(self.__dict__, _there=there)
        new.host = {name: np.empty_like(array) for name, array in self.host.items()}
        return new
