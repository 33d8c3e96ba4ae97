"""A table of named arrays that grow, lose rows and are saved as state together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...core.errors import StateError
from ...core.state import State

_LINE = 64  # bytes of a line of the cache: an array begins with one
Field = tuple[tuple[int, ...], Any]  # shape of a row, dtype


class Columns:
    """Named arrays with `count` rows in use; attributes are the arrays at full capacity, `table[name]` the rows in use.

    Rows beyond `count` are zero. Capacity doubles when it is exhausted.
    """

    fields: Mapping[str, Field]

    def __init__(self, fields: Mapping[str, Field], capacity: int = 64) -> None:
        self.fields, self.count = dict(fields), 0
        for name, array in _together(self.fields, capacity).items():
            setattr(self, name, array)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)  # arrays are set by name; the type checker takes them as Any

    def __getitem__(self, name: str) -> np.ndarray:
        """Return the rows in use of an array, as a view."""
        array: np.ndarray = self.__dict__[name]
        return array[: self.count]

    def append(self, **values: Any) -> int:
        """Add a row, zero except for `values`; return its number."""
        capacity = len(getattr(self, next(iter(self.fields))))
        if self.count == capacity:
            for name, larger in _together(self.fields, 2 * capacity).items():
                larger[:capacity] = getattr(self, name)
                setattr(self, name, larger)
        row = self.count
        self.count += 1
        for name, value in values.items():
            getattr(self, name)[row] = value
        return row

    def remove(self, row: int) -> int:
        """Remove a row; the last row takes its place. Return the number the moved row had (`row` itself if none)."""
        last = self.count - 1
        for name in self.fields:
            array = getattr(self, name)
            array[row] = array[last]
            array[last] = 0
        self.count = last
        return last

    def widen(self, name: str, length: int) -> None:
        """Lengthen the rows of a one-axis field, with zeros."""
        (old,), dtype = self.fields[name]
        array = getattr(self, name)
        wider = np.zeros((len(array), length), dtype)
        wider[:, :old] = array
        setattr(self, name, wider)
        self.fields = {**self.fields, name: ((length,), dtype)}

    def state(self, prefix: str) -> State:
        """Return the rows in use as state entries."""
        return {f"{prefix}{name}": self[name].copy() for name in self.fields}

    def restore(self, state: State, prefix: str, where: str) -> None:
        """Restore what `state` returned. Raises StateError."""
        arrays = {name: state.get(f"{prefix}{name}") for name in self.fields}
        first = next(iter(arrays.values()))
        count = len(first) if isinstance(first, np.ndarray) and first.ndim else -1
        capacity = max(64, 1 << max(0, count - 1).bit_length())
        for name, (shape, dtype) in self.fields.items():
            array = arrays[name]
            if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != (count, *shape):
                found = f"{array.shape} {array.dtype}" if isinstance(array, np.ndarray) else repr(array)
                expected = f"({count}, {', '.join(map(str, shape))}) {np.dtype(dtype)}"
                raise StateError(f"{where}: state {prefix + name!r} must be an array {expected}, found {found}")
        for name, fresh in _together(self.fields, capacity).items():
            fresh[:count] = arrays[name]
            setattr(self, name, fresh)
        self.count = count


def _together(fields: Mapping[str, Field], capacity: int) -> dict[str, np.ndarray]:
    """Return arrays of zeros of so many rows, in one allocation: beyond 4 MB numpy asks for huge pages.

    A frame reads a few bytes of each row of each array, of more small pages than the processor remembers.
    """
    kinds = {name: (shape, np.dtype(dtype)) for name, (shape, dtype) in fields.items()}
    sizes = [capacity * int(np.prod(shape)) * dtype.itemsize for shape, dtype in kinds.values()]
    starts = np.cumsum([0, *(-(-size // _LINE) * _LINE for size in sizes)]).tolist()
    block = np.zeros(starts[-1], np.uint8)
    parts = (block[start : start + size] for start, size in zip(starts, sizes, strict=False))
    return {
        name: part.view(dtype).reshape(capacity, *shape)
        for part, (name, (shape, dtype)) in zip(parts, kinds.items(), strict=True)
    }
