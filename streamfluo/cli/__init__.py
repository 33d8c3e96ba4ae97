"""Floor 5: what a person starts: one file a command, put together in `cli.py`. A command parses, calls and prints."""

import os

# Before numpy loads. BLAS's other threads wait spinning, on the core that takes frames: a run of `count` took 8.5
# instead of 7.5 s of two cores for the same result. Whoever wants more of them states so.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
