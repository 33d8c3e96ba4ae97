"""How well a signal was predicted lately, by frames that the model had not seen."""

from __future__ import annotations

import numpy as np

from ..core.state import State, require_int
from .activity import restored


class RecentR2:
    """r² (columns,) of about the last `frames` predictions, older ones fading: 1 − squared error over that of the mean.

    The mean is that of the known frames before each one; of the first it is `mean`, where something knows one.
    """

    def __init__(self, columns: int, frames: int, mean: np.ndarray | None = None) -> None:
        self.columns, self._kept = columns, 1 - 1 / frames
        self.mean = np.zeros(columns) if mean is None else mean
        self._errors, self._spread, self._total = np.zeros((3, columns))
        self.seen = self._tested = 0  # frames with a known signal, and those of them that were predicted

    def add(self, predicted: np.ndarray, signal: np.ndarray) -> None:
        """Take a frame's prediction, NaN where there is none, and its signal, known in all columns."""
        if np.isfinite(predicted).all():
            mean = self._total / self.seen if self.seen else self.mean
            self._errors = self._kept * self._errors + (signal - predicted) ** 2
            self._spread = self._kept * self._spread + (signal - mean) ** 2
            self._tested += 1
        self._total = self._total + signal
        self.seen += 1

    def value(self) -> np.ndarray:
        """Return r² (columns,), NaN before two predictions."""
        with np.errstate(all="ignore"):
            return np.where(self._tested > 1, 1 - self._errors / self._spread, np.nan)

    def state(self) -> State:
        """Return all carried values as state entries."""
        return {
            "seen": self.seen, "tested": self._tested,
            "errors": self._errors.copy(), "spread": self._spread.copy(), "total": self._total.copy(),
        }  # fmt: skip

    def restore(self, state: State, where: str) -> None:
        """Restore what `state` returned. Raises StateError."""
        self._errors, self._spread, self._total = (
            restored(state, name, (self.columns,), where) for name in ("errors", "spread", "total")
        )
        self.seen, self._tested = (require_int(state, name, where) for name in ("seen", "tested"))
