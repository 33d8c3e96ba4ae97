"""Floor 4: what a person starts.

What lives here: the command line, one file a verb (`cli.py` puts them together), and the pictures they leave. It may
import everything below.
"""
