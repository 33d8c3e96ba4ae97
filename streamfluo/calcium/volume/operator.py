"""The cells of a volume while frames come: sections in neighbouring slices that are one cell, and its one trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta

from ...core.block import Block
from ...core.errors import ConfigError, StateError
from ...core.findings import ReportedStep
from ...core.operator import NO_VALUES, Gives, Operator, Output, Presents, Table, Values
from ...core.params import Params
from ...core.plane import Plane
from ...core.registry import register
from ...core.spec import Spec
from ...core.state import State, require_array, require_int
from ...core.step_values import IDS, PRESENT
from ...core.unseen import known_values
from ..component_shapes import SHOWN_POINTS
from ..extracted_components import MEASURES
from ..values_by_id import values_by_id
from .combination import Weights
from .joining import CELL_MEASURES, SECTION_MEASURES, Joining, Slices
from .sections import Seen

VALUES = ("raw", "traces", "spikes", "dff")
EVERY_FRAMES = 50
_SECTION_COLUMNS = {
    "cell": np.int64, "z": np.int64, "id": np.int64, "share": np.float64, "overlap": np.float64, "shared": np.float64,
}  # fmt: skip


class VolumeParams(Params, frozen=True):
    """Parameters of `volume`."""

    cell_um: Annotated[
        Annotated[float, Meta(gt=0, le=1e3)] | None,
        Meta(description="height of a cell: slices further apart show no cell twice [µm]; none: as wide as it is"),
    ] = None
    z_step_um: Annotated[
        Annotated[float, Meta(gt=0, le=1e3)] | None,
        Meta(description="distance of neighbouring slices, if the source does not state their depths [µm]"),
    ] = None
    min_frames: Annotated[int, Meta(ge=20, description="two sections must have been seen for, to be joined")] = 100
    memory_frames: Annotated[
        int, Meta(ge=100, description="what is older counts less than 1/e: after so long cells part that were joined")
    ] = 5000


@register("volume")
class Volume(Operator):
    """One cell for all its sections: components of neighbouring slices that overlap and carry one signal are joined.

    It stands once for the slices of a channel, in the first one, and takes what `extract` gives in each. Every 50
    frames it looks which components lie above each other in slices no further apart than a cell is high, and whether
    the covariance of their demixed traces is that of one signal, beyond what pairs of sections that cannot be one cell
    share, and beyond what bleeds from one into the other (`sameness`). A cell has at most one section in a slice. Cells
    part again where the evidence of the last `memory_frames` speaks against them. A cell keeps its id while sections
    come and go; of two that are joined the smaller id stays, `merged` says so.
    The trace of a cell is the weighted mean of its sections' with the least noise (`combination`), in the unit of its
    first section's. Slices are taken one after the other: a cell's values are of the mean time of its sections,
    `delay_frames` (in `cells_now`) after that of the first slice.
    Cost: .6 ms a frame for 500 sections, and 30 ms every 50 frames.
    """

    Params = VolumeParams
    needs = (*VALUES, "footprints", "quality_now", "contours")
    of_planes = needs
    once = True
    reads_every = EVERY_FRAMES
    gives = (
        Gives("traces", "by_id", ("t", "id"), "σ", "denoised activity, the sections' weighted mean"),
        Gives("raw", "by_id", ("t", "id"), "σ", "demixed activity, in noise σ of the first section's"),
        Gives("spikes", "by_id", ("t", "id"), "σ/s", "rate of spikes up to a factor"),
        Gives("dff", "by_id", ("t", "id"), "", "ΔF/F, the mean of the sections' by what each tells"),
        Gives("present", "by_id", ("t", "id"), "", "whether a section of the cell was known in the frame"),
        Gives("cells", "per_frame", ("t", "cells, several_slices"), "", "how many, and how many on several slices"),
        Gives("merged", "table", ("frame", "id", "into"), "", "of which other one it is part from the next frame on"),
        Gives(
            "sections", "table", ("frame", *_SECTION_COLUMNS), "",
            "which component of which slice belongs to which cell, whenever that changes; cell 0: to none any more",
        ),
        Gives("cells_now", "snapshot", ("id", ", ".join(CELL_MEASURES)), "", "where each cell is, and its size"),
        Gives("sections_now", "snapshot", ("section", ", ".join(SECTION_MEASURES)), "", "the sections of each cell"),
        Gives("footprints", "snapshot", ("section", "y", "x"), "ADU", "footprints of the sections, in boxes"),
        Gives("contours", "snapshot", ("z", "id", "point", "yx"), "px", "contours of each cell in each slice"),
    )  # fmt: skip
    counted = {"present": "cells of the volume"}
    presents = Presents(
        ("frames", "mean", "detection", "background"), ("traces", "cells", "sections"), over_time=("cells",),
        ticks={"traces": "spikes"},
    )  # fmt: skip
    examples = ({"min_frames": 30, "memory_frames": 100, "cell_um": 20.0, "z_step_um": 5.0},)

    @staticmethod
    def measures(step: ReportedStep) -> dict[str, float]:
        """Return how many cells there are at the end, and how many of them lie on several slices."""
        counts = step.per_frame("cells")
        counts = counts[np.isfinite(counts).all(1)] if counts.ndim == 2 else np.empty((0, 2))
        return {"cells": float(counts[-1, 0]), "cells_on_several_slices": float(counts[-1, 1])} if len(counts) else {}

    def __init__(self, params: VolumeParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        self._planes: tuple[Plane, ...] = ()
        self._begin([Plane("0", z) for z in range(2)])

    def meet_planes(self, planes: Sequence[Plane]) -> None:
        sizes_um = {plane.pixel_um for plane in planes}
        if len(sizes_um) > 1:
            found = ", ".join(f"{plane.name} {plane.pixel_um} µm" for plane in planes)
            raise ConfigError(f"volume: slices of one volume have pixels of one size, found {found}")
        self._begin(planes or [Plane("0")])

    def _begin(self, planes: Sequence[Plane]) -> None:
        self._planes = tuple(planes)
        p = self.params
        depths_um = tuple(plane.z_um for plane in planes)
        if p.z_step_um is not None:
            first = planes[0].z
            depths_um = tuple((plane.z - first) * p.z_step_um for plane in planes)
        slices = Slices(tuple(plane.z for plane in planes), depths_um, self.spec.pixel_um, p.cell_um)
        self._joining = Joining(self.spec.shape, slices, p.min_frames, float(np.exp(-1 / p.memory_frames)))
        self._contours = np.empty((0, SHOWN_POINTS, 2), np.float32)
        self._said: dict[int, int] = {}  # the cell of each section, as the table `sections` has it
        self._next_index = 0

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        joining = self._joining
        tables: dict[str, list[np.ndarray]] = {"sections": [], "merged": []}
        if inputs.get("quality_now") is not None:
            self._take_sections(inputs)
        rows = joining.sections.rows(np.asarray(inputs["raw.planes"]), np.asarray(inputs[f"raw.{IDS}"]))
        self._follow_times(inputs.get("raw.times_ns"))
        values = [known_values(np.asarray(inputs[name], float)) for name in VALUES]
        frames: list[tuple[np.ndarray, np.ndarray]] = []
        counts = np.zeros((len(block), 2), np.int32)
        for t in range(len(block)):
            weights = joining.weights
            of_sections = np.full((len(VALUES), len(joining.sections)), np.nan)
            of_sections[:, rows[rows >= 0]] = np.stack([value[t] for value in values])[:, rows >= 0]
            frames.append((weights.cells, _of_cells(weights, of_sections)))
            counts[t] = len(weights.cells), joining.several_slices
            joining.take(of_sections[0])
            if (block.index + t + 1) % EVERY_FRAMES == 0:
                tables["merged"].append(self._look(block.index + t))
                tables["sections"].append(self._changes(block.index + t))
        self._next_index = block.stop
        merged = np.concatenate([np.empty((0, 3), np.int64), *tables["merged"]]).T
        changed = np.concatenate([np.empty((0, 1 + len(_SECTION_COLUMNS))), *tables["sections"]]).T
        return Output(
            block.index,
            {
                **_by_id(frames),
                "cells": counts,
                "merged": Table(dict(zip(("frame", "id", "into"), merged, strict=True))),
                "sections": _section_table(changed),
            },
        )

    def _take_sections(self, inputs: Values) -> None:
        """Take footprints and measures of the slices as of before this block."""
        measures = dict(zip(MEASURES, np.asarray(inputs["quality_now"]).T, strict=True))
        plane, accepted = np.asarray(inputs["quality_now.planes"]), measures["accepted"] > 0
        corner = np.stack([measures["top_px"], measures["left_px"]], 1).astype(np.int64)
        noise = np.where(np.isfinite(measures["noise"]) & (measures["noise"] > 0), measures["noise"], 1.0)
        boxes = np.nan_to_num(np.asarray(inputs["footprints"], np.float32))
        self._joining.see(Seen(plane, measures["id"].astype(np.int64), accepted, noise, corner, boxes))
        self._take_contours(plane[accepted], measures["id"][accepted].astype(np.int64), inputs)

    def _take_contours(self, plane: np.ndarray, ids: np.ndarray, inputs: Values) -> None:
        """Keep the contours of the sections, which come sorted by plane and id."""
        order = np.lexsort((ids, plane))
        found, sections = np.asarray(inputs["contours"]), self._joining.sections
        if len(found) != len(ids):
            return
        points = min(found.shape[1], SHOWN_POINTS) if len(found) else 0
        kept = np.full((len(sections), SHOWN_POINTS, 2), np.nan, np.float32)
        kept[: len(self._contours)] = self._contours
        rows = sections.rows(plane[order], ids[order])
        kept[rows] = np.nan
        kept[rows, :points] = found[:, :points]
        self._contours = kept

    def _follow_times(self, times_ns: object) -> None:
        """Learn when in a frame each slice is taken."""
        interval_s = self.spec.interval_s
        if times_ns is None or not interval_s:
            return
        times = np.asarray(times_ns)
        whole = (times >= 0).all(0)
        if whole.any() and len(times) == len(self._planes):
            first = times[:, whole][:, -1]
            self._joining.delay = np.clip((first - first.min()) / (1e9 * interval_s), 0.0, 1.0)

    def _look(self, frame: int) -> np.ndarray:
        """Look which sections are one cell; rows (n, 3) of the table `merged`."""
        rows = [(frame, gone, into) for gone, into in self._joining.look()]
        return np.array(rows, np.int64).reshape(-1, 3)

    def _changes(self, frame: int) -> np.ndarray:
        """Return rows of the table `sections` for what changed since the last look."""
        joining = self._joining
        now = {n: int(c) if joining.sections.active[n] else 0 for n, c in enumerate(joining.cell.tolist())}
        changed = [n for n, c in now.items() if self._said.get(n, 0) != c]
        self._said = now
        if not changed:
            return np.empty((0, 1 + len(_SECTION_COLUMNS)))
        measures = joining.section_measures()
        at = np.array(changed)
        columns = [np.array([now[n] for n in changed], float), *(measures[name][at] for name in SECTION_MEASURES[1:6])]
        return np.stack([np.full(len(at), float(frame)), *columns], 1)

    def doubt(self) -> str:
        return self._joining.doubt()

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        joining, found = self._joining, dict[str, np.ndarray]()
        for name in self.snapshot_names(names):
            if name == "cells_now":
                found[name] = joining.cell_measures()
            elif name == "contours":
                found[name] = self._contours_by_slice()
            else:
                rows = joining.order()
                measures = joining.section_measures()
                table = np.stack([measures[key][rows] for key in SECTION_MEASURES], 1).astype(float)
                found[name] = table if name == "sections_now" else joining.sections.box[rows].copy()
        return found

    def _contours_by_slice(self) -> np.ndarray:
        """Contours (z, id, point, yx), NaN where a slice does not show the cell."""
        joining = self._joining
        weights, z = joining.weights, np.array(joining.slices.z)[joining.sections.plane].astype(int)
        shown = np.full((max(joining.slices.z) + 1, len(weights.cells), SHOWN_POINTS, 2), np.nan, np.float32)
        for n in range(min(len(self._contours), len(weights.cell))):
            if weights.cell[n] >= 0:
                shown[z[n], weights.cell[n]] = self._contours[n]
        return shown

    def state(self) -> State:
        said = np.array(sorted(self._said.items()), np.int64).reshape(-1, 2)
        more: State = {"said": said, "contours": self._contours.copy(), "next_index": self._next_index}
        return {**more, **self._joining.state()}

    def restore(self, state: State) -> None:
        self._joining.restore(state, self.kind)
        self._next_index = require_int(state, "next_index", self.kind)
        said = np.empty((np.size(state.get("said", ())) // 2, 2), np.int64)
        self._said = dict(require_array(state, "said", said, self.kind).tolist())
        count = np.shape(state.get("contours", ()))[:1]
        if count and count[0] > len(self._joining.sections):
            raise StateError("volume: state 'contours' must be of sections that are there")
        self._contours = require_array(state, "contours", np.empty((*count, SHOWN_POINTS, 2), np.float32), self.kind)


def _of_cells(weights: Weights, of_sections: np.ndarray) -> np.ndarray:
    """Values (4, K) of cells from those of their sections (4, n), in the order of VALUES."""
    combined = [weights.combined(row) for row in of_sections[:3]]
    return np.stack([*combined, weights.mean(of_sections[3])])


def _by_id(frames: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    """Values (t, K) by id of frames whose cells may differ, 0 where none of a cell's sections is known."""
    found = values_by_id(VALUES, frames)
    return {
        **found,
        PRESENT: found[PRESENT] & np.isfinite(found[VALUES[0]]),
        **{n: np.nan_to_num(found[n]) for n in VALUES},
    }


def _section_table(columns: np.ndarray) -> Table:
    types = {"frame": np.int64, **_SECTION_COLUMNS}
    return Table({name: column.astype(kind) for (name, kind), column in zip(types.items(), columns, strict=True)})
