"""Floor 4: looks at a recording and proposes a config. It may import core, pixels, the sciences and sources.

advise        the whole of it: findings, each a sentence with its number, and the config
sample        the frames that are looked at: runs spread over the recording, in bounded memory
shifts        motion, by the operator `motion`
fluctuations  what changes from frame to frame beyond noise, and over which distance
cell_size     the size of what changes: around active places, and by the autocorrelation of the field
decay         the decay time of transients, by `extract`'s estimator
light         bleaching, saturation, hot and dead pixels, gain
lines         lines shifted by bidirectional scanning
interleaved   planes that a file does not declare
job           which job a recording is for
proposal      the config as TOML
"""
