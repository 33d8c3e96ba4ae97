"""Online source extraction; `operator` is what a chain runs, `extraction` processes each frame.

`background` (with `ring_background`) models mean, noise and background; `components` holds the footprints and
statistics as rows of `columns`; `buffer` keeps recent frames. `detection` finds candidates, `proposal` segments their
footprints, `acceptance` turns them into components, `seeds` supplies known ones. `footprint_update` refines and
removes components; `activity` deconvolves; `settled_traces` gives final values; `results` builds snapshots, `tables`
holds rows until they are given; `afterwards` does what a frame's values need not wait for; `initialisation` compiles
the kernels.
"""

from .operator import Extract

__all__ = ["Extract"]
