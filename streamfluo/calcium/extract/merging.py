"""Components that a person says are one cell: a footprint for all of it, and the parts again where that is undone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...core.errors import ConfigError
from ..kernels.footprint_statistics import add_shifted
from .acceptance import add_component
from .background import Background
from .columns import Columns, Field
from .components import Components
from .duplicates import LIKE_ACTIVITY, MIN_WITHIN, Duplicate, join
from .extraction import Extraction
from .proposal import Proposal

LEARNED = ("gathered", "moment", "learned", "average")  # what a footprint was learned from
KEPT = ("id", "origin", "box", "fit", "level", "own", "peak", *LEARNED)  # of each part, as it was


def fields_of_parts(of_components: Mapping[str, Field]) -> dict[str, Field]:
    """Return the fields of a table of parts: the decision that merged them, and what is kept of each."""
    return {"number": ((), np.int64), **{name: of_components[name] for name in KEPT}}


def shared_footprint(cells: Components, whole: int, parts: Sequence[int], where: str) -> dict[int, np.ndarray]:
    """Return what the footprint of each part, by id, adds to that of the whole (h, w).

    Raises ConfigError for components that do not touch, or that one box does not hold.
    """
    joined, left = [whole], list(parts)
    while touching := [k for k in left if any(_touch(cells, k, other) for other in joined)]:
        joined += touching
        left = [k for k in left if k not in touching]
    if left:
        apart = f"{cells.id[whole]} and {cells.id[left[0]]}"
        raise ConfigError(f"{where}: the footprints of {apart} do not touch; they are not one cell")
    changes: dict[int, np.ndarray] = {}
    for k in parts:
        ratio = _ratio(cells, whole, k)
        change = np.zeros(cells.box_shape, np.float32)
        add_shifted(change, cells.origin[whole], cells.box[k], cells.origin[k], np.float32(ratio))
        within = float((change.astype(float) ** 2).sum()) / max(ratio**2 * float(cells.energy[k]), 1e-30)
        if within < MIN_WITHIN:
            height, width = cells.box_shape
            pair = f"{cells.id[whole]} and {cells.id[k]}"
            raise ConfigError(f"{where}: {pair} do not fit in one cell's {height} × {width} px, 6 neuron_sigma_px")
        changes[int(cells.id[k])] = change
    return changes


def merge(cells: Components, background: Background, whole: int, changes: Mapping[int, np.ndarray]) -> None:
    """Add to the component with the id `whole` what the footprints of others add, by id, and drop these."""
    for part, change in changes.items():
        k, other = row_of(cells, whole), row_of(cells, part)
        cells.accepted[k] |= cells.accepted[other]
        cells.seeded[k] |= cells.seeded[other]
        cells.verdict[k] = max(cells.verdict[k], cells.verdict[other])
        join(cells, background, Duplicate(k, other, change))
        cells.drop(other)


def keep(parts: Columns, cells: Components, k: int, number: int) -> None:
    """Keep what is needed to have component k again as it is before decision `number`."""
    parts.append(number=number, **{name: getattr(cells, name)[k] for name in KEPT})


def part_again(extraction: Extraction, parts: Columns, number: int, whole: int) -> None:
    """Have the parts of decision `number` again, with their ids and the footprints of before.

    Their activity goes on from the frames in the window, where it is estimated anew.
    """
    cells, background = extraction.cells, extraction.background
    rows = np.flatnonzero(parts["number"] == number).tolist()
    for row in sorted(rows, key=lambda row: parts.id[row] != whole):
        if parts.id[row] == whole:
            _shrink(cells, background, parts.origin[row], parts.box[row], row_of(cells, whole))
        else:
            _add_again(extraction, parts, row)
        for name in LEARNED:
            getattr(cells, name)[row_of(cells, parts.id[row])] = getattr(parts, name)[row]
    for row in (row for row in rows if parts.id[row] != whole):
        _estimate_comoments(cells, row_of(cells, parts.id[row]))


def row_of(cells: Components, component: int) -> int:
    """Return the row of the component with an id that there is."""
    return int(np.flatnonzero(cells["id"] == component)[0])


def _shrink(cells: Components, background: Background, corner: np.ndarray, box: np.ndarray, k: int) -> None:
    """Give component k the footprint of before; the mean image keeps the sum of both."""
    _to_mean(cells, background, k, cells.level[k])
    cells.move(k, (int(corner[0]), int(corner[1])), box)
    cells.refresh(k, background)
    _to_mean(cells, background, k, -cells.level[k])


def _add_again(extraction: Extraction, parts: Columns, row: int) -> None:
    cells, (buffer, deconvolution) = extraction.cells, extraction.recent
    corner = (int(parts.origin[row, 0]), int(parts.origin[row, 1]))
    box, next_id = parts.box[row].copy(), cells.next_id
    silent = np.zeros(len(buffer.bin_order()))
    proposal = Proposal(corner, box, box, silent, float(parts.moment[row]), float(parts.fit[row]), 0.0)
    cells.next_id = int(parts.id[row])
    k = add_component(cells, extraction.background, buffer, proposal, deconvolution)
    cells.next_id = next_id
    for name in ("level", "own", "peak"):
        getattr(cells, name)[k] = getattr(parts, name)[row]
    _to_mean(cells, extraction.background, k, -cells.level[k])


def _estimate_comoments(cells: Components, k: int) -> None:
    """Set the co-moments of component k and its neighbours from the correlation of their newest bins."""
    for n, other in enumerate(cells.neighbour[k, : cells.neighbours[k]].tolist()):
        a, b = (cells.recent[row] - cells.recent[row].mean() for row in (k, other))
        size = float(np.sqrt((a @ a) * (b @ b)))
        correlation = float(a @ b) / size if size > 0 else 0.0
        slot = _slot(cells, other, k)
        cells.comoment[k, n] = correlation * np.sqrt(cells.moment[k] * cells.moment[other])
        cells.comoment[other, slot] = cells.comoment[k, n]


def _to_mean(cells: Components, background: Background, k: int, activity: float) -> None:
    """Add a footprint times an activity to the mean image."""
    background.add_to_mean(cells.origin[k], cells.box[k] * np.float32(activity))


def _slot(cells: Components, k: int, other: int) -> int | None:
    found = np.flatnonzero(cells.neighbour[k, : cells.neighbours[k]] == other)
    return int(found[0]) if len(found) else None


def _touch(cells: Components, k: int, other: int) -> bool:
    """Whether the footprints of two components are at most 3 px apart."""
    slot = _slot(cells, k, other)
    return slot is not None and bool(cells.touching[k, slot])


def _ratio(cells: Components, whole: int, part: int) -> float:
    """Activity of the part by that of the whole: where they are active together as duplicates have it, else by size."""
    slot, noise = _slot(cells, part, whole), float(cells.live_noise[part] / cells.live_noise[whole])
    own, theirs = float(cells.own[part]), float(cells.own[whole])
    shared = float(cells.shared[part, slot]) if slot is not None else 0.0
    if shared > 0 and shared >= LIKE_ACTIVITY * np.sqrt(own * float(cells.theirs[part, slot])):
        return own / shared * noise
    return float(np.sqrt(own / theirs)) * noise if own > 0 and theirs > 0 else noise
