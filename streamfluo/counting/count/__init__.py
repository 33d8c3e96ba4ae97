"""The posterior number of fluorophores in each spot, online."""

from .operator import Count
from .params import CountParams

__all__ = ["Count", "CountParams"]
