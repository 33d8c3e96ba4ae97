"""The stand-in of a card that is as strict as one: arrays of the host are not arrays of the card."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .host_card import HostCard


class CardArray(np.ndarray):
    """An array that mixes with arrays of its own kind and numbers alone, as one of a device does."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **given: Any) -> Any:
        return _of_card(getattr(ufunc, method), inputs, given)

    def __array_function__(self, function: Any, types: Any, inputs: Any, given: Any) -> Any:
        raise TypeError(f"numpy.{function.__name__} of an array of the card: take that of card.xp")

    def __getitem__(self, key: Any) -> Any:
        return _there(self.view(np.ndarray)[_plain(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self.view(np.ndarray)[_plain(key)] = _plain(value)


class StrictCard(HostCard):
    """HostCard with arrays that refuse those of the host, and which keeps in `used` the names asked of its `xp`."""

    def __init__(self) -> None:
        super().__init__()
        self.used: set[str] = set()
        self.xp = _Namespace(np, "", self.used)

    def put(self, pixels: np.ndarray) -> Any:
        if isinstance(pixels, CardArray) or not pixels.size:
            raise TypeError("put: takes frames of the host")
        return _there(super().put(pixels))

    def get(self, array: Any) -> np.ndarray:
        if not isinstance(array, CardArray):
            raise TypeError(f"get: takes an array of the card, found {type(array)}")
        return super().get(array).view(np.ndarray)

    def takes(self, array: np.ndarray) -> bool:
        return isinstance(array, CardArray)


class _Namespace:
    def __init__(self, of: Any, prefix: str, used: set[str]) -> None:
        self._of, self._prefix, self._used = of, prefix, used

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._of, name)
        self._used.add(self._prefix + name)
        if type(found) is type(np):
            return _Namespace(found, f"{self._prefix}{name}.", self._used)
        if isinstance(found, type) or not callable(found):
            return found
        return lambda *inputs, **given: _of_card(found, inputs, given)


def _of_card(function: Callable[..., Any], inputs: Any, given: dict[str, Any]) -> Any:
    return _there(function(*_plain(inputs), **{name: _plain(value) for name, value in given.items()}))


def _plain(value: Any) -> Any:
    """Return what numpy is given in place of arrays of the card. Raises TypeError for those of the host."""
    if isinstance(value, CardArray):
        return value.view(np.ndarray)
    if isinstance(value, np.ndarray):
        raise TypeError(f"an array of the host {value.shape} {value.dtype} where one of the card is needed")
    return type(value)(map(_plain, value)) if type(value) in (tuple, list) else value


def _there(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.view(CardArray)
    return type(value)(map(_there, value)) if type(value) in (tuple, list) else value
