"""`streamfluo keys`: who this account is, and whom it lets in from other machines."""

from __future__ import annotations

import sys
from contextlib import nullcontext, suppress
from typing import Annotated

import typer
from rich.table import Table

from ..core import wire
from ..core.errors import SourceError
from ..network import keys
from ..network.client import ask
from ..network.socket import parse_endpoint
from .console import console

MEET_S = 3.0

app = typer.Typer(
    no_args_is_help=True, help="Make and show this account's key, and say which keys may come in from other machines."
)


@app.command()
def new(name: Annotated[str, typer.Argument(help="whose it is, as others will see it", show_default=False)]) -> None:
    """Make this account's key pair, and print the public key, which others allow."""
    pair = keys.new_identity(name)
    console.print(f"{pair.public}  {pair.name}\nthe secret key is in {keys.keys_folder() / 'identity'}", soft_wrap=True)


@app.command()
def show() -> None:
    """Print this account's public key, and the keys that may come in with their roles."""
    mine, path = keys.identity(), keys.keys_folder() / "allowed"
    console.print(f"{mine.public}  {mine.name} (this account)", soft_wrap=True)
    table = Table("key", "roles", "name", box=None, title_justify="left")
    for entry in keys.read_allowed(path):
        table.add_row(entry.key, ", ".join(r for r in keys.ROLES if r in entry.roles), entry.name)
    console.print(table if table.row_count else f"no other key is allowed; {path}", soft_wrap=True)


@app.command()
def allow(
    key: Annotated[str, typer.Argument(help="a public key, as `streamfluo keys show` prints it", show_default=False)],
    role: Annotated[str, typer.Option(help="view, record, send, control: one or more, parted by commas")] = "view",
    name: Annotated[str, typer.Option(help="whose it is")] = "unnamed",
) -> None:
    """Let a key in; running programs know it within a second.

    `view`: status, results, previews. `record`: frames. `send`: push frames. `control`: steer.
    """
    entry = keys.allow(key, [r.strip() for r in role.split(",") if r.strip()], name)
    console.print(f"{entry.name} ({entry.key[:16]}…) may {', '.join(r for r in keys.ROLES if r in entry.roles)}")


@app.command()
def revoke(which: Annotated[str, typer.Argument(help="a key, or the name of one or more", show_default=False)]) -> None:
    """Let a key in no more; who is connected with it is hung up on within a second."""
    for entry in keys.revoke(which):
        console.print(f"{entry.name} ({entry.key[:16]}…) may come in no more")


def meet(uri: str) -> None:
    """Note the key of a server on another machine that is given for the first time; on a terminal ask for it.

    Raises SourceError where none is given or known, ConfigError where another one is known.
    """
    if not uri.startswith("tcp://"):
        return
    endpoint = parse_endpoint(uri)
    place = endpoint.address.removeprefix("tcp://")
    if not (endpoint.key or endpoint.beyond) or keys.known_server(place) is not None:
        return
    key = endpoint.key
    if key is None:
        if not (sys.stdin.isatty() and console.is_terminal):
            endpoint.server_key()
        key = keys.parse_key(
            typer.prompt(f"{place}: no key is known of it; what does `streamfluo keys show` say there")
        )
    # One that is given serves although nobody is there yet.
    with suppress(SourceError) if endpoint.key else nullcontext():
        ask(f"{endpoint.address}?key={key}" + (f"&ssh={endpoint.ssh}" if endpoint.ssh else ""), wire.Hello(), MEET_S)
        keys.know_server(place, key)
        console.print(f"{place}: its key is known from now on ({keys.keys_folder() / 'servers'})", soft_wrap=True)
