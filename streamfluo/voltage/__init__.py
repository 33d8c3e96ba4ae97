"""Floor 2: voltage imaging: spikes and subthreshold of cells at hundreds of frames a second.

It may import core and pixels.

voltage      the operator `voltage`; params: its parameters
contexts     the features of a cell and of what surrounds it
passes       weights and matched filter, learned anew in passes
thresholds   spikes and noise told apart in the heights of peaks
proposals    cells proposed from summary images
"""

from . import voltage

__all__ = ["voltage"]
