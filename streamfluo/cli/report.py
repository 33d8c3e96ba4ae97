"""`streamfluo report`: a session as one page to hand in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import SessionError
from ..session.reader import open_session
from .console import console
from .progress import step_progress


def report(
    session: Annotated[Path, typer.Argument(help="the session folder", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="file to write [default: SESSION-report.html]")] = None,
) -> None:
    """Write what ran and what it found as one HTML file: pictures, numbers, losses, parameters, provenance."""
    from ..report.page import write_page  # matplotlib, which other commands need not wait for

    opened = open_session(session)
    resolved = session.resolve()
    out = out or resolved.with_name(f"{resolved.name}-report.html")
    try:
        with step_progress() as bar:
            task = bar.add_task("reading the session", total=None)
            page = write_page(
                opened, out, lambda step, done, of: bar.update(task, description=f"{step}", completed=done, total=of)
            )
    except OSError as error:
        raise SessionError(f"report: {out} cannot be written: {error.strerror or error}") from None
    console.print(f"report: {page}", soft_wrap=True)
