"""A bounded sample of frames, for medians."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..core.errors import StateError
from ..core.spec import Spec
from ..core.state import State, require_int

MIN_FRAMES = 32


class FrameSample:
    """Keeps every frame while memory lasts, then every second by frame index, every fourth, and so on.

    The sample depends on the frame indices alone, neither on blocks nor on merging.
    """

    def __init__(self, spec: Spec, max_mib: int) -> None:
        self._spec = spec
        self._most = max(MIN_FRAMES, (max_mib << 20) // spec.frame_nbytes)
        self.step = 1
        self._frames: dict[int, np.ndarray] = {}

    def add(self, first: int, frames: Iterable[np.ndarray]) -> None:
        """Add frames (y, x) with consecutive indices from `first` on."""
        for index, frame in enumerate(frames, first):
            if index % self.step == 0:
                self._frames[index] = frame.copy()
                self._thin()

    def copy(self) -> FrameSample:
        """Return a copy that shares the frames, which are constant."""
        copy = FrameSample.__new__(FrameSample)
        copy.__dict__ |= {**self.__dict__, "_frames": dict(self._frames)}
        return copy

    def merge(self, other: FrameSample) -> None:
        """Add the sample of a later part."""
        self.step = max(self.step, other.step)
        self._frames |= other._frames
        self._frames = {i: f for i, f in self._frames.items() if i % self.step == 0}
        self._thin()

    def stack(self) -> np.ndarray:
        """Return the frames kept (n, p)."""
        frames = list(self._frames.values())
        return np.array(frames, self._spec.dtype).reshape(len(frames), self._spec.shape[0] * self._spec.shape[1])

    def state(self) -> State:
        """Return the frames kept, their indices and the stride, as entries of a state."""
        indices = np.array(list(self._frames), np.int64)
        return {"sample": self.stack(), "sample_index": indices, "sample_step": self.step}

    def restore(self, state: State) -> None:
        """Restore what `state` returned. Raises StateError for another size or type."""
        frames, indices = state.get("sample"), state.get("sample_index")
        pixels = self._spec.shape[0] * self._spec.shape[1]
        if (
            not isinstance(frames, np.ndarray)
            or not isinstance(indices, np.ndarray)
            or (frames.shape, frames.dtype) != ((len(indices), pixels), np.dtype(self._spec.dtype))
            or indices.dtype != np.int64
        ):
            raise StateError(f"gain: the sample of frames must be (n, {pixels}) {self._spec.dtype} with n indices")
        self.step = require_int(state, "sample_step", "gain")
        if self.step < 1:
            raise StateError(f"gain: state 'sample_step' must be 1 or more, found {self.step}")
        self._frames = {int(i): f.reshape(self._spec.shape).copy() for i, f in zip(indices, frames, strict=True)}

    def _thin(self) -> None:
        while len(self._frames) > self._most:
            self.step *= 2
            self._frames = {i: f for i, f in self._frames.items() if i % self.step == 0}
