"""Numba kernels of photon transfer.

Arrays and named tuples of them in and out, no GIL, cached; the counterpart for another device is `name_gpu.py`. They
import kernels of this room and of `pixels` alone. An operator calls its kernels on empty cells while it is built, with
the array types it will use: nothing compiles once frames flow.
"""
