"""Acceptance of proposals: tests of a proposed footprint, and the new component with its history."""

from __future__ import annotations

from typing import TypeGuard

import numpy as np

from ..kernels.demixing import project_past
from ..kernels.footprint_statistics import add_shifted
from ..kernels.residual import subtract_from_bins
from ..kernels.spikes import initial_levels
from .activity import Deconvolution
from .background import Background
from .buffer import Buffer
from .components import Components
from .footprint_update import add_history_evidence
from .params import ExtractParams
from .proposal import Proposal

MIN_PIXELS = 10
MAX_BOX_FRACTION = 0.35
_MIN_COSINE = 0.6  # of two footprints of one cell
_ERROR_FRACTION = 0.5  # of a component's recent SNR: up to it, a residual counts as an error of its footprint


def is_acceptable(proposal: Proposal | None, params: ExtractParams) -> TypeGuard[Proposal]:
    """Return whether a proposal has the size and the spatial correlation of a component."""
    if proposal is None:
        return False
    if not MIN_PIXELS <= (proposal.footprint > 0).sum() <= MAX_BOX_FRACTION * proposal.footprint.size:
        return False
    return proposal.correlation >= params.min_spatial_corr


def matching_component(cells: Components, proposal: Proposal, max_overlap: float) -> int | None:
    """Return the row of a component with the proposal's footprint, None if there is none."""
    mask = proposal.footprint > 0
    for k in cells.overlapping(proposal.corner):
        other = np.zeros(cells.box_shape, np.float32)
        add_shifted(other, np.array(proposal.corner, np.int32), cells.box[k], cells.origin[k], np.float32(1))
        both = np.count_nonzero((other > 0) & mask)
        if both > max_overlap * min(np.count_nonzero(mask), cells.pixels[k]):
            cosine = float((other * proposal.footprint).sum(dtype=float)) / np.sqrt(cells.energy[k])
            if cosine > _MIN_COSINE:
                return k
    return None


def is_error_of(cells: Components, k: int, proposal: Proposal) -> bool:
    """Return whether a proposal is weak enough beside component k to be an error of its footprint."""
    return proposal.snr <= _ERROR_FRACTION * float(np.sqrt((cells.recent[k] ** 2).sum()))


def add_component(
    cells: Components, background: Background, buffer: Buffer, proposal: Proposal, deconvolution: Deconvolution
) -> int:
    """Make a proposal a component, with its history from the buffered frames and bins; return its row."""
    slots, order = buffer.slots(), buffer.bin_order()
    k = cells.add(proposal.corner, proposal.footprint, background, int(buffer.index[slots[0]]))
    history = np.empty(len(slots))
    project_past(k, cells.design(background), buffer.past(cells.history), history)
    cells.history[k, slots] = history
    noise, low, level = initial_levels(history)
    for name, value in {"noise": noise, "baseline": level, "low": low, "previous": history[0]}.items():
        for when in ("live", "late"):
            getattr(cells, f"{when}_{name}")[k] = value
    cells.g[k], cells.fit[k] = deconvolution.g, proposal.correlation
    cells.activity[k], cells.level[k] = history[-1], history.mean()
    trace = deconvolution.update_history(cells, k, history)
    cells.moment[k] = cells.learned[k] = proposal.moment
    cells.gathered[k] = (proposal.slope - proposal.footprint) * np.float32(proposal.moment)
    bins = buffer.bins.reshape(len(buffer.bins), -1)
    subtract_from_bins(bins, order, k, cells.footprints, proposal.activity)
    add_history_evidence(cells, k, _binned_history(buffer, trace, proposal.activity), buffer.count // buffer.bin_frames)
    return k


def _binned_history(buffer: Buffer, trace: np.ndarray, activity: np.ndarray) -> np.ndarray:
    """Activity (bins,) from the trace (frames,) where frames are buffered, before them from the proposal (bins,)."""
    frames = buffer.bin_frames
    complete = trace[: len(trace) - buffer.count % frames]
    bins = complete[len(complete) % frames :].reshape(-1, frames).sum(1) / np.sqrt(frames)
    return np.concatenate((activity[: len(activity) - len(bins)], bins))
