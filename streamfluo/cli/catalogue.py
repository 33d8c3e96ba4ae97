"""`streamfluo catalogue`: the sessions of a facility in one file, as pages, and how rigs change."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table
from typer.core import TyperGroup

from ..core.findings import spelled
from .console import console, counted, one_line
from .progress import step_progress

TOLD = 20  # sessions one by one


class _ScansByDefault(TyperGroup):
    """`catalogue DIR` is `catalogue scan DIR`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return super().resolve_command(ctx, args if args and args[0] in self.commands else ["scan", *args])


app = typer.Typer(
    cls=_ScansByDefault,
    no_args_is_help=True,
    help="Keep the sessions of a folder in one file to search and to look through: catalogue DIR.",
)
Where = Annotated[Path, typer.Argument(help="the catalogue, or the folder it was made of")]


def file_of(where: Path) -> Path:
    """Return the catalogue's file: itself, or the one in a folder."""
    from ..catalogue.database import FILE

    return where / FILE if where.is_dir() else where


@app.command()
def scan(
    folder: Annotated[Path, typer.Argument(help="the folder with sessions in it or below it", show_default=False)],
    to: Annotated[Path | None, typer.Option(help="the catalogue's file [default: DIR/catalogue.sqlite]")] = None,
) -> None:
    """Read the sessions below a folder into a catalogue, those alone that changed since; `scan` may be left out."""
    from ..catalogue.database import FILE
    from ..catalogue.scan import scan as scanned

    file = to or folder / FILE
    with step_progress() as bar:
        task = bar.add_task("reading sessions", total=None)
        found = scanned(folder, file, lambda done, of: bar.update(task, completed=done, total=of))
    said = [f"{len(found.new)} new", f"{len(found.changed)} read again", f"{len(found.same)} unchanged"]
    said += [f"{len(found.moved)} moved"] if found.moved else []
    said += [f"{len(found.gone)} gone"] if found.gone else []
    said += [f"{len(found.running)} running"] if found.running else []
    total = len(found.new) + len(found.changed) + len(found.same) + len(found.moved)
    console.print(f"catalogue: {file}: {counted(total, 'session')}: {', '.join(said)}", soft_wrap=True)
    _tell("moved", [f"{before} is now {after}" for before, after in found.moved])
    _tell("gone", found.gone)
    _tell("unreadable", [reason if path in reason else f"{path}: {reason}" for path, reason in found.broken])
    _tell("not looked into", [f"{path}: {why}" for path, why in found.closed])


@app.command()
def add(
    session: Annotated[Path, typer.Argument(help="the session folder", show_default=False)],
    to: Annotated[Path | None, typer.Option(help="the catalogue's file [default: catalogue.sqlite beside it]")] = None,
    background: Annotated[bool, typer.Option(help="take what other programs leave of the machine")] = False,
) -> None:
    """Read one session into a catalogue, as the daemon does with each that is over."""
    from ..catalogue.database import FILE
    from ..catalogue.entry import UNREADABLE
    from ..catalogue.scan import add as added
    from ..engine.low_priority import step_back

    if background:
        step_back()
    file = to or session.resolve().parent / FILE
    entry = added(session, file)
    why = f": {entry.fields['reason']}" if entry.fields["state"] == UNREADABLE else ""
    said = f"catalogue: {file}: {entry.fields['name']}: {entry.fields['state']}{why}"
    console.print(one_line(said), soft_wrap=True)


@app.command()
def page(
    where: Where = Path(),
    to: Annotated[Path | None, typer.Option(help="folder to write [default: beside the file, NAME-page]")] = None,
) -> None:
    """Write a catalogue as HTML to look through: previews, figures, filters; it needs no server."""
    from ..catalogue.page import write_page

    file = file_of(where)
    out = to or file.with_name(f"{file.stem}-page")
    count = write_page(file, out)
    console.print(f"page: {out / 'index.html'}: {counted(count, 'session')}", soft_wrap=True)


@app.command()
def trends(
    where: Where = Path(),
    measure: Annotated[
        list[str] | None, typer.Option(help="figures to look at, extract.snr [default: what a rig does, not a sample]")
    ] = None,
    by: Annotated[str, typer.Option(help="what tells rigs apart: rig, camera, host, source, user.KEY")] = "rig",
    only: Annotated[list[str] | None, typer.Option("--where", help="conditions, as of streamfluo find")] = None,
    since: Annotated[str | None, typer.Option(help="sessions begun then or later: 2026-11")] = None,
    to: Annotated[
        Path | None, typer.Option(help="picture to write [default: beside the file, NAME-trends.png]")
    ] = None,
) -> None:
    """Say which figures of a rig drift, have stepped, or are outside their limits, over weeks and months."""
    from ..catalogue.find import Query
    from ..catalogue.report import draw_trends
    from ..catalogue.trend import MIN_DAYS
    from ..catalogue.trends import trends_in

    file = file_of(where)
    found = trends_in(file, Query(where=only or (), since=since), measure or (), by)
    table = Table(by, "step", "figure", "sessions", "days", "median", "says", box=None)
    told = [figure for figure in found if figure.trend.verdict != "undetermined"]
    for figure in told:
        days, middle = str(len(figure.trend.day)), spelled(float(np.median(figure.trend.value)))
        table.add_row(figure.group, figure.step, figure.name, str(figure.sessions), days, middle, figure.said)
    if told:
        console.print(table)
    if len(told) < len(found):
        few = counted(len(found) - len(told), "figure")
        console.print(f"{few} on fewer than {MIN_DAYS} days: nothing can be told of them yet")
    out = to or file.with_name(f"{file.stem}-trends.png")
    drawn = draw_trends(found, out)
    warned = sum(figure.warns for figure in found)
    console.print(f"trends: {counted(len(found), 'figure')}, {warned} to look at; {drawn} drawn: {out}", soft_wrap=True)


def _tell(what: str, lines: list[str]) -> None:
    for line in lines[:TOLD]:
        console.print(f"{what}: {one_line(line)}", soft_wrap=True)
    if len(lines) > TOLD:
        console.print(f"{what}: and {len(lines) - TOLD} more")
