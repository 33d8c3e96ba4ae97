"""An array that lives on a card while frames come, and on the host where it is read, merged or saved."""

from __future__ import annotations

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
        """Return an independent copy, made on the card."""
        new = object.__new__(Mirror)
        new.__dict__.update(self.__dict__, _there=self.there().copy(), _host=self._host.copy(), _host_is_new=False)
        return new
