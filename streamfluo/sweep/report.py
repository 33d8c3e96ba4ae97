"""The picture of a sweep: each figure over the first parameter, a line for each value of the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..pixels.report import STYLE, colour_of
from .grid import Axis
from .table import Row, number_of, telling

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS, COLUMNS = 9, 3
LINES, DASHES = 8, ("-", "--", ":", "-.")  # lines that coincide are seen through each other
LOG_RATIO = 20.0  # a parameter whose values lie further apart is drawn along a logarithm


def draw_sweep(path: Path, axes: Sequence[Axis], rows: Sequence[Row]) -> Path | None:
    """Draw how figures depend on the swept parameters into a PNG and return it; None where nothing depends on them.

    A point is the mean over recordings, a bar from the least to the largest of them.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    names = telling(rows, PANELS)
    if not names:
        return None
    columns = min(COLUMNS, len(names))
    lines = math.ceil(len(names) / columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(3.7 * columns, 2.7 * lines + 0.5), layout="constrained", facecolor="white")
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for panel, name in zip(panels, names, strict=False):
            _draw(panel, name, axes, rows)
        for panel in panels[len(names) :]:
            panel.set_axis_off()
        handles, labels = panels[0].get_legend_handles_labels()
        if len(handles) > 1:
            figure.legend(handles, labels, loc="outside upper center", ncols=min(4, len(handles)), fontsize=8)
        figure.savefig(path, dpi=120, format="png")
    return path


def _draw(panel: Axes, name: str, axes: Sequence[Axis], rows: Sequence[Row]) -> None:
    first, *others = axes
    numbers = [number_of(value) for value in first.values]
    known = [x for x in numbers if x is not None]
    along = known if len(known) == len(numbers) else [float(n) for n in range(len(numbers))]
    order = np.argsort(along)
    combinations = list(product(*(axis.values for axis in others)))
    for n, rest in enumerate(combinations[:LINES]):
        found = [_over_recordings(rows, name, (value, *rest)) for value in first.values]
        low, middle, high = (np.array([one[k] for one in found])[order] for k in range(3))
        x = np.array(along)[order]
        short = [axis.target if len(axes) > 2 else axis.target.rpartition(".")[2] for axis in others]
        label = ", ".join(f"{target} = {value}" for target, value in zip(short, rest, strict=True))
        panel.plot(x, middle, DASHES[n % len(DASHES)], marker="o", ms=3.5, color=colour_of(n), label=label or None)
        if np.any(high > low):
            panel.vlines(x, low, high, color=colour_of(n), lw=0.8, alpha=0.6)
    _label(panel, first, along, numbers)
    left_out = len(combinations) - LINES
    panel.set_title(name if left_out <= 0 else f"{name} ({left_out} lines left out)", fontsize=9)


def _label(panel: Any, first: Axis, along: Sequence[float], numbers: Sequence[float | None]) -> None:
    panel.set_xlabel(first.target)
    if None in numbers:
        panel.set_xticks(along, first.values, rotation=30 if max(map(len, first.values)) > 6 else 0)
    elif min(along) > 0 and max(along) / min(along) > LOG_RATIO:
        panel.set_xscale("log")
    panel.margins(y=0.12)


def _over_recordings(rows: Sequence[Row], name: str, values: Sequence[str]) -> tuple[float, float, float]:
    found = [row.figures[name] for row in rows if row.values == tuple(values) and name in row.figures]
    return (min(found), float(np.mean(found)), max(found)) if found else (math.nan, math.nan, math.nan)
