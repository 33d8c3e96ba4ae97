"""Floor 2: calcium imaging: online source extraction and deconvolution. It may import core and pixels.

extract/                 the operator `extract`
regions, region_masks    the operator `regions`, for areas that are given
extracted_components     the result of a session's `components()`
deconvolve               batch deconvolution of one trace
summary, summary_sums    the operator `summary`, and the sums over frames that its images are made of
summary_images           the same of a movie in memory: local correlation, peak-to-noise; masks of a structural channel
"""

from . import extract, regions, summary

__all__ = ["extract", "regions", "summary"]
