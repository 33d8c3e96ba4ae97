"""Numba kernels of SOFI.

Plain arrays in and out, no GIL, cached; a twin for another device is `name_gpu.py`. They import kernels of this
science and of `pixels` alone. An operator calls its kernels on empty cells while it is built, with the array types it
will use: nothing compiles once frames flow.
"""
