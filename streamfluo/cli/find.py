"""`streamfluo find`: sessions of a catalogue by what they are and what their steps measured."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ..core.errors import SessionError
from ..core.findings import spelled
from .catalogue import file_of
from .console import console, counted, one_line

LIMIT = 100  # rows of a table on a screen


def find(
    where_: Annotated[
        Path, typer.Argument(metavar="[CATALOGUE]", help="the catalogue, or the folder it was made of")
    ] = Path(),
    where: Annotated[
        list[str] | None, typer.Option(help='conditions: "cells > 50 and rig ~ left"; columns, figures, user.KEY')
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="begun then or later: 2026-11, 2026-11-01, 2026-11-01T14:05")
    ] = None,
    until: Annotated[str | None, typer.Option(help="begun before the end of that month, day or minute")] = None,
    step: Annotated[str | None, typer.Option(help="with a step of that kind")] = None,
    sort: Annotated[
        str, typer.Option(help="by this column or figure; numbers and times from the largest down")
    ] = "began",
    reverse: Annotated[bool, typer.Option(help="the other way round")] = False,
    columns: Annotated[str | None, typer.Option(help="what to show: began,name,cells")] = None,
    limit: Annotated[int | None, typer.Option(help="at most so many [default: 100 in a table]")] = None,
    gone: Annotated[bool, typer.Option(help="also those that are not there any more")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="print CSV, with every column")] = False,
    json: Annotated[bool, typer.Option("--json", help="print JSON, with every column and step")] = False,
) -> None:
    """List sessions of a catalogue: by date, source, losses, and what their steps measured."""
    from ..catalogue.find import Query, write_csv, write_json
    from ..catalogue.find import find as found_by

    if csv and json:
        raise SessionError("find: --csv or --json, not both")
    most = limit if limit is not None or csv or json else LIMIT
    found = found_by(file_of(where_), Query(where or (), since, until, step, sort, reverse, most, gone))
    asked = [name.strip() for name in columns.split(",")] if columns else []
    shown = found.shown(asked)
    if csv or json:
        (write_csv if csv else write_json)(found, asked, sys.stdout)
        return
    table = Table(*shown, box=None)
    for row in found.rows:
        table.add_row(*(_said(row.value(name)) for name in shown))
    console.print(table)
    more = f"; --limit {found.total} shows all" if found.total > len(found.rows) else ""
    console.print(f"{len(found.rows)} of {counted(found.total, 'session')}{more}" if more else
                  counted(found.total, "session"))  # fmt: skip


def _said(value: Any) -> str:
    if value is None:
        return ""
    return one_line(value) if isinstance(value, str) else spelled(value)
