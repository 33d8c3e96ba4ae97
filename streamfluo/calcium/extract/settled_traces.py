"""Final values: frames that leave the window are demixed again with the current footprints and deconvolved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...core.operator import Table
from ...core.state import State, require_array, require_int
from ..kernels.demixing import demix_stored
from .activity import LEAST_F0, Deconvolution
from .background import Background
from .buffer import SCALE, Buffer
from .components import POOLS, Components
from .pieces import combined
from .settled_rates import AT_ONCE, SettledRates

DELAY = 20  # frames until pools no longer change: two transients at 25 Hz
SWEEPS = 3
NO_FRAME = -1  # an index before that of any component's first frame
_SETTLED_AT, _RATED_AT = 2, 3  # of five frames those with least else to do
COLUMNS = {"frame": np.int64, "id": np.int64, "trace": np.float32, "raw": np.float32, "spike": np.float32,
           "dff": np.float32}  # fmt: skip


class SettledTraces:
    """Demixes frames again when they leave the window, and gives table rows once their rates are final."""

    def __init__(self, interval_s: float) -> None:
        self.count = self.reported = 0
        self._rates = SettledRates(interval_s)
        self.delay, self.samples = max(DELAY, self._rates.averages.ahead + 1), self._rates.samples
        self._index = np.zeros(POOLS, np.int64)

    def due(
        self, cells: Components, background: Background, buffer: Buffer, deconvolution: Deconvolution
    ) -> Table | None:
        """Settle the frames that leave the window with the next five, once in five frames; later return their rows."""
        phase, last = buffer.count % AT_ONCE, buffer.count - buffer.window + AT_ONCE
        if phase == _SETTLED_AT and last > buffer.settled:
            self.add(cells, background, buffer, deconvolution, buffer.settle(last))
        elif phase == _RATED_AT and buffer.settled and self._rates.rate(cells, self.count):
            return self.rows(cells, deconvolution)
        return None

    def rest(
        self, cells: Components, background: Background, buffer: Buffer, deconvolution: Deconvolution
    ) -> Iterator[Table]:
        """Settle the frames still in the window; yield their rows."""
        while buffer.settled < buffer.count:
            slots = buffer.settle(min(buffer.settled + AT_ONCE, buffer.count))
            self.add(cells, background, buffer, deconvolution, slots)
            if self._rates.rate(cells, self.count):
                yield self.rows(cells, deconvolution)
        yield self.rows(cells, deconvolution, last=True)

    def add(
        self, cells: Components, background: Background, buffer: Buffer, deconvolution: Deconvolution, slots: np.ndarray
    ) -> None:
        """Demix the frames stored in `slots` (n,) again, append them to the traces that begin at or before each.

        Five at once take half as long as one after the other.
        """
        index, modes = buffer.index[slots], buffer.modes
        present = cells["birth"] <= index[:, None]
        raw = np.where(present, cells["history"][:, slots].T, 0.0)
        numbers = np.arange(buffer.settled - len(slots), buffer.settled)[:, None]
        as_listed = cells["listed_at"] <= numbers  # most footprints do not change within a window
        products = np.where(as_listed, cells["product"][:, slots].T, np.nan)
        stored = buffer.stored(cells, slots, products)
        demix_stored(stored, slots, 1 / float(SCALE), cells.design(background), (modes, products), SWEEPS, raw)
        raw = combined(cells, raw)
        lows = deconvolution.append_late(cells, raw, present)
        places = np.arange(self.count, self.count + len(slots)) % POOLS
        self._index[places] = index
        cells["late_raw"][:, places] = raw.T
        cells["late_dff"][:, places] = delta_f_over_f(raw, lows, cells.at_rest(modes[slots].T).T).T
        self._rates.add(cells, raw, present, self.count, buffer)
        self.count += len(slots)

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
        counts = {"settling_count": self.count, "settling_said": self.reported, "settling_rated": self._rates.rated}
        return {"settling_index": self._index.copy(), **counts}

    def restore(self, state: State) -> None:
        """Restore what `state` returned. Raises StateError."""
        self._index[:] = require_array(state, "settling_index", self._index, "extract")
        self.count, self.reported, self._rates.rated = (
            require_int(state, f"settling_{name}", "extract") for name in ("count", "said", "rated")
        )


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
