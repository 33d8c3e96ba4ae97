"""How near to the truth a session of a simulated recording is, in numbers by name."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from ..session.reader import Session
from .cells_truth import RATE_FRAMES, Comparison
from .spots_truth import matched

CELLS, SPOTS = {"A_data", "A_indices", "A_indptr", "A_shape", "C", "spikes", "shift_px"}, {"frame", "y_px", "x_px"}
log = logging.getLogger(__name__)


def against_truth(session: Session, truth: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return scores of a session's steps against what the simulation knew; nothing where it is another one.

    f1, precision, recall of cells (masks that share half of their union), traces_r and spikes_r the median correlations
    of pairs; shift_error_px; of spots found_share, false_a_frame, error_px of lone ones, photons_bias.
    """
    kinds = {facts.kind: step for step, facts in reversed(list(session.steps.items()))}
    found: dict[str, float] = {}
    try:
        if truth.keys() >= CELLS and kinds.keys() & {"extract", "motion"}:
            found |= _cells(session, truth)
        if truth.keys() >= SPOTS and "spots" in kinds:
            found |= _spots(session, truth, kinds["spots"])
    except Exception as error:  # a truth of another version must not cost the table
        log.warning("%s: not compared with its truth: %s: %s", session.path, type(error).__name__, error)
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _cells(session: Session, truth: Mapping[str, np.ndarray]) -> dict[str, float]:
    seen = Comparison(session, truth)
    found = {"shift_error_px": seen.shift_error_px}
    if seen.cells is not None:
        found["f1"], found["precision"], found["recall"] = seen.f1
        found["traces_r"] = seen.correlation("C", "traces")
        found["spikes_r"] = seen.correlation("spikes", "spikes", RATE_FRAMES)
    return found


def _spots(session: Session, truth: Mapping[str, np.ndarray], step: str) -> dict[str, float]:
    seen = matched(session, truth, step)
    found = {"found_share": seen.hits / max(seen.true, 1), "false_a_frame": seen.false / max(session.frames, 1)}
    if len(seen.photons):
        found["error_px"] = float(np.sqrt(np.mean(seen.error_px**2)))
        found["photons_bias"] = float(np.median(seen.photons[:, 1] / seen.photons[:, 0])) - 1
    return found
