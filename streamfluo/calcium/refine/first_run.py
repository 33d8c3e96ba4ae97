"""What the run found that is refined: its components, what people decided about them, and the rows that tell of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ...core.errors import SessionError
from ...core.loaded import RecordedStep
from ...core.operator import Table
from ..extract.components import ACCEPTED, REJECTED, Components
from ..extract.pieces import NONE
from ..extract.tables import Tables
from ..extracted_components import ADDED, MEASURES, SAYS, ExtractedComponents

_VERDICTS = {SAYS[True]: ACCEPTED, SAYS[False]: REJECTED}
_LEAST = MEASURES.keys() - set(ADDED)


class FirstComponent(NamedTuple):
    """A component of the run: its footprint (h, w) [ADU per σ] at `corner`; `kept`: it stays whatever is measured;
    `whole`: the id of that whose piece it is; `decided`: by people, and not joined any more."""

    id: int
    corner: tuple[int, int]
    image: np.ndarray
    accepted: bool
    verdict: int
    kept: bool
    spatial_corr: float = 0.0
    whole: int = NONE
    decided: bool = False


def first_components(step: RecordedStep) -> list[FirstComponent]:
    """Return the components that a run left, those merged by people as one. Raises SessionError where it left none."""
    snapshot = step.snapshot
    if not {"quality_now", "footprints", "background"} <= snapshot.keys():
        raise SessionError(
            f"{step.folder}: step {step.id!r} left no components: its run was not ended in time, or its snapshots are "
            "damaged; run it again"
        )
    if snapshot["quality_now"].ndim != 2 or snapshot["quality_now"].shape[1] < len(_LEAST):
        raise SessionError(f"{step.folder}: step {step.id!r} is of a version too old to be refined; run it again")
    found = ExtractedComponents.of(step)
    events = step.values.get("events", {})
    seeds = {
        int(i)
        for i, event, reason in zip(*(events.get(name, ()) for name in ("id", "event", "reason")), strict=True)
        if event == "born" and reason == "seed"
    }
    footprints, decisions, accepted = found.own_footprints, found.decision, found.accepted
    measured = dict(zip(MEASURES, snapshot["quality_now"].T, strict=False))
    judged = dict(zip(measured["id"].tolist(), measured.get("decision", np.empty(0)).tolist(), strict=False))
    components = []
    for row, number in enumerate(found.ids.tolist()):
        column = footprints[:, [row]]
        if column.nnz:
            corner, image = _window(column.indices, column.data, found.shape[1])
            said = str(decisions[row])
            verdict = _VERDICTS.get(said, int(judged.get(number, 0)))
            kept = bool(verdict or said) or number in seeds
            known = bool(accepted[row]), verdict, kept, float(found.spatial_corr[row])
            components.append(FirstComponent(number, corner, image, *known, int(found.whole[row]), bool(said)))
    return components


def _window(pixel: np.ndarray, value: np.ndarray, width: int) -> tuple[tuple[int, int], np.ndarray]:
    """Where a footprint of `pixel` numbers (n,) with `value` (n,) begins, and its image (h, w)."""
    y, x = np.divmod(pixel, width)
    top, left = int(y.min()), int(x.min())
    image = np.zeros((int(y.max()) - top + 1, int(x.max()) - left + 1), np.float32)
    image[y - top, x - left] = value
    return (top, left), image


def first_free_id(step: RecordedStep, components: list[FirstComponent]) -> int:
    """Return the first id that no component of the run had."""
    known = np.asarray(step.snapshot.get("next_id", 0))
    return max(int(known) if not known.shape else 0, *(c.id + 1 for c in components), 0)


def tell_decisions(step: RecordedStep, tables: Tables) -> None:
    """Add the rows that tell what people decided while the run went on, and what was merged."""
    for name in ("decisions", "merged"):
        rows: Mapping[str, Any] = step.values.get(name, {})
        if len(rows.get("frame", ())):
            tables.add(name, Table(dict(rows)))


def keep_marks(step: RecordedStep, cells: Components) -> None:
    """Give components the marks of a structural channel that those of the same id had in the first run."""
    measured = dict(zip(MEASURES, step.snapshot["quality_now"].T, strict=False))
    if "structural" in measured:
        _, now, then = np.intersect1d(cells["id"], measured["id"].astype(np.int64), return_indices=True)
        cells["structural"][now] = measured["structural"][then]
