"""SOFI: cumulants of blinking, and what frames need before them.

operator.py   the operator: what it gives and how
sums.py       power sums about a pivot       products.py   sums of products over pixels and frames
batches.py    how sums grew, for errors      segments.py   cumulants averaged over bleaching segments
lagged.py     cumulants between frames       crossed.py    cumulants between pixels, and the grid of virtual ones
"""

from .operator import Sofi

__all__ = ["Sofi"]
