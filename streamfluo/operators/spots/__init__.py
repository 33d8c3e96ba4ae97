"""Spots: found, fitted and integrated while frames arrive.

settings   parameters, and what they say of camera, psf and method
places     where spots are known to be: arrays, files, earlier sessions
looking    spots found on running means, and kept
histogram  photons of all spots so far
operator   the operator
"""

from .operator import Spots

__all__ = ["Spots"]
