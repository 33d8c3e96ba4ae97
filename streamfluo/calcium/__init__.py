"""Floor 2: calcium imaging: online source extraction and deconvolution. It may import core and pixels.

extract/                 the operator
extracted_components     what a session's `components()` returns
deconvolve               the batch deconvolution of one trace
summary_images           local correlation, peak to noise, masks of a structural channel
"""

from . import extract

__all__ = ["extract"]
