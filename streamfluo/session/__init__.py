"""Floor 3: what a run leaves behind: a folder with frames, values, snapshots, events. Imports core, sources.

journal     raw frames        values       of every frame        checkpoint    the chain's state
step_frames a corrected movie
writer      writes them all   recording    what happens when the disk refuses
reader      reads them        source       a session as a source of frames       export    files for other programs
files       written whole     lock         held by the run that writes
"""
