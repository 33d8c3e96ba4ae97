"""`streamfluo daemon`: a service that records series after series from whoever may send them."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from ..core.errors import ConfigError
from ..engine.daemon import Daemon
from ..engine.daemon_config import load_daemon_config
from ..engine.housekeeping import Housekeeping
from ..engine.retention import retain, verdicts
from ..engine.service_unit import install_unit, unit_file
from ..engine.station import Station
from ..engine.station_control import answer_lines
from .compiling import compiled_in_service
from .console import console, counted, stop_on_signals
from .logs import ENVIRONMENT, log_as, say


class _RunsByDefault(TyperGroup):
    """`daemon CONFIG` is `daemon run CONFIG`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return super().resolve_command(ctx, args if args and args[0] in self.commands else ["run", *args])


daemon = typer.Typer(
    cls=_RunsByDefault,
    no_args_is_help=True,
    help="Record series after series from every source of a config, as a service: daemon CONFIG.",
)
ConfigFile = Annotated[Path, typer.Argument(help="the TOML file with [daemon] and [[source]]", show_default=False)]


@daemon.command()
def run(
    config: ConfigFile,
    log: Annotated[
        Literal["text", "json"] | None, typer.Option(help="lines of the log [default: as [daemon] says]")
    ] = None,
) -> None:
    """Take series after series from every source, each into a session, until it is stopped; `run` may be left out.

    SIGHUP reads the config anew, for the next series of each source. Under systemd (Type=notify) it says when it is
    ready and that it lives.
    """
    service = Daemon(config)
    if log is not None:
        os.environ[ENVIRONMENT] = log
    log_as(service.config.daemon.log)
    sources = counted(len(service.config.sources), "source")
    say(f"{sources} into {service.config.folder}, status at {service.endpoint}")
    if service.metrics is not None:
        say(f"metrics at http://{service.metrics}/metrics, health at /healthz")
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda *_: service.reload())
    with stop_on_signals(service.stop):
        service.run()
    say("stopped")


@daemon.command()
def check(config: ConfigFile) -> None:
    """Read a config and those of its chains, and say what it means."""
    found = load_daemon_config(config)
    console.print(f"{config}: sessions go into {found.folder}", soft_wrap=True)
    for source in found.sources:
        console.print(f"  {source.name}: {source.uri} → {source.chain or 'recorded alone'}", soft_wrap=True)
    if found.catalogue is not None:
        console.print(f"  each of them goes into the catalogue {found.catalogue} once it is over", soft_wrap=True)
    for line in str(found.disks).splitlines():
        console.print(line, soft_wrap=True)


@daemon.command()
def retention(
    config: ConfigFile,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be deleted, delete nothing")] = False,
) -> None:
    """Delete what the config's [retention] lets go, each session after it and its export were read back.

    The daemon does so by itself once a minute. Of what should go and stays it says why.
    """
    found = load_daemon_config(config)
    if found.disks.retention is None:
        raise ConfigError(f"{config}: no [retention]; nothing is ever deleted")
    if dry_run:
        for verdict in verdicts(found):
            console.print(str(verdict), soft_wrap=True)
        return
    retain(found, lambda verdict: console.print(str(verdict), soft_wrap=True), lambda nbytes: None)


@daemon.command()
def install(
    config: ConfigFile,
    system: Annotated[bool, typer.Option("--system/--user", help="for the machine, or for this user")] = False,
    show: Annotated[bool, typer.Option("--print", help="print the unit file, write nothing")] = False,
) -> None:
    """Write the unit file by which systemd starts the daemon with the computer, and say how to start it now."""
    found = load_daemon_config(config)
    if show:
        console.print(unit_file(found, system), soft_wrap=True)
        return
    path = install_unit(found, system)
    control = "sudo systemctl" if system else "systemctl --user"
    console.print(
        f"wrote {path}; start it: {control} daemon-reload && {control} enable --now {path.name}", soft_wrap=True
    )
    if not system:
        console.print("it starts when you log in; loginctl enable-linger starts it with the computer", soft_wrap=True)


def _tell(said: Mapping[str, Any]) -> None:
    """Tell the daemon, in a line of JSON."""
    try:
        os.write(sys.stdout.fileno(), (json.dumps(said) + "\n").encode())
    except OSError:  # the daemon is gone: another one starts us again, and this series goes on
        os.kill(os.getpid(), signal.SIGTERM)


def housekeeping(config: Path) -> None:
    """Export and delete as a daemon's config says; a line of JSON a second says what is done. The daemon starts it."""
    one = Housekeeping(config, _tell)
    log_as(one.config.daemon.log)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda *_: one.reload())
    with stop_on_signals(one.stop):
        one.run(sys.stdin)


def station(config: Path, name: str) -> None:
    """Run one source of a daemon's config; a line of JSON a second says how it fares. The daemon starts it."""
    one = Station(config, name, _tell, compiled_in_service)
    log_as(one.config.daemon.log)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda *_: one.reload())
        signal.signal(signal.SIGUSR1, lambda *_: one.leave())
    threading.Thread(target=answer_lines, args=[one, sys.stdin, _tell], name="control", daemon=True).start()
    with stop_on_signals(one.stop):
        one.run()
