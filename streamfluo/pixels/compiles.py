"""What is compiled as it happens, and where it is kept, for those who import no kernels."""

from .kernels.cache_misses import misses_asked
from .kernels.compiles import cache_folder, compiles_told

__all__ = ["cache_folder", "compiles_told", "misses_asked"]
