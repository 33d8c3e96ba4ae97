"""Floor 0: the words everything else is written in.

What lives here: spec and camera, block, operator contract, state, params and registry, the fixed frame grid, the
wire's bytes (no sockets), errors. It may import numpy and msgspec, and nothing of ours from other floors.
"""
