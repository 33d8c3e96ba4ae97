"""Numba kernels of source extraction and deconvolution.

Arrays and named tuples of arrays in, results written in place; no GIL, cached. They import kernels of this room and of
`pixels` alone. The operator compiles every kernel for its array types while it is built, so that no frame waits.
"""

from ...pixels.kernels import shared_cache as shared_cache
