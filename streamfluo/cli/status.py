"""`streamfluo status`: how a running program fares."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from ..core import wire
from ..network.client import ask
from .console import console


def status(
    uri: Annotated[str, typer.Argument(help="the program's data endpoint, tcp://…", show_default=False)],
    watch: Annotated[bool, typer.Option("--watch", help="once a second, until Ctrl-C")] = False,
) -> None:
    """Show what a running replay, camera, run or record does: frames, losses, backlog, steps, refused messages."""
    hello = ask(uri, wire.Hello())
    table = status_table(uri, hello, ask(uri, wire.Status()))
    if not watch:
        console.print(table)
        return
    with Live(table, console=console, auto_refresh=False) as live:
        while True:
            time.sleep(1)
            live.update(status_table(uri, hello, ask(uri, wire.Status())), refresh=True)


def status_table(uri: str, hello: wire.Hello, report: wire.Status) -> Table:
    """Return the report as a table of name and value, one line a counter."""
    table = Table(title=f"{report.program} at {uri}: {report.state}", box=None, show_header=False, title_justify="left")
    series = hello.series or {}
    table.add_row("series", f"{series.get('source', '')} ({report.series_uid})")
    for name, endpoint in hello.endpoints.items():
        table.add_row(name, endpoint)
    for name, value in report.counters.items():
        if isinstance(value, dict):
            for key, inner in value.items():
                table.add_row(f"{name} {key}", _spelled(inner))
        elif isinstance(value, list):
            for line in value:
                table.add_row(name, str(line))
        else:
            table.add_row(name, _spelled(value))
    return table


def _spelled(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_spelled(inner)}" for key, inner in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
