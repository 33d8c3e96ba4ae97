"""What a step gives that lies over images, as it is declared: outlines, and places of a table as points."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..core.findings import counted
from ..core.operator import Gives
from ..pixels.report import COLOURS, colour_of
from .recorded import ReadStep

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 2000  # places at most, the newest


class Over(NamedTuple):
    """What draws it over an image of the frames that the step saw, and what that is in a sentence."""

    draw: Callable[[Axes], None]
    said: str


def overlay_of(step: ReadStep, gives: Sequence[Gives]) -> Over | None:
    """Return what lies over images of a step; None where nothing does."""
    outlines = [
        found[np.isfinite(found).all(1)]
        for given in gives
        if given.kind == "snapshot" and given.dims[-1:] == ("yx",) and len(given.dims) == 3
        for found in _outlines(step.snapshot.get(given.name))
    ]
    outlines = [np.vstack([points, points[:1]])[:, ::-1] for points in outlines if len(points)]
    places = [
        _places(step, given.name) for given in gives if given.kind == "table" and {"y_px", "x_px"} <= {*given.dims}
    ]
    points = np.concatenate([np.empty((0, 2)), *places])
    if not outlines and not len(points):
        return None

    def draw(axes: Axes) -> None:
        from matplotlib.collections import LineCollection

        axes.add_collection(LineCollection(outlines, colors=[colour_of(n) for n in range(len(outlines))], linewidths=2))
        axes.scatter(points[:, 1], points[:, 0], s=60, facecolors="none", edgecolors=COLOURS[0], linewidths=1.2)

    said = [counted(len(outlines), "outline")] if outlines else []
    said += [f"the newest {counted(len(points), 'place')}" if len(points) == POINTS else counted(len(points), "place")]
    return Over(draw, " and ".join(said if len(points) else said[:1]))


def _outlines(found: np.ndarray | None) -> Sequence[np.ndarray]:
    usable = found is not None and found.ndim == 3 and found.shape[-1] == 2 and found.dtype.kind in "fiu"
    return list(found.astype(float)) if usable and found is not None else []


def _places(step: ReadStep, table: str) -> np.ndarray:
    """Places (n, yx) [px] of the newest rows of a table."""
    newest: deque[np.ndarray] = deque()
    count = 0
    for record in step.records():
        y, x = (record.arrays.get(f"{table}/{name}") for name in ("y_px", "x_px"))
        if y is None or x is None or y.dtype.kind not in "fiu":
            continue
        here = np.stack([y, x], 1).astype(float)[-POINTS:]
        newest.append(here[np.isfinite(here).all(1)])
        count += len(newest[-1])
        while count - len(newest[0]) >= POINTS:
            count -= len(newest.popleft())
    return np.concatenate([np.empty((0, 2)), *newest])[-POINTS:]
