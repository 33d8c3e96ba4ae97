"""Floor 1: pure functions on plain arrays, compiled by numba, cached, without the GIL.

What lives here: the inner loops, and the fits that operators and analysis share. They import nothing of ours but each
other, and nobody but operators and analysis calls them. A twin for another device stands beside its kernel
(`name_gpu.py`). An operator calls its kernels once on empty cells while it is built, with the array types it will use:
nothing compiles once frames flow.
"""
