"""Numba kernels of source extraction and deconvolution.

Arrays and tuples of arrays in, results written in place; no GIL, cached. They import kernels of this room and of
`pixels` alone. The operator compiles every kernel for its array types while it is built, so that no frame waits.

A named tuple declares which arrays travel together. Callers pass its fields as a plain tuple, which numba takes from
Python in 1.2 µs where a named tuple of the same eleven arrays takes 3.6 µs. Kernels unpack it before they loop: a field
read in a loop is reference-counted each time (`deconvolve_samples` of 279 traces: 65 µs, unpacked 36 µs).
"""
