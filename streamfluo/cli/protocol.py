"""`streamfluo protocol`: the wire protocol to read, and whether a server keeps it."""

from __future__ import annotations

from typing import Annotated

import typer

from ..core import wire
from ..core.errors import SourceError
from ..network.conformance import check_server
from .console import console, counted
from .keys import meet

protocol = typer.Typer(help="The wire protocol: show it, or check that a server keeps it.", no_args_is_help=True)


@protocol.command()
def show() -> None:
    """Print the protocol."""
    print(wire.__doc__)


@protocol.command()
def check(
    uri: Annotated[str, typer.Argument(help="a data endpoint, tcp://…", show_default=False)],
    frames: Annotated[int, typer.Option(min=1, help="how many frames to look at")] = 20,
) -> None:
    """Check a data endpoint: what it answers, what it sends, how it takes what it should not."""
    meet(uri)
    failed = 0
    for rule, problem in check_server(uri, frames):
        console.print(f"{'ok    ' if problem is None else 'FAILED'} {rule}{f': {problem}' if problem else ''}")
        failed += problem is not None
    if failed:
        raise SourceError(f"{uri}: {counted(failed, 'rule')} not kept")
