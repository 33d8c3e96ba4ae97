"""`streamfluo daemon`: a service that records series after series from whoever may send them."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ..engine.daemon import Daemon
from ..engine.daemon_config import load_daemon_config
from ..engine.station import Station
from .console import console, counted, stop_on_signals


def daemon(
    config: Annotated[Path, typer.Argument(help="the TOML file with [daemon] and [[source]]", show_default=False)],
    check: Annotated[bool, typer.Option("--check", help="read the config, say what it means, and end")] = False,
) -> None:
    """Take series after series from every source of a config, each into a session, until it is stopped.

    SIGHUP reads the config anew, for the next series of each source. Under systemd (Type=notify) it says when it is
    ready and that it lives.
    """
    if check:
        found = load_daemon_config(config)
        console.print(f"{config}: sessions go into {found.folder}", soft_wrap=True)
        for source in found.sources:
            console.print(f"  {source.name}: {source.uri} → {source.chain or 'recorded alone'}", soft_wrap=True)
        return
    service = Daemon(config)
    sources = counted(len(service.config.sources), "source")
    console.print(f"{sources} into {service.config.folder}, status at {service.endpoint}", soft_wrap=True)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda *_: service.reload())
    with stop_on_signals(service.stop):
        service.run()
    console.print("stopped")


def station(config: Path, name: str) -> None:
    """Run one source of a daemon's config; a line of JSON a second says how it fares. The daemon starts it."""

    def tell(said: Mapping[str, Any]) -> None:
        try:
            os.write(out, (json.dumps(said) + "\n").encode())
        except OSError:  # the daemon is gone: another one starts us again, and this series goes on
            os.kill(os.getpid(), signal.SIGTERM)

    out = sys.stdout.fileno()
    one = Station(config, name, tell)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda *_: one.reload())
    with stop_on_signals(one.stop):
        one.run()
