"""Floor 2: the operators' science as batch functions on arrays, for notebooks.

    from streamfluo.analysis import deconvolve, local_correlation, peak_to_noise, masks_from_structure

One subject a file; may import core and kernels.
"""

from .deconvolution import Deconvolved, deconvolve
from .summary_images import local_correlation, masks_from_structure, peak_to_noise

__all__ = ["Deconvolved", "deconvolve", "local_correlation", "masks_from_structure", "peak_to_noise"]
