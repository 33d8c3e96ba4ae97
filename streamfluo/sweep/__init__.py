"""Sweeps: a config over a grid of parameters, and how what it finds depends on them. Floor 5, above reprocess.

grid         what is swept, checked before anything begins; the changes and the name of each combination
table        a row for each combination and recording: what its session measured, and how near the truth it is
report       the picture of that
cells_truth, spots_truth, truth     scores of simulated recordings
"""
