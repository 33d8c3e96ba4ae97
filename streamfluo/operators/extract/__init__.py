from .operator import Extract

__all__ = ["Extract"]
