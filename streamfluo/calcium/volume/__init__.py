"""The cells of a volume: sections that neighbouring slices show of one cell, joined to one trace.

operator        the operator `volume`
sections        the components of all slices, by slice and id: footprints, noise, and which lie above each other
pair_moments    running sums of pairs of traces
sameness        whether two sections are of one cell, tested against pairs that are not
membership      which sections make which cell: ids that stay
combination     one trace of several sections
volume_cells    the result of a session's `cells()`
"""

from . import operator

__all__ = ["operator"]
