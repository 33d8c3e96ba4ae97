"""Source extraction: `operator` is what a chain runs, `extraction` what is done with each frame.

`scene` (or `ring`) is what lies behind the cells, `components` the cells with all that is kept of them in `columns`,
`buffer` the frames kept. `detection` finds places, `proposal` looks closely, `birth` makes cells of them, `seeds` are
known before; `learning` refines and judges; `calcium` deconvolves, `settling` does so for good; `readout` shows.
"""

from .operator import Extract

__all__ = ["Extract"]
