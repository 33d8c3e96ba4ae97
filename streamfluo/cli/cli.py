"""The command line: `streamfluo VERB`."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from .. import __version__
from ..core.errors import StreamfluoError
from .advise import advise
from .calibrate import calibrate
from .camera import camera
from .check import check
from .console import LogFormatter, console, errors, one_line, replace_unknown_characters
from .control import control, stop
from .count import count
from .daemon import daemon, housekeeping, station
from .demo import demo
from .export import export
from .inspect import inspect
from .keys import app as keys
from .latency import latency
from .list import list_operators
from .protocol import protocol
from .record import record
from .replay import replay
from .report import report
from .run import run
from .status import status
from .view import view
from .web import web

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for verb, name in (
    (demo, "demo"),
    (advise, "advise"),
    (run, "run"),
    (record, "record"),
    (camera, "camera"),
    (calibrate, "calibrate"),
    (count, "count"),
    (replay, "replay"),
    (view, "view"),
    (web, "web"),
    (status, "status"),
    (control, "control"),
    (stop, "stop"),
    (check, "check"),
    (latency, "latency"),
    (list_operators, "list"),
    (inspect, "inspect"),
    (export, "export"),
    (report, "report"),
):
    app.command(name)(verb)
app.command("station", hidden=True)(station)
app.command("housekeeping", hidden=True)(housekeeping)
app.add_typer(daemon, name="daemon")
app.add_typer(protocol, name="protocol")
app.add_typer(keys, name="keys")


SWITCH_S = 0.0005  # a thread that has frames waits so long at most for one that runs Python: 5 ms unless it is told


def _print_version(asked: bool) -> None:
    if asked:
        console.print(f"streamfluo {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", help="print the version and exit", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Results from a fluorescence microscope's frame stream while the sample is still on the stage."""


def main() -> None:
    """Run the command line; an error is one line on stderr and exit code 1."""
    replace_unknown_characters()
    sys.setswitchinterval(SWITCH_S)
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter("streamfluo: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    try:
        app()
    except StreamfluoError as error:
        errors.print(f"streamfluo: {one_line(str(error))}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
