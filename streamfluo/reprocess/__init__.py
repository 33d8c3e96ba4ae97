"""Reprocessing: one chain over many recordings, side by side, each a session like that of a single run.

recordings       which recordings there are, and the name of each one's session
one_recording    one of them run to its end, wherever that is; one that was run before is left alone
in_parts         one long recording cut into parts, whose states merge
cluster          the workers: processes of this machine or of others, by Dask
reprocessing     all recordings over all workers; what became of each
"""
