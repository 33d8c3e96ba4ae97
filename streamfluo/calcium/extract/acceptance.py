"""From a place where something is active to a component with a past."""

from __future__ import annotations

import numpy as np

from ..kernels.demixing import back_fill
from ..kernels.footprint_statistics import add_shifted
from ..kernels.residual import STEP, take_out
from ..kernels.spikes import first_levels
from .activity import Calcium
from .background import Scene
from .buffer import SCALE, Buffer
from .components import Components
from .footprint_update import take_past
from .params import ExtractParams
from .proposal import Proposal

LEAST_PIXELS = 10
MOST_OF_BOX = 0.35
_ALIKE = 0.6  # cosine of two footprints that may be one cell
_NEW_PART = 0.5  # of a cell's recent activity: a residual that large is no error of its shape


def refusal(found: Proposal | None, params: ExtractParams) -> str:
    """Return why a proposal is none, '' if it is one."""
    if found is None:
        return "nothing stands out"
    if not LEAST_PIXELS <= (found.footprint > 0).sum() <= MOST_OF_BOX * found.footprint.size:
        return "too small or too large"
    return "" if found.correlation >= params.min_spatial_corr else "does not look like its footprint"


def rival(cells: Components, found: Proposal, max_overlap: float) -> int | None:
    """Return the component that a proposal may be, None if there is none."""
    mine = found.footprint > 0
    for k in cells.near(found.corner):
        other = np.zeros(cells.box_shape, np.float32)
        add_shifted(other, np.array(found.corner, np.int32), cells.box[k], cells.origin[k], np.float32(1))
        both = np.count_nonzero((other > 0) & mine)
        if both > max_overlap * min(np.count_nonzero(mine), cells.pixels[k]):
            cosine = float((other * found.footprint).sum(dtype=float)) / np.sqrt(cells.energy[k])
            if cosine > _ALIKE:
                return k
    return None


def is_error_of(cells: Components, k: int, found: Proposal) -> bool:
    """Whether a proposal is so weak beside a component like it that it is an error of its shape."""
    return found.snr <= _NEW_PART * float(np.sqrt((cells.recent[k] ** 2).sum()))


def give_birth(
    cells: Components, scene: Scene, buffer: Buffer, found: Proposal, order: np.ndarray, calcium: Calcium
) -> int:
    """Make a proposal a component, its past filled in from the frames kept; return its place."""
    slots = buffer.slots()
    place = cells.add(found.corner, found.footprint, scene, int(buffer.index[slots[0]]))
    history = np.empty(len(slots))
    n, others = int(cells.pixels[place]), cells.around(place)
    back_fill(
        buffer.frames.reshape(len(buffer.frames), -1), slots, 1 / float(SCALE), cells.index[place, :n],
        cells.value[place, :n], cells.mode_overlap[place], buffer.modes, others, cells.overlap[place, : len(others)],
        cells.history, cells.energy[place], history,
    )  # fmt: skip
    cells.history[place, slots] = history
    noise, low, level = first_levels(history)
    for name, value in {"noise": noise, "baseline": level, "low": low, "previous": history[0]}.items():
        for when in ("live", "late"):
            getattr(cells, f"{when}_{name}")[place] = value
    cells.g[place], cells.fit[place] = calcium.g, found.correlation
    cells.activity[place], cells.level[place] = history[-1], history.mean()
    trace = calcium.past(cells, place, history)
    cells.moment[place] = cells.learned[place] = found.moment
    cells.gathered[place] = (found.slope - found.footprint) * np.float32(found.moment)
    take_out(
        buffer.bins.reshape(len(buffer.bins), -1), order, cells.index[place, :n], cells.value[place, :n], STEP,
        found.activity,
    )  # fmt: skip
    frames = buffer.bin_frames
    whole = trace[: len(trace) - buffer.count % frames]
    bins = whole[len(whole) % frames :].reshape(-1, frames).sum(1) / np.sqrt(frames)
    older = found.activity[: len(found.activity) - len(bins)]  # than the frames kept
    take_past(cells, place, np.concatenate((older, bins)), buffer.count // frames)
    return place
