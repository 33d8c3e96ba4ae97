"""Days overlaid, as a picture: cells of both in white, those of one alone in its colour, over both images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...pixels.report import levels
from .field_map import warped
from .registered import RegisteredDays

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIRST, SECOND, BOTH = "#e69f00", "#3a9bdc", "#ffffff"
COLOURS = (np.array([1.0, 0.35, 1.0]), np.array([0.35, 1.0, 0.35]))  # magenta and green: white where they agree
PANEL_INCHES, DPI = 5.2, 110


def draw_overlay(found: RegisteredDays, path: Path, day: int = 1) -> Path:
    """Draw a day, by its number, over the first as a PNG: images before and after, outlines; return its path."""
    from matplotlib.figure import Figure

    aspect = found.shape[0] / found.shape[1]
    figure = Figure(figsize=(3 * PANEL_INCHES, PANEL_INCHES * aspect + 0.8), layout="constrained", facecolor="white")
    before, after, cells = figure.subplots(1, 3)
    first, second = found.days_used[0], found.days_used[day]
    match = found.matches[second.name]
    known = np.isfinite(second.image)
    moved, seen = warped(np.stack([np.where(known, second.image, 0), known]), match.map, found.shape)
    seen = seen & (moved[1] > 0.99)
    before.imshow(_two_colours(first.image, second.image))
    before.set_title(f"{first.name} magenta, {second.name} green", fontsize=10)
    after.imshow(_two_colours(first.image, np.where(seen, moved[0], np.nan)))
    said = f"matched ({match.model}): turned {match.map.turn_deg:.1f}°, correlation {match.evidence.correlation:.2f}"
    after.set_title(said, fontsize=10)
    grey = _grey(first.image)
    shown = np.where(seen, (np.nan_to_num(grey) + _grey(moved[0])) / 2, grey)
    cells.imshow(shown, cmap="gray", vmin=0, vmax=1.3)
    counts = _outlines(cells, found, day)
    cells.set_title(
        f"white: {counts[2]} cells of both, orange: {counts[0]} of the first alone, blue: {counts[1]}", fontsize=10
    )
    for axes in (before, after, cells):
        axes.set_facecolor("black")
        axes.set(xticks=[], yticks=[], xlim=(-0.5, found.shape[1] - 0.5), ylim=(found.shape[0] - 0.5, -0.5))
    figure.savefig(path, dpi=DPI)
    return path


def _grey(image: np.ndarray) -> np.ndarray:
    low, high = levels(image)
    return np.asarray(np.clip((image - low) / (high - low), 0, 1))


def _two_colours(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    magenta, green = (np.nan_to_num(_grey(image))[..., None] for image in (first, second))
    return np.asarray(np.clip(magenta * COLOURS[0] + green * COLOURS[1], 0, 1))


def _outlines(axes: Axes, found: RegisteredDays, day: int) -> tuple[int, int, int]:
    """Draw the outlines of both days' components in the first's field; how many are of either alone, and of both."""
    both = np.intersect1d(found.cell[found.day == 0], found.cell[found.day == day])
    counts = {}
    for which, alone in ((0, FIRST), (day, SECOND)):
        rows = np.flatnonzero(found.day == which)
        counts[which] = int((~np.isin(found.cell[rows], both)).sum())
        for row, line in zip(rows.tolist(), found.contours(rows.tolist()), strict=True):
            style: Any = {"lw": 1.2, "ls": "-"} if which == 0 else {"lw": 1.0, "ls": "--"}
            axes.fill(*line.T[::-1], fill=False, ec=BOTH if found.cell[row] in both else alone, **style)
    return counts[0], counts[day], len(both)
