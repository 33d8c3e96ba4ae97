"""Numba kernels of motion correction.

Arrays and named tuples of them in and out, no GIL, cached; the counterpart for another device is `name_gpu.py`. They
import kernels of this room and of `pixels` alone. An operator calls its kernels on empty cells while it is built, with
the array types it will use: nothing compiles once frames flow.
"""

from ...pixels.kernels import shared_cache as shared_cache
