"""`streamfluo status`: how a running program fares."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table

from ..core import wire
from ..core.errors import SourceError
from ..network.client import ask
from .console import console
from .keys import meet


def status(
    uris: Annotated[list[str], typer.Argument(help="the programs' data endpoints, tcp://…", show_default=False)],
    watch: Annotated[bool, typer.Option("--watch", help="once a second, until Ctrl-C")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="a line of JSON for each program")] = False,
) -> None:
    """Show what running programs do: frames, losses, backlog, steps, refused messages; of a daemon each source.

    One that does not answer is said where several are asked; the exit code is then 1.
    """
    for uri in uris:
        meet(uri)
    shown = _json if as_json else _tables
    if watch and not as_json:
        with Live(shown(uris)[0], console=console, auto_refresh=False) as live:
            while True:
                time.sleep(1)
                live.update(shown(uris)[0], refresh=True)
    while True:
        text, silent = shown(uris)
        console.print(text, soft_wrap=as_json)
        if not watch:
            break
        time.sleep(1)
    if silent:
        raise typer.Exit(1)


def _asked(uris: Sequence[str]) -> Iterator[tuple[str, tuple[wire.Hello, wire.Status] | str]]:
    """What each program answers, or why it does not; the one that alone is asked must. Raises SourceError."""
    for uri in uris:
        try:
            yield uri, (ask(uri, wire.Hello()), ask(uri, wire.Status()))
        except SourceError as error:
            if len(uris) == 1:
                raise
            yield uri, str(error)


def _tables(uris: Sequence[str]) -> tuple[Group, bool]:
    found = list(_asked(uris))
    tables = [answer if isinstance(answer, str) else status_table(uri, *answer) for uri, answer in found]
    return Group(*tables), any(isinstance(answer, str) for _, answer in found)


def _json(uris: Sequence[str]) -> tuple[str, bool]:
    found = list(_asked(uris))
    lines = [
        {"uri": uri, "error": answer}
        if isinstance(answer, str)
        else {"uri": uri, "series": answer[0].series, **msgspec.to_builtins(answer[1])}
        for uri, answer in found
    ]
    return "\n".join(json.dumps(line) for line in lines), any(isinstance(answer, str) for _, answer in found)


def status_table(uri: str, hello: wire.Hello, report: wire.Status) -> Table:
    """Return the report as a table of name and value, one line a counter."""
    address = uri.partition("?")[0]
    table = Table(
        title=f"{report.program} at {address}: {report.state}", box=None, show_header=False, title_justify="left"
    )
    if hello.series is not None:
        table.add_row("series", f"{hello.series.get('source', '')} ({report.series_uid})")
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
        return ", ".join(f"{key} {_spelled(inner)}" for key, inner in value.items() if inner not in ("", [], {}))
    if isinstance(value, list):
        return "; ".join(map(_spelled, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
