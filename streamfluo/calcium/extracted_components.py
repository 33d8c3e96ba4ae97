"""The components of a session: footprints, traces and quality measures, with manual curation."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse

from ..core.errors import SessionError
from ..core.loaded import RecordedStep
from .component_shapes import centres, contours, footprints_of_boxes
from .component_tables import as_pandas, as_xarray, table_of

if TYPE_CHECKING:
    from .report import Canvas

# Columns of the snapshot `quality_now` and of the table `quality`, with their types in the table; `decision` of people
# while frames came: 1 accepted, 2 rejected; `explained`: part of its activity that a touching neighbour explains,
# `overlap`: largest cosine with another footprint, `motion_corr`: with the tissue's motion, `probability`: of a cell;
# `structural`: that a structural channel labels it, NaN without; of a piece `whole`, whose it is, and `ratio` to that.
MEASURES: dict[str, type] = {
    "id": np.int64, "birth_frame": np.int64, "accepted": np.bool_, "snr": np.float64, "spatial_corr": np.float64,
    "area_px": np.int64, "noise": np.float64, "top_px": np.int64, "left_px": np.int64,
    "compactness": np.float64, "decision": np.int64, "explained": np.float64, "overlap": np.float64,
    "motion_corr": np.float64, "probability": np.float64, "structural": np.float64,
    "elongation": np.float64, "whole": np.int64, "ratio": np.float64,
}  # fmt: skip
MERGED, SPLIT = "merged into ", "split from "
SAYS = {True: "accepted", False: "rejected"}
MARKED = 0.5  # chance of a label from which on a cell is marked as structural
# Those that sessions of earlier versions lack.
ADDED = (
    "compactness", "decision", "explained", "overlap", "motion_corr", "probability", "structural", "elongation",
    "whole", "ratio",
)  # fmt: skip
_MEASURED = (
    "snr", "spatial_corr", "area_px", "compactness", "noise", "explained", "overlap", "motion_corr", "probability",
    "elongation",
)  # fmt: skip
_SETTLED = {"traces": "trace", "raw": "raw", "spikes": "spike", "dff": "dff"}


class ExtractedComponents:
    """The components of a session: a column of `footprints` and a row of every other array per component.

    `footprints` scipy.sparse csc (y·x in C order, K) [ADU per σ]; `traces` denoised, `raw`, `spikes`, `dff` (K, T)
    float32, zeros before `birth_frame`; `ids`, `birth_frame`, `snr`, `spatial_corr`, `accepted`, `noise` (K,); `frame`
    (T,) index of each column, `t_s` (T,) its time [s]; `centres_px` (K, yx); `structural` (K,) bool, cells of a
    structural channel, where `structural_chance` (K,) is above one half, NaN without such a channel; `probability` (K,)
    of being a cell, NaN where it is not known. Values are final where the run reached them, otherwise live. `decision`
    (K,) says what people decided, "accepted", "rejected", "merged into 12" or nothing, `decided_by` who. A component
    that was merged by hand has no footprint any more, its values are those until then; nor has a piece of one signal,
    which its whole has (`whole` (K,), the id, −1 of others). `reject` and `restore` curate afterwards; the file
    `judged` beside the session keeps that, and it overrides `accepted`.
    """

    def __init__(
        self, values: Mapping[str, Any], snapshot: Mapping[str, np.ndarray],
        shape: tuple[int, int], index: np.ndarray, judged: Path | None = None, step: RecordedStep | None = None,
    ) -> None:  # fmt: skip
        self._step = step
        last = _last_decisions(values)
        measured = _with_merged(dict(zip(MEASURES, snapshot["quality_now"].T, strict=False)), values, last)
        self.shape, self.frame, self._judged, self._measured = shape, index, judged, measured
        self.ids = measured["id"].astype(np.int64)
        self.birth_frame = _births(measured, values, last)
        self.snr, self.spatial_corr = measured["snr"], measured["spatial_corr"]
        self.noise = measured.get("noise", np.ones(len(self.ids)))
        self.structural_chance = np.asarray(measured.get("structural", np.full(len(self.ids), np.nan)))
        self.whole = np.asarray(measured.get("whole", np.full(len(self.ids), -1.0))).astype(np.int64)
        self.probability = measured.get("probability", np.full(len(self.ids), np.nan))
        self._accepted = measured["accepted"] > 0
        self._decided = [last.get(i, ("", "")) for i in self.ids.tolist()]
        self.footprints = self.own_footprints = _sparse(snapshot["footprints"], measured, shape)
        if (self.whole >= 0).any():
            self.footprints = _with_pieces(self.footprints, self.ids, self.whole, measured["ratio"])
        rows = {name: self._trace_rows(values, name) for name in _SETTLED}
        self.traces, self.raw, self.spikes, self.dff = (rows[name] for name in _SETTLED)

    @classmethod
    def of(cls, step: RecordedStep) -> ExtractedComponents:
        """Return the components of a recorded step. Raises SessionError if it left none."""
        snapshot = step.snapshot
        if "quality_now" not in snapshot:
            raise SessionError(
                f"{step.folder}: step {step.id!r} left no components; was its run ended in time? `streamfluo inspect` "
                "says what is damaged"
            )
        height, width = snapshot["background"].shape
        judged = step.folder / f"judged-{step.id.rpartition('/')[2]}.json"
        return cls(step.values, snapshot, (height, width), step.index, judged, step)

    @classmethod
    def without_values(cls, step: RecordedStep) -> ExtractedComponents:
        """Return the components of a recorded step with measures and footprints, whose traces are not read."""
        return cls.of(_WithoutValues(step))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def t_s(self) -> np.ndarray:
        """The time (T,) of each frame since the series began [s], NaN where it is not known."""
        return self.times_s(self.frame)

    def times_s(self, index: np.ndarray) -> np.ndarray:
        """Return the time (n,) of frames by index (n,) [s], NaN where it is not known."""
        return np.full(len(index), np.nan) if self._step is None else self._step.times_s(index)

    @property
    def pixel_um(self) -> float | None:
        """The side of a pixel [µm], None where it is not known."""
        return None if self._step is None else self._step.sees.pixel_um

    @property
    def background(self) -> np.ndarray:
        """Mean and background of the last frame (y, x) [ADU], NaN where the run left none."""
        snapshot = {} if self._step is None else self._step.snapshot
        return np.asarray(snapshot.get("background", np.full(self.shape, np.nan)))

    @property
    def centres_px(self) -> np.ndarray:
        """The centre of mass of each footprint (K, yx) [px], NaN of one that has none any more."""
        return centres(self.footprints, self.shape)

    def contours(self, ids: Sequence[int] | None = None) -> list[np.ndarray]:
        """Return contours at a fifth of the peak, (n, yx) [px] each, of components by id; of all without `ids`.

        Raises SessionError for an unknown id.
        """
        return contours(self.footprints, self.shape, self.rows(self.ids.tolist() if ids is None else ids))

    def rows(self, ids: Sequence[int]) -> list[int]:
        """Return the row of each id. Raises SessionError for an unknown one."""
        row = {i: n for n, i in enumerate(self.ids.tolist())}
        unknown = [i for i in ids if int(i) not in row]
        if unknown:
            raise SessionError(f"no component {unknown[0]}; there are {len(self)}, see .ids")
        return [row[int(i)] for i in ids]

    @property
    def accepted(self) -> np.ndarray:
        """Whether each component is accepted (K,) bool, with manual curation."""
        accepted: np.ndarray = self._accepted.copy()
        for name, verdict in self._curation().items():
            accepted[self.ids == int(name)] = verdict
        return accepted

    @property
    def decision(self) -> np.ndarray:
        """What people decided about each component (K,) str, "" where they did not, with manual curation."""
        words = [what for what, _ in self._decided]
        for name, verdict in self._curation().items():
            words = [SAYS[verdict] if i == int(name) else w for i, w in zip(self.ids.tolist(), words, strict=True)]
        return np.array(words, str)

    @property
    def structural(self) -> np.ndarray:
        """Whether each component is marked as a cell of the structural channel (K,) bool; none without one."""
        return self.structural_chance > MARKED

    @property
    def decided_by(self) -> np.ndarray:
        """Who decided about each component while frames came (K,) str, "" where nobody did."""
        return np.array([author if what else "" for what, author in self._decided], str)

    def reject(self, *ids: int) -> None:
        """Reject components by id. Raises SessionError for an unknown id."""
        self._curate(ids, False)

    def restore(self, *ids: int) -> None:
        """Accept components by id. Raises SessionError for an unknown id."""
        self._curate(ids, True)

    def columns(self) -> dict[str, np.ndarray]:
        """Return what is known of each component, a column (K,) each: id, verdicts, birth, centre, measures."""
        y_px, x_px = self.centres_px.T
        said = {"id": self.ids, "accepted": self.accepted, "decision": self.decision, "decided_by": self.decided_by}
        said |= {"structural": self.structural, "structural_chance": self.structural_chance}
        found = {"birth_frame": self.birth_frame, "birth_t_s": self.times_s(self.birth_frame)}
        measures = {name: np.asarray(self._measured[name]) for name in _MEASURED if name in self._measured}
        return {**said, **found, "y_px": y_px, "x_px": x_px, **measures}

    def plot(self, ids: Sequence[int] | None = None, image: np.ndarray | None = None) -> Canvas:
        """Return a figure of contours over an image (y, x), the background without one, and traces in the same colours.

        ids: those in colour, else the accepted ones of the highest SNR. Raises SessionError for an unknown id.
        """
        from .report import plot_components

        return plot_components(self, ids, image)

    def view(self, component: int | None = None) -> Canvas:
        """Return a figure of one component: its footprint, demixed and denoised trace, ΔF/F, rate of spikes.

        component: its id, else the accepted one of the highest SNR. Raises SessionError for an unknown id, or where
        there is none.
        """
        from .report import view_component

        return view_component(self, component)

    def to_pandas(self, value: str = "traces", accepted: bool = True) -> Any:
        """Return values of the accepted components, or of all, as a pandas DataFrame: a column per id, a row per frame.

        value: traces, raw, spikes or dff. The index has frame and time [s]. Raises SessionError without pandas.
        """
        return as_pandas(self, value, accepted)

    def table(self) -> Any:
        """Return `columns()` as a pandas DataFrame, a row per id. Raises SessionError without pandas."""
        return table_of(self)

    def to_xarray(self) -> Any:
        """Return all arrays as an xarray Dataset with the dimensions id, frame, y, x; the time [s] goes with frame.

        Raises SessionError without xarray.
        """
        return as_xarray(self)

    def _trace_rows(self, values: Mapping[str, Any], name: str) -> np.ndarray:
        rows = np.zeros((len(self.ids), len(self.frame)), np.float32)
        live = values.get(name)
        if live is not None and len(live):
            _, row, column = np.intersect1d(self.ids, values["ids"], return_indices=True)
            rows[row] = live.T[column]
        table = values.get("settled", {})
        if len(table.get("id", ())):
            row, row_known = _positions(self.ids, table["id"])
            column, column_known = _positions(self.frame, table["frame"])
            known = row_known & column_known
            rows[row[known], column[known]] = table[_SETTLED[name]][known]
        rows[self.frame < self.birth_frame[:, None]] = 0
        return rows

    def _curation(self) -> dict[str, bool]:
        if self._judged is None or not self._judged.exists():
            return {}
        try:
            verdicts = json.loads(self._judged.read_text(encoding="utf-8"))
            whole = {str(int(i)): v for i, v in verdicts.items()} == verdicts
        except (OSError, ValueError, AttributeError) as error:
            raise SessionError(
                f"{self._judged}: cannot be read: {error}; take it away to do without curation"
            ) from None
        if not whole or not all(isinstance(v, bool) for v in verdicts.values()):
            raise SessionError(f"{self._judged}: no verdicts by id; take it away to do without curation")
        return verdicts

    def _curate(self, ids: tuple[int, ...], verdict: bool) -> None:
        self.rows(sorted(set(ids)))
        verdicts = {**self._curation(), **{str(i): verdict for i in ids}}
        if self._judged is None:
            raise SessionError("these components belong to no session that keeps manual curation")
        aside = self._judged.with_suffix(".part")
        aside.write_text(json.dumps(verdicts), encoding="utf-8")
        aside.replace(self._judged)


class _WithoutValues:
    """A step whose values are not read: hours of traces take minutes, footprints do not."""

    values: Mapping[str, Any] = {}
    index = np.empty(0, np.int64)

    def __init__(self, step: RecordedStep) -> None:
        self.id, self.snapshot, self.folder = step.id, step.snapshot, Path(step.folder)
        self.sees, self.times_s = step.sees, step.times_s


def _positions(known: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of each wanted value in `known`, and whether it is there."""
    if not len(known):
        return np.zeros(len(wanted), int), np.zeros(len(wanted), bool)
    order = np.argsort(known)
    position = order[np.minimum(np.searchsorted(known, wanted, sorter=order), len(known) - 1)]
    return position, known[position] == wanted


def _last_decisions(values: Mapping[str, Any]) -> dict[int, tuple[str, str]]:
    """What was decided last about each id, and by whom."""
    table = values.get("decisions", {})
    rows = zip(*(np.asarray(table.get(name, ())).tolist() for name in ("id", "decision", "by")), strict=True)
    return {int(i): (str(what), str(author)) for i, what, author in rows}


def _with_merged(
    measured: Mapping[str, np.ndarray], values: Mapping[str, Any], last: Mapping[int, tuple[str, str]]
) -> dict[str, np.ndarray]:
    """The measures, with a row for each component that people merged into another one."""
    there = set(measured["id"].astype(int).tolist())
    merged = [i for i, (what, _) in last.items() if what.startswith(MERGED) and i not in there]
    table = values.get("quality", {})
    rows = []
    for i in merged:
        seen = np.flatnonzero(np.asarray(table.get("id", ())) == i)
        rows.append([float(table[name][seen[-1]]) if len(seen) and name in table else 0.0 for name in measured])
    if not rows:
        return dict(measured)
    gone = dict(zip(measured, np.array(rows).T, strict=True))
    gone |= {"id": np.array(merged, float), "accepted": np.zeros(len(merged))}
    return {name: np.concatenate([column, gone[name]]) for name, column in measured.items()}


def _births(measured: Mapping[str, np.ndarray], values: Mapping[str, Any], decided: Collection[int]) -> np.ndarray:
    """The frame that each trace begins with; of one that was merged and came back the first time that it did."""
    table, births = values.get("quality", {}), measured["birth_frame"].astype(np.int64)
    for row, i in enumerate(measured["id"].astype(int).tolist()):
        if i in decided and (known := np.asarray(table.get("id", ())) == i).any():
            births[row] = min(births[row], table["birth_frame"][known].min())
    return births


def _sparse(boxes: np.ndarray, measured: Mapping[str, np.ndarray], shape: tuple[int, int]) -> scipy.sparse.csc_matrix:
    corners_px = np.stack([measured["top_px"], measured["left_px"]], 1)
    footprints = footprints_of_boxes(boxes, corners_px[: len(boxes)], shape)
    footprints.resize(footprints.shape[0], len(corners_px))  # those that were merged by hand have none
    return footprints


def _with_pieces(
    footprints: scipy.sparse.csc_matrix, ids: np.ndarray, whole: np.ndarray, ratio: np.ndarray
) -> scipy.sparse.csc_matrix:
    """Footprints, those of pieces of one signal at the whole that gives their activity, by how much of it each has."""
    pieces = np.flatnonzero((whole >= 0) & np.isin(whole, ids))
    if not len(pieces):
        return footprints
    kept = np.setdiff1d(np.arange(len(ids)), pieces)
    row = {int(i): k for k, i in enumerate(ids)}
    at = [row[int(i)] for i in whole[pieces]]
    weights = np.concatenate([np.ones(len(kept)), ratio[pieces]])
    places = (np.concatenate([kept, pieces]), np.concatenate([kept, at]))
    shape = (len(ids), len(ids))
    return (footprints @ scipy.sparse.csc_matrix((weights, places), shape=shape)).astype(np.float32).tocsc()
