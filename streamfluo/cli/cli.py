"""The command line: `streamfluo VERB`."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from .. import __version__
from ..core.errors import StreamfluoError
from .console import LogFormatter, console, errors, one_line, replace_unknown_characters

COMMANDS = {  # in the order of --help: the module, and its function or, for a group of commands, its Typer
    "demo": ("demo", "demo"),
    "advise": ("advise", "advise"),
    "run": ("run", "run"),
    "refine": ("refine", "refine"),
    "reprocess": ("reprocess", "reprocess"),
    "record": ("record", "record"),
    "camera": ("camera", "camera"),
    "calibrate": ("calibrate", "calibrate"),
    "count": ("count", "count"),
    "replay": ("replay", "replay"),
    "view": ("view", "view"),
    "web": ("web", "web"),
    "status": ("status", "status"),
    "control": ("control", "control"),
    "stop": ("control", "stop"),
    "check": ("check", "check"),
    "latency": ("latency", "latency"),
    "list": ("list", "list_operators"),
    "inspect": ("inspect", "inspect"),
    "verify": ("verify", "verify"),
    "export": ("export", "export"),
    "report": ("report", "report"),
    "register": ("register", "register"),
    "catalogue": ("catalogue", "app"),
    "find": ("find", "find"),
    "diff": ("diff", "diff"),
    "warm": ("warm", "warm"),
    "station": ("daemon", "station"),
    "housekeeping": ("daemon", "housekeeping"),
    "daemon": ("daemon", "daemon"),
    "protocol": ("protocol", "protocol"),
    "keys": ("keys", "app"),
    "configs": ("configs", "app"),
}
HIDDEN = ("station", "housekeeping")  # what the daemon starts, and nobody else


class _Commands(Mapping[str, Any]):
    """Commands by name, each loaded when it is asked for: all of them take a third of a second."""

    def __getitem__(self, name: str) -> Any:
        module, within = COMMANDS[name]
        found = getattr(import_module(f".{module}", __package__), within)
        group = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        group.callback()(lambda: None)
        if isinstance(found, typer.Typer):
            group.add_typer(found, name=name)
        else:
            group.command(name, hidden=name in HIDDEN)(found)
        return typer.main.get_group(group).commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class _Loading(TyperGroup):
    """A group of commands of which only those that are asked for are loaded."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = _Commands()  # type: ignore[assignment]


app = typer.Typer(
    cls=_Loading,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

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
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        with suppress(OSError):  # what still waits has no place either
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        errors.print("streamfluo: the disk is full that gets what is printed or written; make room, and run it again")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
