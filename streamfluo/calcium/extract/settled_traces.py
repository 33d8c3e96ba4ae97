"""Traces behind the window: frames solved again with the shapes of today, and said for good."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core.operator import Table
from ...core.state import State, require_array, require_int
from ..kernels.demixing import demix_known_background
from .activity import Calcium
from .buffer import SCALE, Buffer
from .components import POOLS, Components

DELAY = 20  # frames until pools no longer change: two transients at 25 Hz
SWEEPS = 3
COLUMNS = {"frame": np.int64, "id": np.int64, "trace": np.float32, "raw": np.float32, "spike": np.float32,
           "dff": np.float32}  # fmt: skip


class Settling:
    """Solves each frame again when it leaves the window, and gives rows of a table once its spikes stand."""

    def __init__(self) -> None:
        self.count = self.said = 0
        self._index = np.zeros(POOLS, np.int64)

    def take(self, cells: Components, buffer: Buffer, calcium: Calcium, slot: int) -> None:
        """Solve the frame kept in `slot` again and add it to the traces of those born by then."""
        index = int(buffer.index[slot])
        born = cells["birth"] <= index
        raw = np.where(born, cells["history"][:, slot], 0.0)
        demix_known_background(
            buffer.frames[slot].reshape(-1), 1 / float(SCALE), cells.index, cells.value, cells.pixels,
            cells.mode_overlap, buffer.modes[slot], cells.energy, cells.neighbour, cells.overlap, cells.neighbours,
            np.full(cells.count, -np.inf), SWEEPS, raw,
        )  # fmt: skip
        calcium.follow(cells, "late", raw, born)
        place = self.count % POOLS
        self._index[place] = index
        cells["late_raw"][:, place] = raw
        cells["late_dff"][:, place] = relative(raw, cells["late_low"], cells["resting"])
        self.count += 1

    def rows(self, cells: Components, calcium: Calcium, keep: int = DELAY) -> Table:
        """Return what stands by now of the frames not said yet, all but the newest `keep`, frame after frame."""
        frames = np.arange(self.said, max(self.said, self.count - keep))
        if not (len(frames) and cells.count):
            self.said += len(frames)
            return Table({name: np.empty(0, dtype) for name, dtype in COLUMNS.items()})
        back = self.count - self.said
        trace, spikes = calcium.recent(cells, back)
        self.said += len(frames)
        places = frames % POOLS
        index = self._index[places]
        born = cells["birth"] <= index[:, None]
        values = {
            "frame": np.broadcast_to(index[:, None], born.shape),
            "id": np.broadcast_to(cells["id"], born.shape),
            "trace": trace[:, : len(frames)].T, "raw": cells["late_raw"][:, places].T,
            "spike": spikes[:, : len(frames)].T, "dff": cells["late_dff"][:, places].T,
        }  # fmt: skip
        return Table({name: array[born].astype(COLUMNS[name]) for name, array in values.items()})

    def state(self) -> State:
        """Everything it carries, as state entries."""
        return {"settling_index": self._index.copy(), "settling_count": self.count, "settling_said": self.said}

    def restore(self, state: State) -> None:
        """Take over what `state` returned. Raises StateError."""
        self._index[:] = require_array(state, "settling_index", self._index, "extract")
        self.count, self.said = (require_int(state, f"settling_{name}", "extract") for name in ("count", "said"))


def relative(raw: np.ndarray, low: np.ndarray, resting: np.ndarray) -> np.ndarray:
    """Return ΔF/F (K,) of raw activity against its running low percentile, with what rests under the footprint."""
    base = resting + low
    return np.divide(raw - low, base, out=np.zeros_like(raw), where=base > 1e-3)


def joined(tables: Sequence[Table]) -> Table:
    """Return tables of the same columns end to end."""
    return Table({name: np.concatenate([table[name] for table in tables]) for name in tables[0]})
