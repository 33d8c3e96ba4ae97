"""The cells of a volume: components of neighbouring slices that are one cell are joined, and it is counted once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.sparse

from ..core.errors import SessionError
from ..core.loaded import RecordedStep
from .extracted_components import ExtractedComponents

# Of two sections of a sphere the smaller lies within the larger one: the overlap is the ratio of their radii.
MIN_OVERLAP = 0.3  # cosine of two footprints
MIN_CORRELATION = 0.5  # of two courses; cells of their own above each other have less than .2
MIN_FRAMES = 50  # both have been seen for


class JoinedComponents:
    """The cells of a volume, each with its components in one slice or in several that follow each other.

    `planes` are their names by depth, `components` those found in each; `same_as` has a row for each accepted
    component: `cell`, `plane` (number), `id`, and `overlap` and `correlation` with its part in the slice above (NaN
    for the first). `traces` (cells, T) are the mean of the parts', weighted by their signal to noise; `frame` (T,).
    """

    def __init__(self, slices: Mapping[str, ExtractedComponents]) -> None:
        self.planes = tuple(slices)
        self.components = dict(slices)
        if len({part.shape for part in slices.values()}) > 1:
            found = ", ".join(f"{name} {part.shape}" for name, part in slices.items())
            raise SessionError(f"slices of one volume have one shape, found {found}")
        self.frame = _common([part.frame for part in slices.values()])
        self.same_as = _table(list(slices.values()), self.frame)

    @classmethod
    def of(cls, steps: Mapping[str, RecordedStep]) -> JoinedComponents:
        """Join the components of recorded steps, by plane from the first slice on. Raises SessionError."""
        return cls({plane: ExtractedComponents.of(step) for plane, step in steps.items()})

    def __len__(self) -> int:
        """Number of cells."""
        return len(np.unique(self.same_as["cell"]))

    def footprint(self, cell: int) -> np.ndarray:
        """Return a cell's footprint (z, y, x) float32, 0 in slices that it is not in."""
        some = next(iter(self.components.values()))
        volume = np.zeros((len(self.planes), *some.shape), np.float32)
        for n, part, column in self._parts(cell):
            volume[n] = part.footprints[:, [column]].toarray().reshape(some.shape)
        return volume

    @property
    def traces(self) -> np.ndarray:
        """The denoised trace of each cell (cells, T) float32."""
        return np.array([self._trace(cell) for cell in np.unique(self.same_as["cell"])], np.float32)

    def _trace(self, cell: int) -> np.ndarray:
        total, weights = np.zeros(len(self.frame)), 0.0
        for _, part, column in self._parts(cell):
            weight = max(float(part.snr[column]), 1e-6) ** 2
            total += weight * part.traces[column, np.isin(part.frame, self.frame)]
            weights += weight
        return total / weights

    def _parts(self, cell: int) -> list[tuple[int, ExtractedComponents, int]]:
        """A cell's parts: the slice's number, its components, which of them."""
        rows = np.flatnonzero(self.same_as["cell"] == cell)
        found = []
        for n, name in zip(self.same_as["plane"][rows], self.same_as["id"][rows], strict=True):
            part = self.components[self.planes[n]]
            found.append((int(n), part, int(np.flatnonzero(part.ids == name)[0])))
        return found


def _table(slices: Sequence[ExtractedComponents], frame: np.ndarray) -> dict[str, np.ndarray]:
    columns: dict[str, list[float]] = {name: [] for name in ("cell", "plane", "id", "overlap", "correlation")}
    cells, cell_above = 0, np.empty(0, np.int64)
    above: tuple[ExtractedComponents, np.ndarray] | None = None
    for n, part in enumerate(slices):
        kept = np.flatnonzero(part.accepted)
        cell = np.full(len(kept), -1)
        overlap, correlation = np.full((2, len(kept)), np.nan)
        for i, j, shared, correlated in [] if above is None else _pairs(above, (part, kept), frame):
            cell[j], overlap[j], correlation[j] = cell_above[i], shared, correlated
        new = cell < 0
        cell[new] = cells + np.arange(new.sum())
        cells += int(new.sum())
        rows = (cell, np.full(len(kept), n), part.ids[kept], overlap, correlation)
        for column, values in zip(columns.values(), rows, strict=True):
            column.extend(values)
        above, cell_above = (part, kept), cell
    types = {"cell": np.int64, "plane": np.int64, "id": np.int64}
    return {name: np.array(values, types.get(name, np.float64)) for name, values in columns.items()}


def _pairs(
    above: tuple[ExtractedComponents, np.ndarray], below: tuple[ExtractedComponents, np.ndarray], frame: np.ndarray
) -> list[tuple[int, int, float, float]]:
    """The components of two neighbouring slices that are one cell, each in one pair at most, the surest first."""
    overlaps = (_unit(*above).T @ _unit(*below)).tocoo()
    found = []
    for i, j, overlap in zip(overlaps.row, overlaps.col, overlaps.data, strict=True):
        if overlap >= MIN_OVERLAP:
            correlation = _correlation(above, int(i), below, int(j), frame)
            if correlation >= MIN_CORRELATION:
                found.append((overlap * correlation, int(i), int(j), float(overlap), correlation))
    pairs, taken = [], (set[int](), set[int]())
    for _, i, j, overlap, correlation in sorted(found, reverse=True):
        if i not in taken[0] and j not in taken[1]:
            taken[0].add(i)
            taken[1].add(j)
            pairs.append((i, j, overlap, correlation))
    return pairs


def _unit(part: ExtractedComponents, kept: np.ndarray) -> scipy.sparse.csc_matrix:
    footprints = part.footprints[:, kept]
    norms = np.sqrt(np.asarray(footprints.multiply(footprints).sum(0)).ravel())
    return footprints @ scipy.sparse.diags(1 / np.maximum(norms, 1e-12))


def _correlation(
    above: tuple[ExtractedComponents, np.ndarray], i: int,
    below: tuple[ExtractedComponents, np.ndarray], j: int, frame: np.ndarray,
) -> float:  # fmt: skip
    """The correlation of two components' denoised traces over the frames in which both were known."""
    (first, kept_first), (second, kept_second) = above, below
    a, b = kept_first[i], kept_second[j]
    known = frame >= max(first.birth_frame[a], second.birth_frame[b])
    if known.sum() < MIN_FRAMES:
        return 0.0
    x = first.traces[a, np.isin(first.frame, frame)][known]
    y = second.traces[b, np.isin(second.frame, frame)][known]
    if not (x.std() and y.std()):
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def _common(frames: Sequence[np.ndarray]) -> np.ndarray:
    shared = frames[0]
    for frame in frames[1:]:
        shared = np.intersect1d(shared, frame)
    return shared
