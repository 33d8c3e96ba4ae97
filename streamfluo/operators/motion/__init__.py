"""Motion correction: `operator` is what a chain runs, `template` measures shifts, `search` finds lost frames."""

from .operator import Motion

__all__ = ["Motion"]
