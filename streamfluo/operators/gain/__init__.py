"""Gain, offset and read noise by photon transfer: the operator, what it is told of the dark, medians for comparison."""

from .operator import Gain, GainParams

__all__ = ["Gain", "GainParams"]
