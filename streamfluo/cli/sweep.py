"""What `streamfluo reprocess --sweep` says at its end: a table, printed and as CSV, and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from ..core.errors import SessionError
from ..core.findings import spelled
from ..reprocess.one_recording import Outcome
from ..sweep.grid import Axis, Point
from .console import console

PRINTED, ROWS = 5, 60  # figures beside the parameters, and rows, that are printed


def show_sweep(axes: Sequence[Axis], points: Sequence[Point], outcomes: Mapping[str, Outcome], out: Path) -> None:
    """Print the sweep's table, and write `sweep.csv` and `sweep.png` beside its sessions."""
    from ..sweep.report import draw_sweep
    from ..sweep.table import rows_of, telling, write_table

    rows = list(rows_of(points, outcomes, out))
    shown, several = telling(rows, PRINTED), len({point.recording.name for point in points}) > 1
    table = Table(box=None)
    for name in (*(["recording"] if several else []), *(axis.target for axis in axes), *shown):
        table.add_column(name, overflow="fold")
    for row in rows[:ROWS]:
        known = [spelled(row.figures[name]) if name in row.figures else "–" for name in shown]
        table.add_row(*([row.point.recording.name] if several else []), *row.values, *known)
    console.print(table)
    if len(rows) > ROWS:
        console.print(f"and {len(rows) - ROWS} more rows")
    if not shown:
        console.print("no figure depends on what was swept")
    try:
        console.print(f"table: {write_table(out / 'sweep.csv', axes, rows)}", soft_wrap=True)
        if (picture := draw_sweep(out / "sweep.png", axes, rows)) is not None:
            console.print(f"picture: {picture}", soft_wrap=True)
    except OSError as error:
        raise SessionError(f"{out}: cannot write the sweep's table: {error.strerror}") from None
