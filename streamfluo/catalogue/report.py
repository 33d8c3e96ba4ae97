"""The picture of trends: each figure of each rig over time, with its limits, those that warn in red."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..pixels.report import COLOURS, STYLE
from .database import CatalogueError
from .trends import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = 24  # those that warn come first
WARNED = "#c62828"
_COLUMNS, _INCHES = 3, (4.2, 2.3)


def draw_trends(figures: Sequence[Figure], path: Path) -> int:
    """Draw figures over time as a PNG; return how many of them have a panel. Raises CatalogueError."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas

    told = sorted(figures, key=lambda figure: figure.trend.verdict == "undetermined")
    shown = [figure for figure in told if len(figure.trend.day) > 1][:PANELS]
    rows = max(1, math.ceil(len(shown) / _COLUMNS))
    with rc_context(STYLE), np.errstate(all="ignore"):
        canvas = Canvas(figsize=(_COLUMNS * _INCHES[0], rows * _INCHES[1]), layout="constrained", facecolor="white")
        panels = canvas.subplots(rows, _COLUMNS, squeeze=False).reshape(-1)
        for axes, figure in zip(panels, shown, strict=False):
            _panel(axes, figure)
        for axes in panels[len(shown) :]:
            axes.set_axis_off()
        file = io.BytesIO()
        canvas.savefig(file, format="png", dpi=110)
    try:
        path.write_bytes(file.getvalue())
    except OSError as error:
        raise CatalogueError(f"{path}: the picture cannot be written: {error.strerror or error}") from None
    return len(shown)


def _panel(axes: Axes, figure: Figure) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num

    trend = figure.trend
    at = date2num(figure.since) + trend.day
    if np.isfinite(trend.low).any():
        axes.fill_between(at, trend.low, trend.high, color="#dfe5ea", lw=0)
        style = "steps-post" if trend.verdict == "step" else "default"
        axes.plot(at, trend.middle, color="#5d6670", lw=1.2, drawstyle=style)
    out = (trend.value < trend.low) | (trend.value > trend.high)
    axes.plot(at, trend.value, ".", ms=4.5, color=WARNED if figure.warns else COLOURS[1])
    axes.plot(at[out], trend.value[out], "o", ms=7, mfc="none", mec=WARNED)
    locator = AutoDateLocator(minticks=3, maxticks=6)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    step = f"{figure.step}: " if figure.step else ""
    axes.set_title(f"{figure.group[:40]}\n{step}{figure.name}", fontsize=9, loc="left")
    said = figure.said if len(figure.said) < 60 else f"{figure.said[:58]} …"
    axes.set_xlabel(said, color=WARNED if figure.warns else "0.35", fontsize=8, loc="left")
