"""Floor 5: what a person starts: one file a command, put together in `cli.py`. A command parses, calls and prints."""
