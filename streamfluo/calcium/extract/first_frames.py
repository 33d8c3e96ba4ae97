"""The initial frames: stored in half precision of their noise, and which of them show the scene."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from ...core.errors import StateError
from ...core.state import State, require_array
from ..banded import read_only
from ..kernels.initial_frames import deviation_quantile, read_half
from .card_frame import STRIDE, CardFrame, Frame, compared_step

_QUANTILE = 0.9  # of |deviation|: what changes a tenth of the field is no cell
_FACTOR, _LEAST = 3.0, 10.0  # times what is usual, and noise σ: a flash or a shutter; cells of a dense field reach 5
_NOISE = 1.645  # that quantile of noise alone
_LIMIT = np.float32(65000)  # of float16


class FirstFrames(Sequence[np.ndarray]):
    """Frames (y, x) as differences to the first, kept as float16 in units near their noise; read as float32 [ADU].

    Half precision has 11 bits: stored in ADU, differences beyond 65000 were cut off and those beyond 2048 coarse.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.first = np.zeros(shape, np.float32)
        self.frames: list[int] = []
        self._scale = np.ones(1, np.float32)
        self._stored: list[np.ndarray] = []

    def append(self, index: int, frame: np.ndarray) -> None:
        """Store a frame (y, x)."""
        if not self._stored:
            self.first[...] = np.nan_to_num(frame.astype(np.float32))
            self._scale[0] = _noise_unit(frame.astype(np.float32))
        part = (frame.astype(np.float32) - self.first) / self._scale[0]
        self._stored.append(np.clip(part, -_LIMIT, _LIMIT).astype(np.float16))
        self.frames.append(index)

    def of_scene(self) -> tuple[list[int], FirstFrames]:
        """Return the indices of the frames left out and the others: flashes and closed shutters show no scene.

        Compared with the last quarter: what is dark at first and lit then is left out while it is dark.
        """
        sample = np.stack([part[::STRIDE, ::STRIDE].ravel().astype(np.float32) for part in self._stored])
        with np.errstate(invalid="ignore"):
            usual = _median(sample[-max(1, len(sample) // 4) :])
            spread = _median(np.abs(np.diff(sample, axis=0))) / np.float32(0.9539)
            deviation = np.abs(sample - usual) / np.maximum(spread, np.median(spread) + np.float32(1e-9))
        deviation[~np.isfinite(deviation)] = 0
        odd = np.quantile(deviation, _QUANTILE, axis=1)
        bound = _FACTOR * np.median(odd[-max(1, len(odd) // 4) :]) + _LEAST
        height, width = self.first.shape
        kept = FirstFrames((height, width))
        kept.first, kept._scale = self.first, self._scale
        kept._stored = [part for part, value in zip(self._stored, odd, strict=True) if value <= bound]
        kept.frames = [n for n, value in zip(self.frames, odd, strict=True) if value <= bound]
        return [n for n, value in zip(self.frames, odd, strict=True) if value > bound], kept

    def __len__(self) -> int:
        return len(self._stored)

    @overload
    def __getitem__(self, n: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, n: slice) -> Sequence[np.ndarray]: ...
    def __getitem__(self, n: int | slice) -> np.ndarray | Sequence[np.ndarray]:
        if isinstance(n, slice):
            return [self[i] for i in range(*n.indices(len(self)))]
        stored, frame = self._stored[n].view(np.uint16), np.empty(self.first.shape, np.float32)
        stored.flags.writeable = False  # as it is where it comes from a state: the kernel is compiled for such alone
        flat = frame.reshape(-1)
        read_half(stored.reshape(-1), self._scale[0], flat.view(np.uint32), flat)
        return frame

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[n] for n in range(len(self)))

    def state(self) -> State:
        """Return all carried values as state entries."""
        frames = np.array(self._stored, np.float16).reshape(-1, *self.first.shape)
        return {"first": self.first.copy(), "init_scale": self._scale.copy(), "init_frames": frames,
                "init_index": np.array(self.frames, np.int64)}  # fmt: skip

    def restore(self, state: State, where: str) -> None:
        """Restore what `state` returned. Raises StateError."""
        self.first[...] = require_array(state, "first", self.first, where)
        self._scale = require_array(state, "init_scale", self._scale, where).copy()
        if not (np.isfinite(self._scale).all() and self._scale[0] > 0):
            raise StateError(f"{where}: state 'init_scale' must be positive; the state was damaged")
        count = np.asarray(state.get("init_index")).size
        self.frames = require_array(state, "init_index", np.zeros(count, np.int64), where).tolist()
        self._stored = list(
            require_array(state, "init_frames", np.zeros((count, *self.first.shape), np.float16), where)
        )


def _noise_unit(first: np.ndarray) -> np.float32:
    """A power of two near the noise of a frame, from differences of neighbouring pixels, NaN as unknown; 1 without."""
    steps = np.abs(np.diff(first, axis=1))
    size = float(np.median(steps[steps > 0])) if (steps > 0).any() else 1.0
    return np.float32(2.0 ** np.clip(np.round(np.log2(size)), -100, 100))


def _median(values: np.ndarray) -> np.ndarray:
    """Median over the frames (n, pixels), NaN as unknown; 0 where nothing is known."""
    if not np.isnan(values).any():
        middle: np.ndarray = np.median(values, axis=0)
        return middle
    order = np.sort(values, axis=0)  # NaN last
    known = np.isfinite(values).sum(0)
    middle = np.take_along_axis(order, np.maximum(known - 1, 0)[None] // 2, axis=0)[0]
    return np.nan_to_num(middle)


class SceneWatch:
    """Tells frames that do not show the scene by how many pixels deviate far from the background.

    What goes on for more than 100 frames is the scene from then on.
    """

    PATIENCE = 100

    def __init__(self) -> None:
        self._level, self._odd = np.full(1, _NOISE), np.zeros(1, np.int64)

    def is_odd(self, frame: Frame, mean: np.ndarray, weight: np.ndarray) -> bool:
        """Return whether a frame (y, x) is a flash or a shutter; mean and weight (y, x) of the background."""
        step = compared_step(mean.shape)
        if isinstance(frame, CardFrame):
            mean, weight = (np.ascontiguousarray(image[::step, ::step]) for image in (mean, weight))
            frame, step = frame.sampled, 1
        value = deviation_quantile(read_only(frame), mean, weight, step, _QUANTILE)
        if value < 0:
            return False
        level = self._level[0]
        if value > _FACTOR * level + _LEAST and self._odd[0] < self.PATIENCE:
            self._odd[0] += 1
            return True
        self._level[0] = value if self._odd[0] >= self.PATIENCE else level + (value - level) / 50
        self._odd[0] = 0
        return False

    @property
    def lasting(self) -> bool:
        """Whether what is seen has not been the scene for so long that it must be learned anew."""
        return bool(self._odd[0] >= self.PATIENCE)

    def state(self) -> State:
        """Return all carried values as state entries."""
        return {"watch_level": self._level.copy(), "watch_odd": self._odd.copy()}

    def restore(self, state: State, where: str) -> None:
        """Restore what `state` returned. Raises StateError."""
        self._level[:] = require_array(state, "watch_level", self._level, where)
        self._odd[:] = require_array(state, "watch_odd", self._odd, where)
