"""The steps that a job needs, with the parameters that were measured."""

from __future__ import annotations

import math
from typing import Any

from .job import STILL_PX
from .seen import Seen
from .shifts import Shifts

PIECEWISE_PX = 0.4  # rms of what patches move on their own, from which a rigid shift is not enough
LARGEST_STILL_PX = 0.5
USUAL_PSF_PX = 1.3
SIGMA_OF_BASE = 0.355  # where F1 is highest: at 1.3 times the simulated cells' sigma, whose base is 3.8 sigma wide
LEAST_SIGMA_PX, MOST_SIGMA_PX = 1.0, 40.0


def proposed_steps(seen: Seen) -> list[dict[str, Any]]:
    """Return the steps of the config; none where the job cannot be told."""
    kind = seen.job.kind
    if kind.startswith("calcium"):
        steps = [*_motion(seen), {"kind": "extract", "params": extract_params(seen)}]
    elif kind == "sofi":
        steps = [
            {"kind": "sofi", "params": {"order": 4, "cross": 1, "bleach_fraction": 0.1}},
            {"kind": "reconstruct", "params": {
                "order": 4, "grid": True, "factor": 1, "psf": "estimate", "iterations": 20,
            }},
        ]  # fmt: skip
    elif kind == "spots":
        known = math.isfinite(sigma := seen.evidence.spots.sigma_px)
        found: dict[str, Any] = {"sigma_px": round(min(max(sigma, 0.5), 5.0), 2) if known else USUAL_PSF_PX}
        stays = seen.evidence.spots.stay > 0.5
        steps = [{"kind": "spots", "params": found | ({"detect": "mean"} if stays else {})}]
        steps += [] if stays else [{"kind": "render"}]
    elif kind == "calibrate":
        steps = [{"kind": "gain"}]
    else:
        return []
    if len(seen.sample.planes) > 1:
        channel = seen.sample.plane.partition("/")[0] or seen.sample.plane
        steps = [{**step, "planes": [channel]} for step in steps]
    return steps


def extract_params(seen: Seen) -> dict[str, Any]:
    """Return the parameters of `extract`: the cells' size, and the decay time where it is determined."""
    params: dict[str, Any] = {}
    if math.isfinite(seen.size.likely_px):
        wide = SIGMA_OF_BASE * seen.size.base_px
        params["neuron_sigma_px"] = round(min(max(wide, LEAST_SIGMA_PX), MOST_SIGMA_PX), 1)
    decay_s, reason = seen.decay
    if not reason:
        params["decay_s"] = decay_s
    return params


def _motion(seen: Seen) -> list[dict[str, Any]]:
    shifts = seen.shifts
    if shifts.reason or not moves(shifts):
        return []
    params: dict[str, Any] = {"max_shift_px": max(5, math.ceil(2 * shifts.largest_px))}
    if seen.parts_px > PIECEWISE_PX:
        params["mode"] = "piecewise"
    if seen.job.kind == "calcium_1p" and math.isfinite(seen.size.likely_px):
        params["highpass_sigma_px"] = round(max(2.0, seen.size.likely_px / 2), 1)
    return [{"kind": "motion", "params": params}]


def moves(shifts: Shifts) -> bool:
    """Whether there is motion to correct."""
    return max(shifts.rms_px) > STILL_PX or shifts.largest_px > LARGEST_STILL_PX
