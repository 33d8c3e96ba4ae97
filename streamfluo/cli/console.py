"""Where the command line prints: results to stdout, errors to stderr, and one progress bar for long work."""

from __future__ import annotations

import io
import logging
import signal
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from ..core.later import end

_KEPT = {"\n", "\t"}


def printable(text: str) -> str:
    """Return text without control characters: what files and streams name must not steer the terminal.

    Each is spelt as Python spells it (`\\x1b`); so are marks that turn the direction of writing. Lines stay lines.
    """
    if text.isprintable():
        return text
    return "".join(c if c in _KEPT or not _steers(c) else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str) -> str:
    """Return text for a terminal in one line."""
    return printable(text).replace("\n", "\\n")


def _steers(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] == "C" or category in ("Zl", "Zp")


class _Console(Console):
    """Where every string passes that is printed, be it in a table, a tree or a line."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)


class LogFormatter(logging.Formatter):
    """Log lines for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


# Names, units and messages hold brackets and colons (`osc:x:` is no cross), so markup and emoji are off; a file or pipe
# gets wide lines.
console = _Console(width=None if sys.stdout.isatty() else 140, highlight=False, markup=False, emoji=False)
errors = _Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)

STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name))


def replace_unknown_characters() -> None:
    """Print `?` for what the encoding of stdout or stderr lacks, as a Windows pipe's may, instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def config_file(path: Path) -> Path:
    """Return the config to read, and say so where it is one that comes with the package."""
    from ..engine.shipped import found_config  # with numpy and more, which not every command needs

    found = found_config(path)
    if found.parent != path.parent:
        console.print(f"config: {found}", soft_wrap=True)
    return found


def counted(number: int, noun: str) -> str:
    """Return `1 gap`, `2 gaps`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


@contextmanager
def stop_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on the first and the second Ctrl-C, SIGTERM or (Windows) Ctrl-Break; a third one acts as usual."""
    calls = 0

    def handle(number: int, _: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            end()
            for other, handler in before.items():
                signal.signal(other, handler)
        stop()

    before = {number: signal.signal(number, handle) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
