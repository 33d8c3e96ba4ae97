"""Values of one frame as it comes: activity, demixed and deconvolved, and ΔF/F of every component."""

from typing import Any, NamedTuple

import numpy as np

from ...pixels.kernels.kernel import kernel
from .demixing import demix_background, demix_frame
from .spikes import deconvolve_samples


class Following(NamedTuple):
    """Of each component, updated in place: activity summed over the bin, demixed and deconvolved (K,); `history` of
    demixed activity and `product` of the footprint with the frames (K, n), of which column `slot` is this frame's. F0
    under the footprints is `resting` (K,)."""

    bin_sum: Any
    bin_trace: Any
    history: Any
    product: Any
    slot: Any
    resting: Any


@kernel
def follow_frame(frame, design, estimate, deconvolution, following, out):  # type: ignore[no-untyped-def]
    """Demix a frame and deconvolve its activity; write trace, raw activity, spikes and ΔF/F to out (4, K).

    frame: pixels (p,) in steps, their scale, products with the background modes (M,), and sweeps. Fields of `Design`.
    estimate: activity (K,) and modes (M,), updated. deconvolution: fields of `Levels` and of `Pools`, λ in noise σ, and
    the least F0 to divide by [σ]: below it ΔF/F is NaN. Of pieces of one signal `share` (K,) and the row of the whole,
    −1 of others: the whole has the sum of its share and theirs. In one call, as each reads the components anew: as ten
    it took three times as long.
    """
    (pixels, scale, mode_products, sweeps), (activity, modes) = frame, estimate
    products = np.empty(len(activity))
    demix_frame(pixels, scale, design, mode_products, sweeps, (activity, modes, products))
    _values(design, (activity, modes, products), deconvolution, following, out)


@kernel
def follow_products(frame, design, estimate, deconvolution, following, out):  # type: ignore[no-untyped-def]
    """`follow_frame` of products with a frame that are known: of the footprints (K,), of the modes (M,), and sweeps."""
    (products, mode_products, sweeps), (activity, modes) = frame, estimate
    demix_background(products, mode_products, design[1], design[2], sweeps, (activity, modes, products))
    _values(design, (activity, modes, products), deconvolution, following, out)


@kernel
def _values(design, estimate, deconvolution, following, out):  # type: ignore[no-untyped-def]
    """Deconvolve the activity of a frame that is demixed, and write its values."""
    activity, modes, products = estimate
    levels, pools, sparsity, least = deconvolution
    (bin_sum, bin_trace, history, product, slot, resting), (share, wholes) = following
    _, _, _, baseline, low = levels
    now, given = np.empty((2, len(activity))), activity.copy()
    for k in range(len(activity)):
        if wholes[k] >= 0:
            given[wholes[k]] = share[wholes[k]] * activity[wholes[k]]
    for k in range(len(activity)):
        if wholes[k] >= 0:
            given[wholes[k]] += share[k] * activity[k]
    deconvolve_samples(given, np.ones(len(activity), np.bool_), levels, pools, sparsity, now)
    energy, mode_overlap = design[1][0], design[2][0]
    for k in range(len(activity)):
        raw = activity[k]
        history[k, slot], product[k, slot] = raw, products[k]
        bin_sum[k] += raw
        bin_trace[k] += now[0, k]
        out[0, k], out[2, k] = now[0, k], now[1, k]
        base = resting[k] + low[k]
        for m in range(len(modes)):
            base += mode_overlap[k, m] * modes[m] / energy[k]
        out[1, k] = given[k] - baseline[k]
        out[3, k] = (given[k] - low[k]) / base if base >= least else np.nan
