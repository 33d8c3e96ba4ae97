"""Verifying sessions: whether what lies on the disk is what was written, is all of it, and comes out again.

findings       what a check may find, and how bad that is
completeness   every frame accounted for, values of each frame of which a step should have given some
reopened       what a session was made of, opened again: config, frames, chain
recomputed     values and snapshots again from the frames, by the session's own config
parts_again    the same of a session that was made in parts, in the same parts
differing      where these are others than the session has
copies         exported copies and corrected movies against the session
verifying      one session through all of this
"""
