"""Parts of a condition that look at more than one frame: edges, and what lasts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..core.errors import StateError
from ..core.operator import Gives
from .condition_nodes import TRUTH, Frames, Node, truth


class Edge(Node):
    """Whether something became true (`rising`) or false (`falling`) with this frame."""

    kind = TRUTH

    def __init__(self, text: str, name: str, of: Node) -> None:
        super().__init__(text, of)
        self._name, self._before = name, np.nan

    def _settle(self, given: Mapping[str, Gives]) -> None:
        self._settle_parts(TRUTH, self._name)

    def value(self, now: Frames) -> np.ndarray:
        found = truth(self.parts[0], now)
        before = np.concatenate(([self._before], found[:-1]))
        self._before = float(found[-1])
        change = found - before
        return np.where(np.isnan(change), np.nan, change == (1 if self._name == "rising" else -1))

    def interrupt(self) -> None:
        self._before = np.nan

    def memory(self) -> dict[str, float]:
        return {"before": self._before}

    def recall(self, memory: Mapping[str, float]) -> None:
        self._before = memory["before"]


class Lasting(Node):
    """Whether something has been true for so many frames, or so long, on end."""

    kind = TRUTH

    def __init__(self, text: str, of: Node, frames: int, lasts_s: float) -> None:
        super().__init__(text, of)
        self._frames, self._ns = frames, round(lasts_s * 1e9)
        self._run, self._since_ns = 0, 0

    def _settle(self, given: Mapping[str, Gives]) -> None:
        self._settle_parts(TRUTH, "for")

    def value(self, now: Frames) -> np.ndarray:
        found = truth(self.parts[0], now).copy()
        for n, true in enumerate(found):
            if true != 1:  # false or unknown
                self._run = 0
                continue
            self._since_ns = self._since_ns if self._run else int(now.times_ns[n])
            self._run += 1
            lasted = self._run >= self._frames and now.times_ns[n] - self._since_ns >= self._ns
            found[n] = float(lasted)
        return found

    def interrupt(self) -> None:
        self._run = 0

    def memory(self) -> dict[str, float]:
        return {"run": self._run, "since_ns": self._since_ns}

    def recall(self, memory: Mapping[str, float]) -> None:
        if not (np.isfinite(memory["run"]) and np.isfinite(memory["since_ns"])):
            raise StateError("trigger: state 'memory' must hold numbers; the state was damaged")
        self._run, self._since_ns = int(memory["run"]), int(memory["since_ns"])
