"""Floor 2: SOFI: cumulants, images reconstructed from them, bleaching correction. It may import core and pixels.

sofi                  the operator
sums                  power sums about a pivot         product_sums        sums of products over pixels and frames
batches               sums over time, for errors       bleaching_segments  cumulants averaged over segments
segment_sums          sums over a segment and its trend
lagged                cumulants between frames         crossed             cumulants between pixels, virtual pixels
results               snapshots computed from the sums
reconstruct, debleach       operators             signs               of a cumulant where there is light
statistics, bleaching, deconvolution, images      batch functions
"""

from . import debleach, reconstruct, sofi

__all__ = ["debleach", "reconstruct", "sofi"]
