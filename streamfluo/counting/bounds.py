"""Bounds of the model parameters for a set of traces, and the reasons why a trace cannot be counted."""

from __future__ import annotations

import numpy as np

from .kernels.likelihood import Array

MIN_NOISE_E = 1e-3


def parameter_bounds(intensity: Array, camera: bool, bleaching: bool, read_noise_e: float | None = None) -> Array:
    """Return the bounds (6, 2) of mu, mu_bg, sigma, p_on, p_off, p_bleach for traces (t, n).

    camera: electrons under the camera emission. read_noise_e [e]: sigma, where it is known.
    """
    low, high = float(np.nanmin(intensity)), float(np.nanmax(intensity))
    span = high - low
    background = (low - span, high) if camera else (1e-3 * low, high)
    sigma = (1e-3 * span, span) if camera else (1e-4, 2.0)
    if camera and read_noise_e is not None:
        sigma = (max(read_noise_e, MIN_NOISE_E),) * 2
    bleach = (1e-7, 0.5) if bleaching else (0.0, 0.0)
    return np.array([(1e-3 * span, 2 * span), background, sigma, (1e-5, 0.99), (1e-5, 0.99), bleach])


def min_frames(bleaching: bool) -> int:
    """Return the number of frames that a trace needs: one more than the model has parameters."""
    return 7 if bleaching else 6


def trace_error(trace: Array, emission: str, offset: float = 0.0) -> str:
    """Return the reason why a trace (t,) cannot be counted; empty: it can. `offset` [ADU] is the camera's."""
    if not np.isfinite(trace).all():
        bad = np.flatnonzero(~np.isfinite(trace))
        return f"has {len(bad)} values that are not finite, the first at frame {bad[0]}; cut or fill them"
    if trace.max() == trace.min():
        return f"is constant at {trace[0]:g}; an emitter that never blinks cannot be counted"
    if emission == "lognormal" and trace.min() <= 0:
        return (
            f"has intensities down to {trace.min():g}, of which emission = 'lognormal' has no logarithm; "
            "use emission = 'camera', or subtract less background"
        )
    if emission == "camera" and trace.max() <= offset:
        return f"is never above the camera's offset_adu = {offset:g}; check camera"
    return ""
