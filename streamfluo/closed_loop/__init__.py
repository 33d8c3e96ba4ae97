"""Floor 2: closed loops: what is decided by values, within the frame. It may import core.

trigger            the operator
condition          the language of its conditions      condition_nodes    what they are made of
"""

from . import trigger

__all__ = ["trigger"]
