"""The components of a session: footprints, traces and quality measures, with manual curation."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from ..core.errors import SessionError
from ..core.loaded import RecordedStep

# Columns of the snapshot `quality_now` and of the table `quality`, with their types in the table; `decision` of people
# while frames came: 1 accepted, 2 rejected.
MEASURES: dict[str, type] = {
    "id": np.int64, "birth_frame": np.int64, "accepted": np.bool_, "snr": np.float64, "spatial_corr": np.float64,
    "area_px": np.int64, "noise": np.float64, "top_px": np.int64, "left_px": np.int64,
    "compactness": np.float64, "decision": np.int64,
}  # fmt: skip
MERGED = "merged into "
SAYS = {True: "accepted", False: "rejected"}
_SETTLED = {"traces": "trace", "raw": "raw", "spikes": "spike", "dff": "dff"}


class ExtractedComponents:
    """The components of a session: a column of `footprints` and a row of every other array per component.

    `footprints` scipy.sparse csc (y·x in C order, K) [ADU per σ]; `traces` denoised, `raw`, `spikes`, `dff` (K, T)
    float32, zeros before `birth_frame`; `ids`, `birth_frame`, `snr`, `spatial_corr`, `accepted` (K,); `frame` (T,)
    index of each column. Values are final where the run reached them, otherwise live. `decision` (K,) says what people
    decided, "accepted", "rejected", "merged into 12" or nothing, `decided_by` who. A component that was merged by hand
    has no footprint any more, its values are those until then. `reject` and `restore` curate afterwards; the file
    `judged` beside the session keeps that, and it overrides `accepted`.
    """

    def __init__(
        self, values: Mapping[str, Any], snapshot: Mapping[str, np.ndarray],
        shape: tuple[int, int], index: np.ndarray, judged: Path | None = None,
    ) -> None:  # fmt: skip
        last = _last_decisions(values)
        measured = _with_merged(dict(zip(MEASURES, snapshot["quality_now"].T, strict=False)), values, last)
        self.shape, self.frame, self._judged = shape, index, judged
        self.ids = measured["id"].astype(np.int64)
        self.birth_frame = _births(measured, values, last)
        self.snr, self.spatial_corr = measured["snr"], measured["spatial_corr"]
        self._accepted = measured["accepted"] > 0
        self._decided = [last.get(i, ("", "")) for i in self.ids.tolist()]
        self.footprints = _sparse(snapshot["footprints"], measured["top_px"], measured["left_px"], shape, len(self.ids))
        rows = {name: self._trace_rows(values, name) for name in _SETTLED}
        self.traces, self.raw, self.spikes, self.dff = (rows[name] for name in _SETTLED)

    @classmethod
    def of(cls, step: RecordedStep) -> ExtractedComponents:
        """Return the components of a recorded step. Raises SessionError if it left none."""
        snapshot = step.snapshot
        if "quality_now" not in snapshot:
            raise SessionError(f"{step.folder}: step {step.id!r} left no components; was its run ended in time?")
        height, width = snapshot["background"].shape
        judged = step.folder / f"judged-{step.id.rpartition('/')[2]}.json"
        return cls(step.values, snapshot, (height, width), step.index, judged)

    @classmethod
    def without_values(cls, step: RecordedStep) -> ExtractedComponents:
        """Return the components of a recorded step with measures and footprints, whose traces are not read."""
        return cls.of(_WithoutValues(step))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.ids)

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
    def decided_by(self) -> np.ndarray:
        """Who decided about each component while frames came (K,) str, "" where nobody did."""
        return np.array([author if what else "" for what, author in self._decided], str)

    def reject(self, *ids: int) -> None:
        """Reject components by id. Raises SessionError for an unknown id."""
        self._curate(ids, False)

    def restore(self, *ids: int) -> None:
        """Accept components by id. Raises SessionError for an unknown id."""
        self._curate(ids, True)

    def to_pandas(self) -> Any:
        """Return the accepted traces as a pandas DataFrame: one column per id, the frame as index."""
        import pandas

        kept = self.accepted
        return pandas.DataFrame(
            self.traces[kept].T, index=pandas.Index(self.frame, name="frame"), columns=self.ids[kept]
        )

    def to_xarray(self) -> Any:
        """Return all arrays as an xarray Dataset with the dimensions id, frame, y, x."""
        import xarray

        images = np.asarray(self.footprints.todense(), np.float32).T.reshape(-1, *self.shape)
        data = {name: (("id", "frame"), getattr(self, name)) for name in _SETTLED}
        named = ("birth_frame", "snr", "spatial_corr", "accepted", "decision", "decided_by")
        measures = {name: ("id", getattr(self, name)) for name in named}
        coordinates = {"id": self.ids, "frame": self.frame}
        return xarray.Dataset({**data, **measures, "footprints": (("id", "y", "x"), images)}, coords=coordinates)

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
        verdicts: dict[str, bool] = json.loads(self._judged.read_text(encoding="utf-8"))
        return verdicts

    def _curate(self, ids: tuple[int, ...], verdict: bool) -> None:
        unknown = sorted(set(ids) - set(self.ids.tolist()))
        if unknown:
            raise SessionError(f"no component {unknown[0]}; there are {len(self)}, see .ids")
        verdicts = {**self._curation(), **{str(i): verdict for i in ids}}
        if self._judged is None:
            raise SessionError("these components belong to no session that keeps manual curation")
        self._judged.write_text(json.dumps(verdicts), encoding="utf-8")


class _WithoutValues:
    """A step whose values are not read: hours of traces take minutes, footprints do not."""

    values: Mapping[str, Any] = {}
    index = np.empty(0, np.int64)

    def __init__(self, step: RecordedStep) -> None:
        self.id, self.snapshot, self.folder = step.id, step.snapshot, Path(step.folder)


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


def _sparse(
    boxes: np.ndarray, top: np.ndarray, left: np.ndarray, shape: tuple[int, int], count: int
) -> scipy.sparse.csc_matrix:
    component, y, x = np.nonzero(boxes)
    pixel = (y + top.astype(int)[component]) * shape[1] + x + left.astype(int)[component]
    size = (shape[0] * shape[1], count)
    return scipy.sparse.csc_matrix((boxes[component, y, x], (pixel, component)), shape=size)
