"""Axes as all plots have them: lines where a number stands, numbers that can be told apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyqtgraph as pg
from PySide6.QtGui import QPainter, QPen

PLAIN = 1e4, 1e7  # between these, numbers are written out: pyqtgraph calls 999,990 and 1,000,010 both 1e+06


class Axis(pg.AxisItem):
    """An axis whose grid has a line for each number.

    A line for every tick, and pens that Qt takes for wide ones, were 1.7 of the 1.9 ms that a plot took to paint.
    """

    def drawPicture(self, painter: QPainter, axis: Any, ticks: Sequence[Any], texts: Sequence[Any]) -> None:
        """Draw the axis, ticks and grid where there is a text, texts."""
        across = self.orientation in ("left", "right")
        named = {round(rect.center().y() if across else rect.center().x()) for rect, *_ in texts}
        named |= {at + off for at in named for off in (-1, 1)}
        drawn = []
        for pen, start, end in ticks:
            if round(start.y() if across else start.x()) in named:
                thin = QPen(pen)
                thin.setCosmetic(True)
                drawn.append((thin, start, end))
        super().drawPicture(painter, axis, drawn, texts)

    def tickStrings(self, values: Sequence[float], scale: float, spacing: float) -> list[str]:
        """Return values as text, with as many digits as tell one from the next."""
        largest = max((abs(value * scale) for value in values), default=0.0)
        if self.logMode or largest < PLAIN[0] or not math.isfinite(largest):
            return super().tickStrings(values, scale, spacing)  # type: ignore[no-any-return]
        step = spacing * scale
        if largest < PLAIN[1]:
            places = max(0, math.ceil(-math.log10(step)))
            return [f"{value * scale:.{places}f}" for value in values]
        digits = max(2, math.ceil(math.log10(largest / step)) + 1)
        return [f"{value * scale:.{min(digits, 17)}g}" for value in values]


def axes() -> dict[str, Axis]:
    """Return the two axes of a plot."""
    return {side: Axis(side) for side in ("left", "bottom")}
