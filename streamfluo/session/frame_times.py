"""The time of each frame of a session, in seconds since the series began."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import StreamfluoError
from .referenced import referenced_times

if TYPE_CHECKING:
    from .reader import Session


def frame_times_s(session: Session, index: np.ndarray) -> np.ndarray:
    """Return the time (n,) [s] of frames of one plane by index (n,), NaN where nothing says it.

    As recorded with the frames, else as the file has them that the session refers to; index · interval where there are
    none, or the file is gone.
    """
    known, t_ns = _recorded(session)
    interval_s = session.spec.interval_s
    t_s = np.full(len(index), np.nan) if interval_s is None else index * interval_s
    if not len(known) or (interval_s is not None and not t_ns.any()):
        return t_s
    at = np.minimum(np.searchsorted(known, index), len(known) - 1)
    found = known[at] == index
    t_s[found] = t_ns[at[found]] / 1e9
    return t_s


def _recorded(session: Session) -> tuple[np.ndarray, np.ndarray]:
    """The frames (n,) whose times are known, ascending, and their times (n,) [ns]."""
    if session.has_journal:
        return session.journal.indices, session.journal.times_ns
    try:
        t_ns = referenced_times(session.path, session.facts["reference"], session.series["uid"], session.plane_name)
    except (StreamfluoError, OSError, KeyError, ValueError):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    return np.arange(len(t_ns)), t_ns
