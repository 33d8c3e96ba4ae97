"""The cells of a volume: components of its slices that are one cell are joined, and it is counted once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import scipy.sparse

from ...core.errors import SessionError
from ...core.loaded import RecordedStep, SliceSteps
from ...core.plane import Plane
from ..component_shapes import boxes_of_footprints
from ..extracted_components import ExtractedComponents
from .joining import CELL_MEASURES, SECTION_MEASURES, Joining, Slices
from .sameness import ONE_LOOK_SCORE
from .sections import Seen

MIN_FRAMES = 50  # two sections of a recorded run have been seen for, to be joined
_VALUES = ("traces", "raw", "spikes", "dff")


class VolumeCells:
    """The cells of a volume, each with its sections in one slice or in several; a row of every array for each cell.

    `ids` (K,); `traces` denoised, `raw`, `spikes`, `dff` (K, T) float32, NaN where no section was known; `frame` (T,)
    index of each column, `t_s` (T,) its time in the first slice [s]; a cell's values are `delay_s` (K,) later, the mean
    time of its sections. `centres_px` (K, zyx) in slices and px, `centres_um` (K, zyx) [µm], NaN where depth or pixel
    size are not known. `same_as` has a row for each section: `cell`, `plane` (number in `planes`), `id` of the
    component there, `share` that it has in the trace, `overlap` and `shared` with the section of the cell that fits
    best: cosine of the footprints, correlation of what both carry beside noise. `components` are those of each plane.
    """

    def __init__(
        self,
        slices: Mapping[str, ExtractedComponents],
        planes: Sequence[Plane] = (),
        joined: RecordedStep | None = None,
    ) -> None:
        if len({part.shape for part in slices.values()}) > 1:
            found = ", ".join(f"{name} {part.shape}" for name, part in slices.items())
            raise SessionError(f"slices of one volume have one shape, found {found}")
        self.planes, self.components = tuple(slices), dict(slices)
        parts = list(slices.values())
        self.shape = parts[0].shape
        self.frame = np.unique(np.concatenate([part.frame for part in parts]))
        self._kept = [np.flatnonzero(part.accepted) for part in parts]
        self._joining = Joining(self.shape, _slices_of(parts, planes, joined), MIN_FRAMES, 1.0)
        self._joining.delay = self._delays(parts)
        self._joining.see(_seen(parts, self._kept))
        self._values = {name: self._of_sections(name) for name in _VALUES}
        for row in self._values["raw"].T:
            self._joining.take(row)
        if joined is None:
            self._joining.look(ONE_LOOK_SCORE)
        else:
            self._joining.know(_recorded(joined, planes))
        self.ids = self._joining.weights.cells

    @classmethod
    def of(cls, found: SliceSteps) -> VolumeCells:
        """Join the components of recorded steps, as the step `volume` of the run did, if any. Raises SessionError."""
        slices = {plane: ExtractedComponents.of(step) for plane, step in found.steps.items()}
        return cls(slices, found.planes, found.joined)

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.ids)

    @property
    def same_as(self) -> dict[str, np.ndarray]:
        """Which component of which plane belongs to which cell, a row for each, by cell and plane."""
        rows, measures = self._joining.order(), self._joining.section_measures()
        plane = {"plane": self._joining.sections.plane[rows].astype(np.int64)}
        names = ("id", "share", "overlap", "shared")
        return {"cell": measures["cell"][rows], **plane, **{name: measures[name][rows] for name in names}}

    @property
    def traces(self) -> np.ndarray:
        """Denoised activity (K, T) float32."""
        return self._of_cells("traces", self._joining.weights.combined)

    @property
    def raw(self) -> np.ndarray:
        """Demixed activity (K, T) float32."""
        return self._of_cells("raw", self._joining.weights.combined)

    @property
    def spikes(self) -> np.ndarray:
        """Rate of spikes up to a factor (K, T) float32."""
        return self._of_cells("spikes", self._joining.weights.combined)

    @property
    def dff(self) -> np.ndarray:
        """ΔF/F (K, T) float32, the mean of the sections by what each tells."""
        return self._of_cells("dff", self._joining.weights.mean)

    @property
    def t_s(self) -> np.ndarray:
        """The time (T,) of each frame in the first slice since the series began [s], NaN where it is not known."""
        return next(iter(self.components.values())).times_s(self.frame)

    @property
    def delay_s(self) -> np.ndarray:
        """How much later than `t_s` the values of each cell (K,) were taken [s]; 0 where times do not say."""
        interval_s = np.nanmedian(np.diff(self.t_s)) if np.isfinite(self.t_s).sum() > 1 else 0.0
        return np.asarray(self._measures["delay_frames"] * interval_s)

    @property
    def centres_px(self) -> np.ndarray:
        """The centre of each cell (K, zyx): slice, and px."""
        return np.stack([self._measures[name] for name in ("z", "y_px", "x_px")], 1)

    @property
    def centres_um(self) -> np.ndarray:
        """The centre of each cell (K, zyx) [µm], NaN where depth or pixel size are not known."""
        return np.stack([self._measures[name] for name in ("z_um", "y_um", "x_um")], 1)

    def columns(self) -> dict[str, np.ndarray]:
        """Return what is known of each cell, a column (K,) each: id, number of sections, centre, delay."""
        measures = self._measures
        return {**measures, "id": self.ids, "sections": measures["sections"].astype(np.int64), "delay_s": self.delay_s}

    def footprint(self, cell: int) -> np.ndarray:
        """Return the footprint (planes, y, x) float32 [ADU per σ] of a cell by id, 0 in slices that it is not in.

        Raises SessionError for an unknown id.
        """
        volume = np.zeros((len(self.planes), *self.shape), np.float32)
        for n, row in self._sections_of(cell):
            volume[n] = self._joining.sections.footprints(np.array([row])).toarray().reshape(self.shape)
        return volume

    def voxels(self, cell: int) -> list[tuple[str, int, int, float]]:
        """Return the footprint of a cell by id as (plane, y, x, weight) of each of its pixels [ADU per σ].

        Raises SessionError for an unknown id.
        """
        found = []
        for n, row in self._sections_of(cell):
            image = scipy.sparse.coo_matrix(self._joining.sections.footprints(np.array([row])).reshape(self.shape))
            rows = zip(image.row.tolist(), image.col.tolist(), image.data.tolist(), strict=True)
            found += [(self.planes[n], y, x, weight) for y, x, weight in rows]
        return found

    def footprints(self) -> scipy.sparse.csc_matrix:
        """Return all footprints (planes·y·x in C order, K) [ADU per σ]."""
        sections, order = self._joining.sections, self._joining.order()
        flat = sections.footprints(order).tocoo()
        of = self._joining.weights.cell[order]
        pixels = self.shape[0] * self.shape[1]
        place = (sections.plane[order][flat.col] * pixels + flat.row, of[flat.col])
        return scipy.sparse.csc_matrix((flat.data, place), shape=(len(self.planes) * pixels, len(self)))

    @property
    def _measures(self) -> dict[str, np.ndarray]:
        return dict(zip(CELL_MEASURES, self._joining.cell_measures().T, strict=True))

    def _of_cells(self, name: str, of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Values (K, T) of a name, those of each frame made of its sections' by `of`."""
        return np.array([of(row) for row in self._values[name].T], np.float32).reshape(len(self.frame), len(self)).T

    def _of_sections(self, name: str) -> np.ndarray:
        """Values (sections, T) of a name, NaN where they are not known."""
        rows = []
        for part, kept in zip(self.components.values(), self._kept, strict=True):
            values = np.full((len(kept), len(self.frame)), np.nan, np.float32)
            values[:, np.searchsorted(self.frame, part.frame)] = getattr(part, name)[kept]
            values[self.frame < part.birth_frame[kept][:, None]] = np.nan
            rows.append(values)
        return np.concatenate(rows)

    def _delays(self, parts: Sequence[ExtractedComponents]) -> np.ndarray:
        """When in a frame each slice is taken [frames]."""
        times_s = np.array([part.times_s(self.frame) for part in parts])
        whole = np.isfinite(times_s).all(0)
        if whole.sum() < 2 or not (interval_s := float(np.median(np.diff(times_s[0, whole])))) > 0:
            return np.zeros(len(parts))
        later = np.median(times_s[:, whole] - times_s[:, whole].min(0), 1) / interval_s
        return np.asarray(np.clip(later, 0, 1))

    def _sections_of(self, cell: int) -> list[tuple[int, int]]:
        """Plane and row of each section of a cell."""
        rows = [row for row in self._joining.order().tolist() if self._joining.cell[row] == cell]
        if not rows:
            raise SessionError(f"no cell {cell}; there are {len(self)}, see .ids")
        return [(int(self._joining.sections.plane[row]), row) for row in rows]


def _slices_of(parts: Sequence[ExtractedComponents], planes: Sequence[Plane], joined: RecordedStep | None) -> Slices:
    """The slices: their depths as the stream states them, or as the run's step was told."""
    z = tuple(plane.z for plane in planes) or tuple(range(len(parts)))
    depths_um: list[float | None] = [plane.z_um for plane in planes] or [None] * len(parts)
    if joined is not None:
        table = joined.snapshot["sections_now"]
        known = dict(zip(table[:, SECTION_MEASURES.index("z")], table[:, SECTION_MEASURES.index("z_um")], strict=True))
        told = [float(known.get(n, np.nan)) for n in z]
        depths_um = [a if np.isfinite(a) else b for a, b in zip(told, depths_um, strict=True)]
    return Slices(z, tuple(depths_um), parts[0].pixel_um, None)


def _recorded(joined: RecordedStep, planes: Sequence[Plane]) -> dict[tuple[int, int], int]:
    """The cell of each component, by place of its plane and id, as a run's step left it. Raises SessionError."""
    if "sections_now" not in joined.snapshot:
        raise SessionError(f"{joined.folder}: step {joined.id!r} left no cells; was its run ended in time?")
    place = {plane.z: n for n, plane in enumerate(planes)}
    table = joined.snapshot["sections_now"][:, :3].astype(int).tolist()
    return {(place[z], name): cell for cell, z, name in table if z in place}


def _seen(parts: Sequence[ExtractedComponents], kept: Sequence[np.ndarray]) -> Seen:
    both = list(zip(parts, kept, strict=True))
    footprints = scipy.sparse.hstack([part.footprints[:, of] for part, of in both], "csc")
    boxes, corners = boxes_of_footprints(footprints, parts[0].shape)
    plane, ids = np.repeat(np.arange(len(parts)), [len(of) for of in kept]), [part.ids[of] for part, of in both]
    noise = np.concatenate([part.noise[of] for part, of in both])
    noise = np.where(noise > 0, noise, 1.0)
    return Seen(plane, np.concatenate(ids), np.ones(len(plane), bool), noise, corners, boxes)
