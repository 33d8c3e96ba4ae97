"""Final values: frames that leave the window are demixed again with the current footprints and deconvolved."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...core.operator import Table
from ...core.state import State, require_array, require_int
from ..kernels.demixing import demix_known_background
from .activity import LEAST_F0, Deconvolution
from .background import Background
from .buffer import SCALE, Buffer
from .components import POOLS, Components
from .pieces import combined
from .settled_rates import SettledRates

DELAY = 20  # frames until pools no longer change: two transients at 25 Hz
SWEEPS = 3
NO_FRAME = -1  # an index before that of any component's first frame
COLUMNS = {"frame": np.int64, "id": np.int64, "trace": np.float32, "raw": np.float32, "spike": np.float32,
           "dff": np.float32}  # fmt: skip


class SettledTraces:
    """Demixes each frame again when it leaves the window, and gives table rows once its rates are final."""

    def __init__(self, interval_s: float) -> None:
        self.count = self.reported = 0
        self._rates = SettledRates(interval_s)
        self.delay, self.samples = max(DELAY, self._rates.averages.ahead + 1), self._rates.samples
        self._index = np.zeros(POOLS, np.int64)

    def add(
        self, cells: Components, background: Background, buffer: Buffer, deconvolution: Deconvolution, slot: int
    ) -> None:
        """Demix the frame stored in `slot` again and append it to the traces that begin at or before it."""
        index = int(buffer.index[slot])
        present = cells["birth"] <= index
        raw = np.where(present, cells["history"][:, slot], 0.0)
        frame = buffer.frames[slot].reshape(-1)
        demix_known_background(frame, 1 / float(SCALE), cells.design(background), buffer.modes[slot], SWEEPS, raw)
        raw = combined(cells, raw)
        deconvolution.append_late(cells, raw, present)
        place = self.count % POOLS
        self._index[place] = index
        cells["late_raw"][:, place] = raw
        cells["late_dff"][:, place] = delta_f_over_f(raw, cells["late_low"], cells.at_rest(buffer.modes[slot]))
        self.count += 1
        self._rates.add(cells, raw, present, self.count, buffer)

    def rows(self, cells: Components, deconvolution: Deconvolution, last: bool = False) -> Table:
        """Return rows of the frames not reported yet, except for the newest `delay`, frame after frame."""
        if last:
            self._rates.finish(cells, self.count)
        frames = np.arange(self.reported, max(self.reported, self.count - (0 if last else self.delay)))
        if not (len(frames) and cells.count):
            self.reported += len(frames)
            return Table({name: np.empty(0, dtype) for name, dtype in COLUMNS.items()})
        trace, _ = deconvolution.newest(cells, self.count - self.reported)
        self.reported += len(frames)
        places = frames % POOLS
        index = self._index[places]
        present = cells["birth"] <= index[:, None]
        values = {
            "frame": np.broadcast_to(index[:, None], present.shape),
            "id": np.broadcast_to(cells["id"], present.shape),
            "trace": trace[:, : len(frames)].T, "raw": cells["late_raw"][:, places].T,
            "spike": cells["late_rate"][:, places].T, "dff": cells["late_dff"][:, places].T,
        }  # fmt: skip
        return Table({name: array[present].astype(COLUMNS[name]) for name, array in values.items()})

    def forget_frames(self) -> None:
        """Let nothing more be said of the frames so far: others come next, of any index."""
        self._index[:] = NO_FRAME

    def state(self) -> State:
        """Return all carried values as state entries."""
        return {"settling_index": self._index.copy(), "settling_count": self.count, "settling_said": self.reported}

    def restore(self, state: State) -> None:
        """Restore what `state` returned. Raises StateError."""
        self._index[:] = require_array(state, "settling_index", self._index, "extract")
        self.count, self.reported = (require_int(state, f"settling_{name}", "extract") for name in ("count", "said"))


def is_bright(base: np.ndarray) -> np.ndarray:
    """Return whether F0 (K,) [σ] is far enough from 0 to divide by."""
    bright: np.ndarray = base >= LEAST_F0
    return bright


def dark_doubts(base: np.ndarray) -> list[str]:
    """Return what is said where F0 (K,) [σ] of some accepted components is too near 0 to divide by."""
    dark = int((~is_bright(base)).sum())
    if not dark:
        return []
    return [
        f"ΔF/F (dff) is NaN for {dark} of {len(base)} components: their F0 is 0 within its noise; give the camera's "
        "offset ([source] camera), or frames it was not subtracted from"
    ]


def delta_f_over_f(raw: np.ndarray, low: np.ndarray, resting: np.ndarray) -> np.ndarray:
    """Return ΔF/F (K,) of raw activity: F0 = fluorescence at rest as of this frame + running 8th percentile, all in σ.

    NaN where F0 is 0 within its noise: a camera's offset that was subtracted, or none that is known.
    """
    base = resting + low
    return np.divide(raw - low, base, out=np.full_like(raw, np.nan), where=is_bright(base))


def concatenated(tables: Sequence[Table]) -> Table:
    """Return tables of the same columns, concatenated."""
    return Table({name: np.concatenate([table[name] for table in tables]) for name in tables[0]})
