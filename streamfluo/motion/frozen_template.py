"""A template that is learned from a sample of a recording, and then the same for all of its parts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .template import Template


class FrozenTemplate(Template):
    """A template that can be kept as the mean of all frames it saw, and whose mean of parts is that of the whole."""

    def settle(self, registered: Callable[[np.ndarray], np.ndarray]) -> None:
        """Take the mean of all corrected frames for the template and for its anchor; it has not drifted from there.

        A running mean of 800 frames would be that of the sample's end. registered: what of an image is registered.
        """
        seen = (self._counts.rows > 0)[:, None] & (self._counts.columns > 0)
        np.copyto(self.image, registered(self.mean), where=seen)
        self._anchor[...] = self.image
        self.walked_px[:] = 0
        self.frames = max(self.frames, self._anchor_frames)
        self._begin_rows()

    def begin_mean(self) -> None:
        """Let the mean be that of the frames from the next one on, where they show anything."""
        self._corrected = 0

    def add_mean(self, other: FrozenTemplate) -> None:
        """Make the mean that of the frames of both."""
        total = self._corrected + other._corrected
        if total:
            self.mean += np.float32(other._corrected / total) * (other.mean - self.mean)
        self._corrected = total
