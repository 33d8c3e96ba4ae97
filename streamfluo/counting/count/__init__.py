"""How many fluorophores each spot has, while it blinks."""

from .operator import Count
from .params import CountParams

__all__ = ["Count", "CountParams"]
