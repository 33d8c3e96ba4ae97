"""What numba compiles, as it happens: for messages that say what a first run waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from numba.core import event

from .power_sums import accumulate


@contextmanager
def compiles_told(tell: Callable[[str], None]) -> Iterator[None]:
    """Call `tell` with the name of each kernel of ours before it is compiled in this process; one found is not told."""
    listener = _Told(tell)
    event.register("numba:compile", listener)
    try:
        yield
    finally:
        event.unregister("numba:compile", listener)


def cache_folder() -> Path | None:
    """Return where compiled kernels of this room are kept, those of others lie likewise; None: they are not kept."""
    folder = accumulate.stats.cache_path
    try:
        TemporaryFile(dir=folder).close()
    except OSError:
        return None
    return None if folder is None else Path(folder)


class _Told(event.Listener):
    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def on_start(self, event: event.Event) -> None:
        function = event.data["dispatcher"].py_func
        if not function.__module__.startswith("numba."):
            self._tell(function.__name__.strip("_"))

    def on_end(self, event: event.Event) -> None:
        pass
