"""Which sections make which cell, and ids of cells that stay while sections come, join and part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def joined(
    count: int, plane: np.ndarray, pairs: np.ndarray, weight: np.ndarray, may_share: np.ndarray
) -> list[np.ndarray]:
    """Return groups of sections, the rows of each ascending, from pairs (m, 2) that are one cell, the surest first.

    A cell has at most one section in a slice, and no two in slices that cannot show one cell: `may_share` (planes,
    planes). So of pairs that contradict each other the one of the larger weight (m,) is taken.
    """
    group, members = list(range(count)), [[n] for n in range(count)]
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -weight)) if len(pairs) else np.empty(0, int)
    for i, j in pairs[order].tolist():
        one, other = sorted((group[i], group[j]))
        if one == other:
            continue
        planes_one, planes_other = plane[members[one]], plane[members[other]]
        if (planes_one[:, None] == planes_other).any() or not may_share[np.ix_(planes_one, planes_other)].all():
            continue
        members[one] = sorted(members[one] + members[other])
        for n in members[other]:
            group[n] = one
        members[other] = []
    return [np.array(found) for found in members if found]


def named(groups: Sequence[np.ndarray], before: np.ndarray, next_id: int) -> tuple[np.ndarray, int]:
    """Return the cell (n,) that each section belongs to, and the id that is free then.

    `before` (n,) are the cells as they were, 0 of a new section; `groups` cover all sections. A group keeps the
    smallest id that its sections had. Where a cell parts, the part with the larger number of its sections keeps the id,
    of parts alike that with the first section; the others get new ids.
    """
    cell, group_of = np.zeros(len(before), np.int64), np.zeros(len(before), np.int64)
    for n, group in enumerate(groups):
        group_of[group] = n
    known = before > 0
    shared, sizes = np.unique(np.stack([before[known], group_of[known]]), axis=1, return_counts=True)
    heirs: dict[int, int] = {}
    for n in np.lexsort((-shared[1], sizes)).tolist():  # the last one stays: the largest part, the first of those alike
        heirs[int(shared[0, n])] = int(shared[1, n])
    for name, n in sorted(heirs.items(), reverse=True):
        cell[groups[n]] = name  # the smallest at last
    for group in groups:
        if not cell[group[0]]:
            cell[group] = next_id
            next_id += 1
    return cell, next_id


def gone_into(before: np.ndarray, cell: np.ndarray) -> list[tuple[int, int]]:
    """Return (id, into) of each cell that is no more, and the one that most of its sections belong to now."""
    gone = sorted(set(before[before > 0].tolist()) - set(cell.tolist()))
    found = []
    for name in gone:
        now, counts = np.unique(cell[before == name], return_counts=True)
        found.append((name, int(now[counts.argmax()])))
    return found
