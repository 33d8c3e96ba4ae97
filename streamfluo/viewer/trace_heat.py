"""All curves of a trace as one picture, time across, a row for each; and the order in which curves stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyqtgraph as pg

from .theme import COLOUR_MAPS

FOUND, ACTIVE, PLACE = "as found", "most active above", "by place"
ORDERS = (FOUND, ACTIVE, PLACE)
MAX_COLUMNS, MAX_CELLS = 1500, 1_000_000  # of the picture: a screen has no more
MAX_NAMED = 16  # rows with their id beside them
SPARED = 0.005  # of a curve's values are brighter than white, so that one burst leaves the rest to be seen
SAMPLED = 200  # frames say how active a curve is: all of them took half a second for 5000 curves


class TraceHeat:
    """Draws curves as rows of colour, each over its own range."""

    def __init__(self, plot: pg.PlotWidget) -> None:
        self._picture = pg.ImageItem()
        self._picture.setColorMap(pg.colormap.get(COLOUR_MAPS["inferno"]))
        self._picture.setZValue(-5)
        self._picture.setVisible(False)
        plot.addItem(self._picture)

    def hide(self) -> None:
        """Draw nothing."""
        self._picture.setVisible(False)

    def draw(self, indices: np.ndarray, rows: np.ndarray, order: Sequence[int], scale: float) -> None:
        """Draw values (t, curve) of frames, the first of `order` lowest; `scale` is a frame's length on the axis."""
        values = over_own_range(thinned(indices, rows)[:, list(order)])
        first, frames = int(indices[0]), int(indices[-1]) - int(indices[0]) + 1
        self._picture.setImage(values.T, autoLevels=False, levels=(0.0, 1.0))
        self._picture.setRect((first - 0.5) * scale, -0.5, frames * scale, len(order))
        self._picture.setVisible(True)


Places = Mapping[int, tuple[float, float]]  # id → where it is (y, x) [px]


def in_order(rows: np.ndarray, how: str, ids: Sequence[int] = (), places: Places | None = None) -> list[int]:
    """Return the curves of values (t, curve) from below: as they were found, by how far they spread, or, of those with
    `ids` at `places`, so that neighbours stand close together; those of no place are on top."""
    curves = rows.shape[1]
    if how == PLACE and places:
        known = [n for n, name in enumerate(ids) if name in places]
        yx = np.array([places[ids[n]] for n in known]).reshape(-1, 2)
        return [known[n] for n in along_curve(yx)] + [n for n in range(curves) if n >= len(ids) or ids[n] not in places]
    if how != ACTIVE or not len(rows):
        return list(range(curves))
    rows = rows[:: -(-len(rows) // SAMPLED)]
    known = np.isfinite(rows)
    values, count = np.where(known, rows, 0.0), np.maximum(known.sum(0), 1)
    spread = np.where(known, (values - values.sum(0) / count) ** 2, 0.0).sum(0) / count
    return np.argsort(spread, kind="stable").tolist()


def along_curve(yx: np.ndarray) -> list[int]:
    """Return places (n, yx) in the order in which a Hilbert curve of 256 × 256 cells comes by."""
    if not len(yx):
        return []
    size, side = max(float(np.ptp(yx, axis=0).max()), 1e-9), 256
    y, x = np.clip((yx - yx.min(0)) / size * side, 0, side - 1).astype(np.int64).T
    reached, step = np.zeros(len(yx), np.int64), side // 2
    while step:
        right, low = (x & step) > 0, (y & step) > 0
        reached += step * step * ((3 * right) ^ low)
        turned, flipped = ~low, ~low & right
        x, y = np.where(flipped, side - 1 - x, x), np.where(flipped, side - 1 - y, y)
        x, y = np.where(turned, y, x), np.where(turned, x, y)
        step //= 2
    return np.argsort(reached, kind="stable").tolist()


def thinned(indices: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the largest value of each curve in stretches of equal length (stretch, curve); NaN where frames miss."""
    first, frames = int(indices[0]), int(indices[-1]) - int(indices[0]) + 1
    room = max(100, min(MAX_COLUMNS, MAX_CELLS // max(1, rows.shape[1])))
    each = -(-frames // room)
    stretch, starts = np.unique((indices - first) // each, return_index=True)
    values = np.full((-(-frames // each), rows.shape[1]), np.nan)
    values[stretch] = np.fmax.reduceat(rows, starts, axis=0)
    return values


def over_own_range(values: np.ndarray) -> np.ndarray:
    """Return values (t, curve), 0 at each curve's smallest and 1 at nearly its largest; one that is constant is 0."""
    known = np.isfinite(values)
    values = np.where(known, values, np.float32(np.nan)).astype(np.float32)
    low = np.where(known, values, np.inf).min(0)
    # A percentile that leaves NaN out took 200 ms for 5000 curves; so it takes a tenth.
    high = np.sort(np.where(known, values, -np.inf), axis=0)[len(values) - 1 - int(SPARED * len(values))]
    some = high > low
    return np.asarray(
        (values - np.where(some, low, np.where(known.any(0), low, 0))) / np.where(some, high - low, np.inf)
    )


def named_rows(ids: Sequence[int], order: Sequence[int], pointed: int | None) -> list[tuple[float, str]]:
    """Return where rows are and what they are called; of many some, and the one that is pointed out."""
    each = -(-len(order) // MAX_NAMED)
    shown = [(float(n), str(ids[c])) for n, c in enumerate(order) if n % each == 0 and ids[c] != pointed]
    return shown + [(float(n), f"▸ {pointed}") for n, c in enumerate(order) if ids[c] == pointed]
