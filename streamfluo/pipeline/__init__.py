"""Floor 3: a stream from its source to a session.

What lives here: config (TOML), chain (the tree of steps), ring (the one buffer between threads), engine (the
threads), session (the folder a run leaves), health (counters). It may import core and edges; operators come only
through the registry.
"""
