"""`streamfluo web`: see a run in the browser, several people at once, to look only."""

from __future__ import annotations

import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import ConfigError
from ..web.access import Place, new_token, parse_bind, token_of
from .console import console, stop_on_signals
from .view import served_endpoint


def web(
    uri: Annotated[
        str, typer.Argument(help="data endpoint of a run, record, camera or replay; or a session", show_default=False)
    ],
    bind: Annotated[str, typer.Option(help="where pages are served; port 0 takes a free one")] = "127.0.0.1:8080",
    token_file: Annotated[
        Path | None, typer.Option(help="a file that keeps the token; made where it is not there [default: a new token]")
    ] = None,
    hz: Annotated[float, typer.Option(min=0.1, max=30, help="pictures a second, at most")] = 10.0,
) -> None:
    """Serve a page on a running program, or a session: picture, outlines, traces, health. It changes nothing there."""
    require_web()
    from ..web.server import serve_pages

    place = parse_bind(bind)
    token = token_of(token_file) if token_file is not None else new_token()
    stopping = False

    def stop() -> None:
        nonlocal stopping
        stopping = True

    def say(at: Place) -> None:
        console.print(f"{uri} in the browser: {at.url(token, socket.gethostname())}", soft_wrap=True)
        if at.beyond:
            console.print("beyond this machine it is not encrypted: see how-to/web.md for ssh and TLS", soft_wrap=True)

    with served_endpoint(uri) as endpoint, stop_on_signals(stop):
        serve_pages(endpoint, place, token, hz, lambda: stopping, say)


def require_web() -> None:
    """Raise ConfigError if the libraries that serve pages are not there."""
    for library, package in (("websockets", "websockets"), ("PIL", "pillow")):
        if find_spec(library) is None:
            raise ConfigError(f'pages in the browser need {package}, which is missing; pip install "streamfluo[web]"')
