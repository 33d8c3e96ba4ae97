"""Localisations of a session of `sim:spots` beside the spots that there were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ..session.reader import Session

NEAR_PX = 1.5  # a localisation nearer than this to a spot found it
BORDER_PX = 4  # spots nearer to the border are fitted with part of their light
ALONE_PX = 10  # no other spot within: of these precision and photons are compared
UNSOUND = 8 | 16  # flags of a fit that did not converge, and of a spot outside the field


class Matched(NamedTuple):
    """Localisations beside the spots: (true, found) in view, hits and false ones; of lone spots the error of their
    place and its standard error (n, 2) [px], and their photons, true and found (n, 2)."""

    true: int
    found: int
    hits: int
    false: int
    error_px: np.ndarray
    stated_px: np.ndarray
    photons: np.ndarray


def matched(session: Session, truth: Mapping[str, np.ndarray] | None = None, step: str = "spots") -> Matched:
    """Match the localisations of a session of `sim:spots` with the truth, its own if none is given, frame by frame."""
    from scipy.spatial import cKDTree  # which other commands need not wait for

    truth, table = session.truth if truth is None else truth, session.values(step)["spots"]
    sound = table["flags"] & UNSOUND == 0
    there, here = (np.stack([of["y_px"], of["x_px"]], 1) for of in (truth, table))
    last = np.array(session.spec.shape) - 1 - BORDER_PX
    counts, rows = [0, 0, 0, 0], []
    for frame in range(session.frames):
        true, found = np.flatnonzero(truth["frame"] == frame), np.flatnonzero((table["frame"] == frame) & sound)
        inner = ((there[true] > BORDER_PX) & (there[true] < last)).all(1)
        claimed = ((here[found] > BORDER_PX) & (here[found] < last)).all(1)
        counts[0] += int(inner.sum())
        counts[1] += int(claimed.sum())
        if not len(true) or not len(found):
            counts[3] += int(claimed.sum())
            continue
        nearest, number = cKDTree(here[found]).query(there[true])
        counts[2] += int((nearest[inner] < NEAR_PX).sum())
        counts[3] += int((cKDTree(there[true]).query(here[found])[0][claimed] >= NEAR_PX).sum())
        beside = cKDTree(there[true]).query(there[true], 2)[0][:, 1]
        alone = inner & (beside > ALONE_PX) & (nearest < NEAR_PX)
        rows.append(np.stack([true[alone], found[number[alone]]], 1))
    pairs = np.concatenate(rows) if rows else np.empty((0, 2), int)
    t, f = pairs.T
    stated = np.stack([table["y_error_px"], table["x_error_px"]], 1)
    photons = np.stack([truth["photons_spot"][t], table["photons"][f]], 1)
    return Matched(counts[0], counts[1], counts[2], counts[3], here[f] - there[t], stated[f], photons)
