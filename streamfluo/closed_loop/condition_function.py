"""A function of the laboratory's own within a condition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..core.errors import ConfigError
from ..core.operator import Gives
from .condition_nodes import EITHER, Frames, Node, Values
from .followed_id import ById


class Called(Node):
    """What a Python function makes of values of a frame: true or false, a number, or None where it is not known.

    One value comes as a float, several in an array (n,), all values by id in a dict from the id to the value of each
    component that is there. It is not asked where a single value is not known. It must go by what it is given alone:
    what it remembered would not be there after a resume. One that raises is unknown in that frame.
    """

    kind = EITHER

    def __init__(self, text: str, function: Callable[..., Any], *parts: Node) -> None:
        super().__init__(text, *parts)
        self._function = function
        self.failed = ""  # what it raised last

    def _settle(self, given: Mapping[str, Gives]) -> None:
        for part in self.parts:
            if isinstance(part, Values) and given[part.need].kind == "snapshot" and not part.single:
                raise ConfigError(f"{part.text}: a function takes one number of a snapshot, {part.need}[0]")

    def value(self, now: Frames) -> np.ndarray:
        found = np.full(len(now.times_ns), np.nan)
        for n, values in enumerate(zip(*(self._of_each(part, now) for part in self.parts), strict=True)):
            if not any(isinstance(one, float) and np.isnan(one) for one in values):
                found[n] = self._asked(values)
        return np.where(np.isfinite(found), found, np.nan)

    def _asked(self, values: tuple[Any, ...]) -> float:
        try:
            said = self._function(*values)
            return np.nan if said is None else float(said)
        except Exception as error:  # a fault of theirs ends no recording
            self.failed = f"{type(error).__name__}: {error}"[:200]
            return np.nan

    @staticmethod
    def _of_each(part: Node, now: Frames) -> list[Any]:
        """What the function is given of a part, for each frame."""
        if not isinstance(part, Values) or part.single:
            return part.value(now).tolist()
        matrix = part.matrix(now)
        if part.places is not None or f"{part.need}.ids" not in now.inputs:
            return list(matrix)
        block = ById.of(now.inputs, part.need, matrix)
        ids = block.ids.tolist()
        return [
            {name: value for name, value, there in zip(ids, row, present, strict=True) if there}
            for row, present in zip(matrix.tolist(), block.present, strict=True)
        ]
