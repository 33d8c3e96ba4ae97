"""`streamfluo control` and `streamfluo stop`: steering a running program."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from ..core.control import Answer, request_words
from ..core.errors import ConfigError
from ..network.control_client import Control
from .console import console
from .keys import meet

URI = Annotated[str, typer.Argument(help="the program's data endpoint, tcp://…", show_default=False)]
SOURCE = Annotated[str, typer.Option("--source", help="one of a daemon's sources; without it all of them")]


def control(
    uri: URI,
    verb: Annotated[
        str,
        typer.Argument(
            help="start, stop, pause, resume, mark, set, snapshot, curate, sessions or reload", metavar="VERB"
        ),
    ],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="mark TEXT, set STEP.PARAM=VALUE, snapshot STEP[.NAME], curate STEP VERB [ID …]", show_default=False
        ),
    ] = None,
    source: SOURCE = "",
    note: Annotated[str, typer.Option("--note", help="of curate: why")] = "",
    author: Annotated[str, typer.Option("--by", help="of curate: who decides [default: who is logged in]")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="the answer as a line of JSON")] = False,
) -> None:
    """Steer a running program: stop or pause it, mark a moment, change a live parameter, take a snapshot, curate."""
    asked = request_words(verb, words or [])
    if (note or author) and verb != "curate":
        raise ConfigError(f"control: --note and --by are for curate, not for {verb}")
    meet(uri)
    with Control(uri, source) as program:
        answer = _ask(program, verb, {**asked, "note": note, "author": author} if verb == "curate" else asked)
    if as_json:
        console.print(json.dumps(msgspec.to_builtins(answer)), soft_wrap=True)
        return
    for name, one in {"": answer, **answer.sources}.items():
        if name or not answer.sources:
            console.print(_said(verb, name, one), soft_wrap=True)
    if verb == "sessions":
        console.print(_table(answer.sessions))


def stop(uri: URI, source: SOURCE = "") -> None:
    """End a run with everything written, or the series of a daemon's sources, which take no other until `start`."""
    control(uri, "stop", [], source)


def _ask(program: Control, verb: str, asked: Mapping[str, Any]) -> Answer:
    if verb != "curate":
        return program.ask(verb, **asked)
    return program.curate(verb=asked["decision"], **{name: word for name, word in asked.items() if name != "decision"})


def _said(verb: str, source: str, answer: Answer) -> str:
    at = "" if answer.frame is None else f" at frame {answer.frame}"
    named = f"{source}: " if source else ""
    said = f": {answer.said}" if answer.said else ""
    return f"{named}{verb}{at}{said}" if answer.ok else f"{named}not done: {answer.said}"


def _table(sessions: Sequence[Mapping[str, Any]]) -> Table:
    columns = ("session", "state", "frames", "lost", "exported", "started", "series")
    table = Table(*columns, box=None)
    for line in sessions:
        table.add_row(*(str(line.get(name, "")) for name in columns))
    return table
