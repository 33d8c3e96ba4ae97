"""`streamfluo diff`: two sessions beside each other."""

from __future__ import annotations

import json as json_
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ..session.reader import open_session
from .console import console
from .progress import step_progress


def diff(
    a: Annotated[Path, typer.Argument(help="a session folder", show_default=False)],
    b: Annotated[Path, typer.Argument(help="another one, as of the same recording by other parameters")],
    every: Annotated[bool, typer.Option("--all", help="list arrays that are equal as well")] = False,
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Say what differs between two sessions: parameters, frames, losses, values, cells. Exit code 0: equal, 1: not."""
    from ..catalogue.compare import compare

    one, other = open_session(a), open_session(b)
    with step_progress() as bar:
        task = bar.add_task("reading sessions", total=None)
        found = compare(one, other, lambda step: bar.update(task, description=step))
    if json:
        json_.dump(found.plain(), sys.stdout, indent=1)
        sys.stdout.write("\n")
        raise typer.Exit(not found.equal)
    for title, facts in (("run", found.facts), ("parameter", found.params)):
        if facts:
            table = Table(title, "A", "B", box=None)
            for fact in facts:
                table.add_row(fact.what, fact.a, fact.b)
            console.print(table)
    shown = [array for array in found.arrays if every or not array.equal]
    if shown:
        table = Table("step", "array", "kind", "says", box=None)
        for array in shown:
            table.add_row(array.step, array.name, array.kind, array.said)
        console.print(table)
    for same in found.same:
        console.print(f"{same.step}: {same.said}", soft_wrap=True)
    console.print(found.verdict, soft_wrap=True)
    raise typer.Exit(not found.equal)
