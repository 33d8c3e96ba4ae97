"""Samples of an input as they stand in its records, checked before anything is made of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..core.errors import SessionError
from .values import StepRecords

FRAMES = "frames"  # an input of the run itself
LATEST_NS = 1 << 61  # the year 2043


class Samples(NamedTuple):
    """`t_ns` (n,) and `value` (n, columns), of texts (n,); of frames' metadata `frame` (n,), each frame's index; of
    a stream with a clock of its own `own_ns` (n,), the time by that."""

    t_ns: np.ndarray
    value: np.ndarray
    frame: np.ndarray | None = None
    own_ns: np.ndarray | None = None

    def chosen(self, which: np.ndarray) -> Samples:
        """Return some of them, by place or mask."""
        frame, own_ns = (None if array is None else array[which] for array in (self.frame, self.own_ns))
        return Samples(self.t_ns[which], self.value[which], frame, own_ns)

    @property
    def is_text(self) -> bool:
        """Whether they are texts."""
        return self.value.dtype.kind == "U"


def samples_of(records: StepRecords, name: str) -> Samples:
    """Return what the records of an input hold. Raises SessionError for what no run writes."""
    keys = [key for key in Samples._fields if key in ("t_ns", "value") or key in records.arrays[0]]
    try:
        found = {key: np.concatenate([part[key] for part in records.arrays]) for key in keys}
    except (KeyError, ValueError) as error:
        raise SessionError(f"its samples do not belong together: {error!r}") from None
    value, whole = found["value"], [found[key] for key in keys if key != "value"]
    text = value.dtype.kind == "U" and value.ndim == 1
    numbers = value.dtype == np.float64 and value.ndim == 2
    absurd = any(w.dtype != np.int64 or (w > LATEST_NS).any() or (w < -LATEST_NS).any() for w in whole)
    if absurd or any(w.shape != value.shape[:1] for w in whole) or not (text or numbers):
        times = ", ".join(f"{key} {found[key].dtype} {found[key].shape}" for key in keys)
        raise SessionError(f"no samples: {times}")
    if name == FRAMES and not (numbers and value.shape[1] == 2 and (np.abs(value) < LATEST_NS).all()):
        raise SessionError("not what a run writes of its frames")
    samples = Samples(**found)
    if samples.frame is not None:  # a run that was resumed reads some again
        return samples.chosen(np.unique(samples.frame, return_index=True)[1])
    return samples
