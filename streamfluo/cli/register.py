"""`streamfluo register`: the same cells in sessions of several days."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.table import Table

from ..core.errors import SessionError
from ..session.reader import open_session
from .console import console, counted
from .progress import step_progress

if TYPE_CHECKING:
    from ..calcium.across_days.registered import RegisteredDays


def register(
    sessions: Annotated[list[Path], typer.Argument(help="session folders of one field", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="folder to write [default: FIRST-registered]")] = None,
    step: Annotated[
        str | None, typer.Option(help="the step that extracts, where there are several: green/0/extract")
    ] = None,
    max_turn_deg: Annotated[float, typer.Option(help="largest rotation between days [°]")] = 25.0,
    picture: Annotated[bool, typer.Option(help="draw each day over the first")] = True,
) -> None:
    """Match the fields and the cells of several days: an id for each cell that holds on all of them, with its
    probability."""
    from ..calcium.across_days.registration import register_sessions  # scipy, which other commands need not wait for

    opened = [open_session(path) for path in sessions]
    resolved = sessions[0].resolve()
    folder = out or resolved.with_name(f"{resolved.name}-registered")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):  # a session, or other days with pictures
        raise SessionError(f"register: {folder}: exists and is not empty; name another --out")
    with step_progress() as bar:
        task = bar.add_task("matching fields", total=None)
        found = register_sessions(
            opened, step, max_turn_deg=max_turn_deg,
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        )  # fmt: skip
        _write(found, folder, picture)
    _report(found)
    console.print(f"register: {folder}", soft_wrap=True)


def _write(found: RegisteredDays, folder: Path, picture: bool) -> None:
    """Write the files, all of them or none."""
    part = folder.with_name(f"{folder.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)  # of one that was killed
        found.save(part)
        if picture:
            _draw(found, part)
        if folder.exists():
            folder.rmdir()
        part.rename(folder)
    except OSError as error:
        raise SessionError(f"register: {folder} cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _draw(found: RegisteredDays, folder: Path) -> None:
    from ..calcium.across_days.report import draw_overlay

    for day in range(1, len(found.names)):
        draw_overlay(found, folder / f"overlay-{day + 1}.png", day)


def _report(found: RegisteredDays) -> None:
    """Print a row for each day, what was left out and why, and how many cells there are."""
    table = Table("session", "components", "on other days", "turned", "field", "residual", "above chance", box=None)
    for n, name in enumerate(found.names):
        here = found.day == n
        row = [name, str(here.sum()), str((found.days[here] > 1).sum())]
        if n:
            match = found.matches[name]
            residual, sigma = f"{match.residual_px:.2f} px", f"{match.evidence.sigma:.0f} σ"
            row += [f"{match.map.turn_deg:.1f}°", match.model, residual, sigma]
        table.add_row(*row)
    console.print(table)
    for name, why in found.failed.items():
        console.print(f"left out: {name} does not match: {why}", soft_wrap=True)
    if found.doubt:
        console.print(f"doubtful: {found.doubt}", soft_wrap=True)
    several = np.unique(found.cell[found.days > 1])
    every = np.unique(found.cell[found.days == len(found.names)])
    on_all = f", {len(every)} on all {len(found.names)} days" if len(found.names) > 2 else ""
    console.print(f"{counted(len(np.unique(found.cell)), 'cell')}, {len(several)} on more than one day{on_all}")
