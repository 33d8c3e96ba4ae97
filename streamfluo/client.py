"""Talking to a running program: its status, previews and results, frames for it; names load on first use."""

from .core.lazy import lazy_names

__getattr__, __all__ = lazy_names(
    {
        "network.client": ("PreviewSubscriber", "ResultsSubscriber", "ask"),
        "network.control_client": ("Control",),
        "network.sender": ("FrameSender",),
    }
)


def __dir__() -> list[str]:
    return __all__
