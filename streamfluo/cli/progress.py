"""The bars that show how far long work has come; in a file of their own, as the library takes 25 ms to load."""

from __future__ import annotations

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from .console import console


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.0f}/s" if task.speed else "", no_wrap=True)


def frame_progress() -> Progress:
    """Return a progress bar in frames with rate, remaining time and a note; silent where stdout is no terminal."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),  # with what was found it fits eighty columns
        TextColumn("{task.completed:.0f}/{task.fields[of]}"),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


def step_progress() -> Progress:
    """Return a progress bar in steps with the remaining time; silent where stdout is no terminal."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
