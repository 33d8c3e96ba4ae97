"""What a data endpoint answers of what was: recorded frames, and values of before somebody came."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ..core import wire
from ..core.block import Block
from ..core.errors import SourceError
from ..core.plane import ONE_PLANE
from .consumers import IN_FLIGHT_BYTES
from .publishing import preview_frame

Past = Callable[[wire.Past, int], tuple[wire.Result, Sequence[np.ndarray]]]


class Recorded(NamedTuple):
    """Who knows what was: `look` gives the first recorded frame of a plane from an index on, `past` the values that are
    asked for, of so many bytes at most (SourceError: no such step)."""

    look: Callable[[str, int], Block | None] | None = None
    past: Past | None = None

    def answer(self, asked: wire.Look | wire.Past, share: int) -> tuple[wire.Message, Sequence[np.ndarray]]:
        """Return what is asked for; a connection may leave `share` answers unread. Raises SourceError for nothing."""
        if isinstance(asked, wire.Look):
            return self._frame(asked)
        if self.past is None:
            raise SourceError(f"no values of {asked.step[:64]!r} here")
        return self.past(asked, IN_FLIGHT_BYTES // share)

    def _frame(self, look: wire.Look) -> tuple[wire.Image, Sequence[np.ndarray]]:
        """The frame that somebody asks for, binned."""
        found = self.look(look.step.rpartition("/")[0] or ONE_PLANE, look.index) if self.look else None
        if found is None:
            raise SourceError(f"no recorded frame of {look.step[:64]!r} from {look.index} on can be read here")
        shown = preview_frame(found, look.bin_px)
        told = {"step": look.step, "bin_px": look.bin_px, "asked": look.index}
        return wire.image_of("", shown, 0, shown.index, told), (shown.pixels[0],)
