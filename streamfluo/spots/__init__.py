"""Floor 2: single-molecule localisation: spots detected, fitted, integrated. It may import core and pixels.

spots               the operator; params: its parameters, and the kernels' camera, PSF and method
render              the operator that draws the super-resolved picture; recent: how dense spots were lately
places              known positions of spots, and their neighbours
detection_passes    detection on running means, at one false-alarm rate over all passes
histogram           histogram of all photon counts so far
compile_parts       kernels compiled in parts, by several processes
find_spots, fit_spots, integrate_crops      batch functions
localisations       localisation tables in the columns of other programs
"""

from . import render, spots

__all__ = ["render", "spots"]
