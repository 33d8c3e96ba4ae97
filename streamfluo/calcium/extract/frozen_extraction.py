"""An extraction whose cells are those of a sample, for the parts of a recording."""

from __future__ import annotations

import numpy as np

from .components import REJECTED
from .extraction import BIN, Extraction
from .learned_acceptance import are_cells
from .settled_traces import NO_FRAME

EVIDENCE = ("own", "peak", "falls", "shared", "theirs")  # sums over bins
SETTLED_SAMPLES = 300  # of a trace, from which on its baseline moves no slower


class FrozenExtraction(Extraction):
    """An extraction that can be frozen: activity and background go on, cells, footprints and time constants stay."""

    def freeze(self) -> None:
        """Keep what was learned; frames of any index come next, and nothing more is said of those before."""
        self._finish_work()
        self.tables.give()  # rows of frames before, which the last of them left to be said
        self.frozen, self._waiting, self._last_index = True, [], NO_FRAME
        self.cells["birth"][:] = 0
        self._buffer.index[:] = NO_FRAME
        self._settled.forget_frames()

    def begin_part(self) -> None:
        """Let the evidence of the components be that of the frames from the next one on."""
        self._finish_work()
        for name in EVIDENCE:
            self.cells[name][:] = 0
        self.cells["live_seen"][:] = np.minimum(self.cells["live_seen"], SETTLED_SAMPLES)

    def evidence(self) -> dict[str, np.ndarray]:
        """Return the evidence of the components in the frames of the part."""
        seen = self.cells["live_seen"] - SETTLED_SAMPLES
        return {name: self.cells[name].copy() for name in EVIDENCE} | {"live_seen": np.maximum(seen, 0)}

    def add_evidence(self, evidence: dict[str, np.ndarray]) -> None:
        """Add the evidence of another part, of the same components."""
        for name, sums in evidence.items():
            self.cells[name][:] += sums

    def judge(self) -> None:
        """Accept the components that have the evidence of a cell by now."""
        cells = self.cells
        cell = are_cells(cells, self.params, self.seen)
        cell &= ~cells["accepted"] & (cells["verdict"] != REJECTED) & (cells["whole"] < 0)
        for k in np.flatnonzero(cell).tolist():
            cells.accepted[k] = True
            self._record_event(self._last_index, k, "accepted", "")

    @property
    def settled_frames(self) -> int:
        """Frames behind one until its final values are given."""
        return self._buffer.window + self._settled.delay + BIN
