"""The components of a session: footprints and traces put together, judged by hand where somebody does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from ..core.errors import SessionError
from ..core.loaded import RecordedStep

# What each row of the snapshot `quality_now` says of a component; the operator declares the same.
MEASURES = ("id", "birth_frame", "accepted", "snr", "spatial_corr", "area_px", "noise", "top_px", "left_px")
_SETTLED = {"traces": "trace", "raw": "raw", "spikes": "spike", "dff": "dff"}


class ExtractedComponents:
    """What source extraction found: one column of `footprints`, one row of everything else per component.

    `footprints` scipy.sparse csc (y·x in C order, K); `traces` denoised, `raw`, `spikes`, `dff` (K, T) float32, zeros
    before `birth_frame`; `ids`, `birth_frame`, `snr`, `spatial_corr`, `accepted` (K,); `frame` (T,) index of each
    column. Rows are settled where the run got so far, else as they were live. `reject` and `restore` judge by hand;
    that is kept beside the session's files in `judged`, and wins.
    """

    def __init__(
        self, values: Mapping[str, Any], snapshot: Mapping[str, np.ndarray],
        shape: tuple[int, int], index: np.ndarray, judged: Path | None = None,
    ) -> None:  # fmt: skip
        measured = dict(zip(MEASURES, snapshot["quality_now"].T, strict=True))
        self.shape, self.frame, self._judged = shape, index, judged
        self.ids = measured["id"].astype(np.int64)
        self.birth_frame = measured["birth_frame"].astype(np.int64)
        self.snr, self.spatial_corr = measured["snr"], measured["spatial_corr"]
        self._found = measured["accepted"] > 0
        self.footprints = _sparse(snapshot["footprints"], measured["top_px"], measured["left_px"], shape)
        rows = {name: self._row_by_frame(values, name) for name in _SETTLED}
        self.traces, self.raw, self.spikes, self.dff = (rows[name] for name in _SETTLED)

    @classmethod
    def of(cls, step: RecordedStep) -> ExtractedComponents:
        """Return the components of a recorded step. Raises SessionError if it left none."""
        snapshot = step.snapshot
        if "quality_now" not in snapshot:
            raise SessionError(f"{step.folder}: step {step.id!r} left no components; was its run ended in time?")
        height, width = snapshot["background"].shape
        return cls(step.values, snapshot, (height, width), step.index, step.folder / f"judged-{step.id}.json")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def accepted(self) -> np.ndarray:
        """Whether each is a cell (K,) bool: what was found, less what was rejected and with what was restored."""
        found: np.ndarray = self._found.copy()
        for name, verdict in self._verdicts().items():
            found[self.ids == int(name)] = verdict
        return found

    def reject(self, *ids: int) -> None:
        """Say that components are no cells. Raises SessionError for an id that is not there."""
        self._judge(ids, False)

    def restore(self, *ids: int) -> None:
        """Say that components are cells. Raises SessionError for an id that is not there."""
        self._judge(ids, True)

    def to_pandas(self) -> Any:
        """Return the accepted traces as a pandas DataFrame, one column an id, the frame as index."""
        import pandas

        kept = self.accepted
        return pandas.DataFrame(
            self.traces[kept].T, index=pandas.Index(self.frame, name="frame"), columns=self.ids[kept]
        )

    def to_xarray(self) -> Any:
        """Return everything as an xarray Dataset with the axes id, frame, y, x."""
        import xarray

        images = np.asarray(self.footprints.todense(), np.float32).T.reshape(-1, *self.shape)
        data = {name: (("id", "frame"), getattr(self, name)) for name in _SETTLED}
        facts = {name: ("id", getattr(self, name)) for name in ("birth_frame", "snr", "spatial_corr", "accepted")}
        coordinates = {"id": self.ids, "frame": self.frame}
        return xarray.Dataset({**data, **facts, "footprints": (("id", "y", "x"), images)}, coords=coordinates)

    def _row_by_frame(self, values: Mapping[str, Any], name: str) -> np.ndarray:
        rows = np.zeros((len(self.ids), len(self.frame)), np.float32)
        live = values.get(name)
        if live is not None and len(live):
            _, mine, theirs = np.intersect1d(self.ids, values["ids"], return_indices=True)
            rows[mine] = live.T[theirs]
        table = values.get("settled", {})
        if len(table.get("id", ())):
            row, here = _places(self.ids, table["id"])
            column, there = _places(self.frame, table["frame"])
            known = here & there
            rows[row[known], column[known]] = table[_SETTLED[name]][known]
        rows[self.frame < self.birth_frame[:, None]] = 0
        return rows

    def _verdicts(self) -> dict[str, bool]:
        if self._judged is None or not self._judged.exists():
            return {}
        verdicts: dict[str, bool] = json.loads(self._judged.read_text(encoding="utf-8"))
        return verdicts

    def _judge(self, ids: tuple[int, ...], verdict: bool) -> None:
        unknown = sorted(set(ids) - set(self.ids.tolist()))
        if unknown:
            raise SessionError(f"no component {unknown[0]}; there are {len(self)}, see .ids")
        verdicts = {**self._verdicts(), **{str(i): verdict for i in ids}}
        if self._judged is None:
            raise SessionError("these components belong to no session that could remember")
        self._judged.write_text(json.dumps(verdicts), encoding="utf-8")


def _places(known: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each wanted value stands among the known, and whether it does."""
    if not len(known):
        return np.zeros(len(wanted), int), np.zeros(len(wanted), bool)
    order = np.argsort(known)
    place = order[np.minimum(np.searchsorted(known, wanted, sorter=order), len(known) - 1)]
    return place, known[place] == wanted


def _sparse(boxes: np.ndarray, top: np.ndarray, left: np.ndarray, shape: tuple[int, int]) -> scipy.sparse.csc_matrix:
    component, y, x = np.nonzero(boxes)
    pixel = (y + top.astype(int)[component]) * shape[1] + x + left.astype(int)[component]
    size = (shape[0] * shape[1], len(boxes))
    return scipy.sparse.csc_matrix((boxes[component, y, x], (pixel, component)), shape=size)
