"""Arrays that live on a card while frames come, and on the host where they are read, merged or saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .card import Card


class Mirror:
    """An array of the host and the same on a card, zero at first; each is copied when it is asked for and the other
    one is newer.

    The memory on the card is taken at once, so that a card that is full says so before frames flow.
    """

    def __init__(self, card: Card, shape: tuple[int, ...], dtype: Any = np.float64) -> None:
        self._card, self._host, self._there = card, np.zeros(shape, dtype), card.xp.zeros(shape, dtype)
        self._host_is_new = self._card_is_new = False

    @property
    def host(self) -> np.ndarray:
        """The array on the host, to be read; assign it after a change in place."""
        if self._card_is_new:
            self._host = self._card.get(self._there)
            self._card_is_new = False
        return self._host

    @host.setter
    def host(self, array: np.ndarray) -> None:
        self._host, self._host_is_new, self._card_is_new = array, True, False

    def there(self) -> Any:
        """Return the array on the card, to be read."""
        if self._host_is_new:
            if self._host.size:
                self._there[...] = self._card.put(self._host)
            self._host_is_new = False
        return self._there

    def to_change(self) -> Any:
        """Return the array on the card, to be changed there."""
        there = self.there()
        self._card_is_new = True
        return there

    def clear(self) -> None:
        """Make all of it zero, on the card."""
        self._host_is_new, self._card_is_new = False, True
        self._there[...] = 0

    def copy(self) -> Mirror:
        """Return a copy, made on the card. What the host has is shared, as copying it takes a thousand times as long:
        whoever changes it in place assigns a copy of it first."""
        new = object.__new__(Mirror)
        new.__dict__.update(self.__dict__, _there=self.there().copy(), _host_is_new=False)
        return new


class Mirrors:
    """Arrays of the host that an operator holds, by name, and the same on a card: all are changed together, those of
    the host in place, and copied when the others are newer.

    The memory on the card is taken at once.
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

    def copy(self) -> Mirrors:
        """Return an independent copy, made on the card; its arrays of the host are its own."""
        new = object.__new__(Mirrors)
        there = {name: array.copy() for name, array in self.on_card().items()}
        new.__dict__.update(self.__dict__, _there=there)
        new.host = {name: np.empty_like(array) for name, array in self.host.items()}
        return new
