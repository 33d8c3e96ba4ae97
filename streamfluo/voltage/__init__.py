"""Floor 2: voltage imaging: spikes and subthreshold of cells at hundreds of frames a second.

It may import core and pixels.

voltage      the operator `voltage`; params: its parameters
contexts     the features of a cell and of what surrounds it
passes       weights, matched filter and threshold, learned anew in passes
proposals    cells proposed from summary images
"""

from . import voltage

__all__ = ["voltage"]
