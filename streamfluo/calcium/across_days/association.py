"""The probability of each pair, where a component is at most one component of another day.

Sum-product on the graph of pairs, exact on trees and converging on any graph (Williams and Lau 2014, IEEE Trans.
Aerosp. Electron. Syst. 50:2942; Chertkov et al. 2010, PNAS 107:7663).
"""

from __future__ import annotations

import numpy as np

ROUNDS, CLOSE = 100, 1e-6


def marginals(a: np.ndarray, b: np.ndarray, odds: np.ndarray) -> np.ndarray:
    """Return the probability (n,) that a pair is the same, for odds against either having no partner.

    `a`, `b` (n,) are numbers of nodes, one for each component and other day, so that partners exclude each other.
    """
    if not len(odds):
        return np.empty(0)
    of_b = np.ones(len(odds))  # messages from b to a: the probability that no other a has it
    of_a = odds
    nodes = int(max(a.max(), b.max())) + 1
    for _ in range(ROUNDS):
        weighted = odds * of_b
        of_a = odds / (1 + _others(weighted, a, nodes))
        before, of_b = of_b, 1 / (1 + _others(of_a, b, nodes))
        if np.abs(of_b - before).max() < CLOSE:
            break
    weighted = odds * of_b
    return np.asarray(weighted / (1 + np.bincount(a, weighted, nodes)[a]))


def _others(values: np.ndarray, node: np.ndarray, nodes: int) -> np.ndarray:
    """The sum of a node's values but each one itself."""
    return np.maximum(np.bincount(node, values, nodes)[node] - values, 0)
