"""Ids that hold over many days: pairs joined to cells, of which none has two components of one day."""

from __future__ import annotations

import heapq

import numpy as np

LIMIT = 6.0  # of a pair's log odds: no single pair decides alone
APART = -4.0  # log odds of pairs too far apart to be listed


def cells_of(day: np.ndarray, a: np.ndarray, b: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Return the cell (n,) of each component, numbered in the order of their first components.

    Clusters with the highest mean log odds over all pairs between them are joined first (average linkage), as long as
    that is above 0 and they share no day.
    """
    odds = np.log(np.clip(probability, 1e-9, 1 - 1e-9) / np.clip(1 - probability, 1e-9, 1))
    gain = np.clip(odds, APART, LIMIT) - APART
    members = {k: [k] for k in range(len(day))}
    days = {k: {int(d)} for k, d in enumerate(day)}
    beside: dict[int, dict[int, float]] = {k: {} for k in members}
    for i, j, more in zip(a.tolist(), b.tolist(), gain.tolist(), strict=True):
        beside[i][j] = beside[j][i] = more
    heap = [(-more - APART, i, j) for i, j, more in zip(a.tolist(), b.tolist(), gain.tolist(), strict=True)]
    heap = [entry for entry in heap if entry[0] < 0]
    heapq.heapify(heap)
    number = len(day)
    while heap:
        _, i, j = heapq.heappop(heap)
        if i not in members or j not in members or days[i] & days[j]:
            continue
        members[number], days[number] = members.pop(i) + members.pop(j), days.pop(i) | days.pop(j)
        joined: dict[int, float] = {}
        for part in (beside.pop(i), beside.pop(j)):
            for k, more in part.items():
                if k in members:
                    joined[k] = joined.get(k, 0.0) + more
        beside[number] = joined
        for k, more in joined.items():
            beside[k][number] = more
            mean = more / (len(members[k]) * len(members[number])) + APART
            if mean > 0:
                heapq.heappush(heap, (-mean, k, number))
        number += 1
    cell = np.empty(len(day), np.int64)
    for k, rows in enumerate(sorted(members.values(), key=min)):
        cell[rows] = k
    return cell
