"""Acceptance of proposals: tests of a proposed footprint, and the new component with its history."""

from __future__ import annotations

from typing import TypeGuard

import numpy as np

from ..kernels.footprint_statistics import add_shifted
from ..kernels.spikes import initial_levels
from .activity import Deconvolution
from .background import Background
from .buffer import Buffer
from .components import REJECTED, Components
from .footprint_update import add_history_evidence
from .params import ExtractParams
from .proposal import Proposal

MIN_PIXELS = 10
MAX_BOX_FRACTION = 0.35
_MIN_COSINE = 0.6  # of two footprints of one cell
_ERROR_FRACTION = 0.5  # of a component's recent SNR: up to it, a residual counts as an error of its footprint

EVIDENCE_PER_SNR = 2.6  # min_snr 1 in bins pooled over a transient (4-norm)
# At an edge the background is known from one side only: 6 of 15 components that were accepted in 80 fields without
# cells lay there, on a sixth of the area.
AT_EDGE = 1.4  # times the evidence
# Components that background makes, with at least so many times the evidence needed: 6.5e-4 e^(-m / .37) a place (a
# square of one neuron_sigma_px), fitted to 64 fields without cells; at most so many of those accepted are expected.
FALSE_PER_PLACE, FALSE_SCALE, FALSE_SHARE = 6.5e-4, 0.37, 0.02
NOT_COMPACT, COMPACT = 0.1, 0.2  # below and above min_compactness: none of the evidence counts, all of it
FALLS_OF_NOISE, ONE_FALL = 0.42, 100.0  # Σ r⁴ of noise beyond 2.5 σ, a bin; one bin of 3.2 σ: chance, or a neighbour
# Evidence falls to a third where the 4-norm of the falls is .8 of that of the rises. No further: a cell that is active
# all the time has falls below its running median as well, of 25 and more, background hardly above 20.
FALLS_ALIKE, LEAST_RISING = 1.5, 1 / 3


def is_cell(cells: Components, params: ExtractParams, bin_frames: int, observed_px: int) -> np.ndarray:
    """Return which components (K,) have the evidence of a cell, among all in a field of so many observed pixels."""
    times, any_evidence = evidence_times(cells, params, bin_frames)
    counted = times[cells["verdict"] != REJECTED]
    return (times >= least_times(counted, observed_px / params.neuron_sigma_px**2)) & any_evidence


def evidence_times(cells: Components, params: ExtractParams, bin_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how many times the evidence needed each component (K,) has, ∞ where none is, and whether it has any.

    Activity only rises above its baseline: what falls as far as it rises is background that fluctuates, which also has
    no compact shape.
    """
    explained, snr = cells.explained_and_snr()
    of_noise = FALLS_OF_NOISE * cells["live_seen"] / bin_frames + ONE_FALL
    falls = np.maximum(cells["falls"] - of_noise, 0)
    rising2 = np.maximum(1 - FALLS_ALIKE * np.sqrt(falls / np.maximum(cells["peak"], 1e-30)), LEAST_RISING**2)
    least = params.least_compactness
    compact = (cells["compactness"] - least + NOT_COMPACT) / (NOT_COMPACT + COMPACT) if least else np.ones(cells.count)
    evidence = snr * (1 - explained) * np.sqrt(rising2) * np.clip(compact, 0, 1)
    evidence = np.where(cells["compactness"] >= least, evidence, 0)
    needed = EVIDENCE_PER_SNR * params.min_snr * np.where(cells["at_edge"], AT_EDGE, 1)
    return np.divide(evidence, needed, out=np.full(cells.count, np.inf), where=needed > 0), evidence > 0


def least_times(times: np.ndarray, places: float) -> float:
    """Return how many times the evidence needed a component must have, 1 or more, among those with `times` (K,).

    The least at which no more than FALSE_SHARE of what is accepted is expected of background at so many places: in a
    field without cells nothing is accepted in all but FALSE_SHARE of them, between cells less evidence is enough.
    Source: Benjamini, Hochberg 1995, J. R. Stat. Soc. B 57:289.
    """
    ranked = np.sort(times)[::-1]
    expected = FALSE_PER_PLACE * places * np.exp(-ranked / FALSE_SCALE)
    enough = np.flatnonzero(expected <= FALSE_SHARE * np.arange(1, len(ranked) + 1))
    return max(1.0, float(ranked[enough[-1]])) if len(enough) else np.inf


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
    slots, unsettled = buffer.slots(), buffer.unsettled()
    k = cells.add(proposal.corner, proposal.footprint, background, int(buffer.index[unsettled[0]]))
    history = cells.history[k, slots] = buffer.past_of(cells, background, k)
    noise, low, level = initial_levels(history)
    for name, value in {"noise": noise, "baseline": level, "low": low, "previous": history[0]}.items():
        for when in ("live", "late"):
            getattr(cells, f"{when}_{name}")[k] = value
    cells.late_previous[k] = history[-len(unsettled)]
    cells.g[k], cells.fit[k] = deconvolution.g, proposal.correlation
    cells.activity[k], cells.level[k] = history[-1], history.mean()
    trace = deconvolution.update_history(cells, k, history)
    cells.moment[k] = cells.learned[k] = proposal.moment
    cells.gathered[k] = (proposal.slope - proposal.footprint) * np.float32(proposal.moment)
    buffer.subtract(cells, k, proposal.activity)
    past = _binned_history(buffer, trace, proposal.activity)
    add_history_evidence(cells, k, past, proposal.activity, buffer.count // buffer.bin_frames)
    return k


def _binned_history(buffer: Buffer, trace: np.ndarray, activity: np.ndarray) -> np.ndarray:
    """Activity (bins,) from the trace (frames,) where frames are buffered, before them from the proposal (bins,)."""
    frames = buffer.bin_frames
    complete = trace[: len(trace) - buffer.count % frames]
    bins = complete[len(complete) % frames :].reshape(-1, frames).sum(1) / np.sqrt(frames)
    return np.concatenate((activity[: len(activity) - len(bins)], bins))
