"""Numba kernels of voltage imaging.

One kernel follows all cells frame by frame, so that results cannot depend on how frames were cut into blocks. Frames
are float32 and everything carried float64: one compilation.
"""
