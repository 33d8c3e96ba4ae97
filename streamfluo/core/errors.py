"""Everything streamfluo raises on purpose.

    StreamfluoError
    ├── ConfigError     a config, a parameter or a chain that does not fit together   (also a ValueError)
    ├── FrameError      a spec, a block or an array of the wrong shape or type         (also a ValueError)
    ├── SourceError     a file, a stream or a camera that cannot be opened or read
    ├── WireError       bytes that do not keep the protocol; `.kind` names which rule
    ├── SessionError    a session folder that cannot be written, read or resumed
    └── StateError      a state that does not belong to the operator it is given to

A message says where, what is wrong, what was found, what to do, in one line.
"""

import difflib
from collections.abc import Iterable


class StreamfluoError(Exception):
    """Base of every error streamfluo raises on purpose."""


class ConfigError(StreamfluoError, ValueError):
    """A config, a parameter or a chain that does not fit together."""


class FrameError(StreamfluoError, ValueError):
    """A spec, a block or an array of the wrong shape or type."""


class SourceError(StreamfluoError):
    """A file, a stream or a camera that cannot be opened or read."""


class WireError(StreamfluoError):
    """Bytes that do not keep the protocol; `kind` is the counter the message goes into."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class SessionError(StreamfluoError):
    """A session folder that cannot be written, read or resumed."""


class StateError(StreamfluoError):
    """A state that does not belong to the operator it is given to."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest of `known`, else the list of what there is."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there is {', '.join(map(repr, known))}" if known else ""
