"""Where the command line prints: results to stdout, errors to stderr, and one progress bar for long work."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

# Names, units and messages hold brackets, so markup is off; a file or pipe gets wide lines.
console = Console(width=None if sys.stdout.isatty() else 140, highlight=False, markup=False)
errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:6.0f} frames/s" if task.speed else "")


def frame_progress() -> Progress:
    """Return a progress bar in frames with rate, remaining time and a note; silent where stdout is no terminal."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.fields[of]}"),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


@contextmanager
def stop_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on the first and the second Ctrl-C or SIGTERM; a third one acts as usual."""
    calls = 0

    def handle(number: int, _: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            for other, handler in before.items():
                signal.signal(other, handler)
        stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
