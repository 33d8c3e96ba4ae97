"""Inputs in the viewer: one that no step `input` takes into the chain is shown as if one did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from ..core.block import Block
from ..core.input import INPUTS
from ..core.operator import Gives
from ..core.plane import in_plane
from ..core.step_values import StepValues, sized

KIND = "input"  # of steps that take inputs into the chain
VALUE = Gives("value", "per_frame", ("t", "column"), "", "the newest sample, NaN where there was none")


def unshown(names: Iterable[str], steps: Mapping[str, tuple[str, Mapping[str, object]]]) -> dict[str, str]:
    """Return what the inputs that no step shows are called beside the steps; these have kind and parameters."""
    shown = {params.get("name", KIND) for kind, params in steps.values() if kind == KIND}
    return {name: name if name not in steps else f"{name} (input)" for name in names if name not in shown}


class ShownInputs:
    """The inputs of a run by the name that they are shown by, and their newest sample at each frame.

    Texts have no height to be drawn at: they are left out. What is shown has as many columns as the first sample.
    """

    def __init__(self, called: Mapping[str, str], planes: Iterable[str]) -> None:
        self._called = dict(called)
        self._widths: dict[str, int] = {}
        self.steps = {in_plane(plane, step): VALUE for plane in planes for step in called.values()}

    def values(self, plane: str, block: Block) -> Iterator[StepValues]:
        """Yield the newest sample of each input at the frames of a block; nothing of one that has not come yet."""
        said = [facts.get(INPUTS) if (facts := block.user.get(n)) else None for n in range(block.index, block.stop)]
        for name, step in self._called.items():
            rows = [one.get(name) if isinstance(one, Mapping) else None for one in said]
            rows = [row if _is_numbers(row) else None for row in rows]
            if name not in self._widths and not any(rows):
                continue
            width = self._widths.setdefault(name, len(next(row for row in rows if row)) if any(rows) else 0)
            value = np.full((len(rows), width), np.nan)
            for n, row in enumerate(rows):
                if row is not None:
                    value[n, : len(row)] = row[:width]
            arrays = {VALUE.name: value}
            yield StepValues(in_plane(plane, step), block.index, len(rows), arrays, sized(arrays))


def _is_numbers(row: object) -> bool:
    return isinstance(row, list | tuple) and len(row) > 0 and all(isinstance(one, int | float) for one in row)
