"""The block: what flows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from .errors import FrameError, WireError
from .header import HELD_PER_BYTE, user_nbytes
from .plane import plane_name
from .spec import FRAME_DTYPES

NO_USER: Mapping[int, Mapping[str, Any]] = MappingProxyType({})
_DTYPES = frozenset(map(np.dtype, FRAME_DTYPES))  # asking one for its name takes numpy 10 µs, a block is built in 15


@dataclass(frozen=True, eq=False)
class Block:
    """n ≥ 1 consecutive frames of one plane, with no gap inside.

    `index` is the camera's counter of the first frame, `times_ns` (t,) int64 nanoseconds since the series start,
    `pixels` (t, y, x). Pixels become native, aligned, C-order and read-only: a view where they are so already,
    a copy where not (foreign byte order, strided cut-outs). They are valid until `update` returns; copy to keep.
    `user` has what the sender says of single frames, by index: settings that changed, a trigger's number.
    Raises FrameError.
    """

    index: int
    times_ns: np.ndarray = field(repr=False)
    pixels: np.ndarray = field(repr=False)
    channel: str = ""
    z: int = 0
    user: Mapping[int, Mapping[str, Any]] = field(default_factory=lambda: NO_USER, repr=False)
    known: bool = field(default=False, init=False, repr=False)  # its pixels were looked at: known_pixels
    on_card: Any = field(default=None, init=False, repr=False)  # the same on a card, once a step took it there

    def __post_init__(self) -> None:
        times, pixels = np.asarray(self.times_ns, np.int64), _frames(self.pixels)
        if times.shape != (len(pixels),):
            raise FrameError(f"block at {self.index}: {len(pixels)} frames need as many times, found {times.shape}")
        if self.index < 0:
            raise FrameError(f"block: a frame's index is 0 or more, found {self.index}")
        if self.user:
            _check_user(self)
        object.__setattr__(self, "times_ns", _read_only(times))
        object.__setattr__(self, "pixels", _read_only(pixels))

    def __len__(self) -> int:
        return len(self.times_ns)

    @property
    def plane(self) -> str:
        """The plane it is of, `green/0`."""
        return plane_name(self.channel, self.z)

    def of(self, pixels: np.ndarray) -> Block:
        """Return other pixels (t, y, x) in place of these frames'."""
        return Block(self.index, self.times_ns, pixels, self.channel, self.z, self.user)

    def at(self, index: int, times_ns: np.ndarray) -> Block:
        """Return these frames under other indices, from `index` on, and times."""
        user = {n + index - self.index: facts for n, facts in self.user.items()} if self.user else NO_USER
        return Block(index, times_ns, self.pixels, self.channel, self.z, user)

    @property
    def shape(self) -> tuple[int, ...]:
        """Frames, rows and columns."""
        return self.pixels.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the pixels."""
        return self.pixels.dtype

    @property
    def nbytes(self) -> int:
        """Bytes held for pixels and `user`."""
        of_user = sum(user_nbytes(facts) for facts in self.user.values()) if self.user else 0
        return math.prod(self.shape) * self.dtype.itemsize + HELD_PER_BYTE * of_user

    @property
    def stop(self) -> int:
        """Index one past the last frame."""
        return self.index + len(self.times_ns)

    def cut(self, start: int, stop: int) -> Block:
        """Return the frames with start ≤ index < stop as a block of their own, without copying."""
        a, b = max(start, self.index) - self.index, min(stop, self.stop) - self.index
        if a >= b:
            raise FrameError(f"block {self.index}..{self.stop}: no frame between {start} and {stop}")
        if a == 0 and b == len(self):
            return self
        part = self._part(a, b)
        return part.as_known() if self.known else part

    def _part(self, a: int, b: int) -> Block:
        pixels, user = self.pixels[a:b], self._user_of(a, b)
        return Block(self.index + a, self.times_ns[a:b], pixels, self.channel, self.z, user)

    def _user_of(self, a: int, b: int) -> Mapping[int, Mapping[str, Any]]:
        first, stop = self.index + a, self.index + b
        return {n: self.user[n] for n in range(first, stop) if n in self.user} if self.user else NO_USER

    def as_known(self) -> Block:
        """Note that all pixels are NaN or light, so that no other step looks at them again; returns the block."""
        object.__setattr__(self, "known", True)
        return self


def _frames(pixels: Any) -> np.ndarray:
    array = np.asarray(pixels)
    if array.ndim != 3 or 0 in array.shape:
        raise FrameError(f"a block's pixels are (t, y, x) with none of them 0, found {array.shape}")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype not in _DTYPES:
        raise FrameError(f"frames cannot be of type {array.dtype.name!r}; use one of {', '.join(FRAME_DTYPES)}")
    as_it_should_be = array.flags.c_contiguous and array.flags.aligned
    return array if as_it_should_be else np.require(array, requirements=["C", "A"])


def _check_user(block: Block) -> None:
    """Raises FrameError for what is said of a frame that is not there, or cannot be carried in a header."""
    for index, facts in block.user.items():
        if not (isinstance(index, int) and block.index <= index < block.stop and isinstance(facts, Mapping)):
            raise FrameError(f"block {block.index}..{block.stop}: user of frame {str(index)[:40]}, which is not in it")
        try:
            user_nbytes(facts)
        except WireError as error:
            raise FrameError(f"frame {index}: {error}") from None


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view
