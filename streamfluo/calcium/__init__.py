"""Floor 2: calcium imaging: online source extraction and deconvolution. It may import core and pixels.

extract/                 the operator `extract`
regions                  the operator `regions`, for areas that are given
extracted_components     the result of a session's `components()`
deconvolve               batch deconvolution of one trace
summary_images           local correlation, peak-to-noise ratio, masks from a structural channel
"""

from . import extract, regions

__all__ = ["extract", "regions"]
