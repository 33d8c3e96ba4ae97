"""What a run has found so far, in one line: the numbers that its operators name in `counted`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ..core.step_values import StepValues


class Found:
    """Running numbers of a run, by what they count: `cells`, `spots`, `valid frames`.

    Values of frames add up; of values by id the newest row counts, as those of earlier frames are the same cells. One
    thread adds, others read.
    """

    def __init__(self, counted: Iterable[tuple[str, Mapping[str, str]]]) -> None:
        self._counted = {step: dict(nouns) for step, nouns in counted if nouns}
        self._numbers: dict[tuple[str, str], float] = {
            (step, noun): 0.0 for step, nouns in self._counted.items() for noun in nouns.values()
        }

    def add(self, values: StepValues) -> None:
        """Count what a step gave; some 5 µs where it counts something."""
        for name, noun in self._counted.get(values.step, {}).items():
            array = values.arrays.get(name)
            if array is None or not len(array):
                continue
            if array.ndim > 1:
                self._numbers[values.step, noun] = float(np.nansum(array[-1]))
            else:
                self._numbers[values.step, noun] += float(np.nansum(array))

    @property
    def numbers(self) -> dict[str, int]:
        """Noun → number so far, those of several planes together."""
        total: dict[str, int] = {}
        for (_, noun), number in list(self._numbers.items()):
            total[noun] = total.get(noun, 0) + round(number)
        return total

    def __str__(self) -> str:
        """`20 cells, 998 valid frames`, of the last step first; nothing where no operator counts."""
        return ", ".join(f"{number} {noun}" for noun, number in reversed(self.numbers.items()))
