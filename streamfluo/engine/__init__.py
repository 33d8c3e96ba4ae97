"""Floor 4: a stream from its source to a session. It may import everything below but the sciences.

config     the TOML file        chain        the tree of steps        ring_buffer    between source and threads
engine     the threads          publisher    results for viewers      refined_session    a recorded run again

Operators and what reads their results come through the registry.
"""
