"""`streamfluo view`: see a run live, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..core.errors import ConfigError, SourceError
from .console import console, counted
from .keys import meet

Theme = Literal["auto", "light", "dark"]
Movie = tuple[Path, float, float | None, int | None]  # where to, pictures a second, seconds, pictures


def view(
    uri: Annotated[
        str, typer.Argument(help="data endpoint of a run, record, camera or replay; or a session", show_default=False)
    ],
    screenshot: Annotated[Path | None, typer.Option(help="paint without a screen, write this PNG, exit")] = None,
    after: Annotated[float, typer.Option(min=0, help="seconds until the screenshot")] = 3.0,
    size: Annotated[str, typer.Option(help="of the screenshot, in pixels")] = "1400x900",
    theme: Annotated[Theme, typer.Option(help="colours; auto: as the desktop")] = "auto",
    hz: Annotated[
        float, typer.Option(min=1, max=100, help="redraws a second at most; the run's publish.preview_hz is 30")
    ] = 30.0,
    record: Annotated[Path | None, typer.Option(help="write what the window shows as a movie, an MP4")] = None,
    fps: Annotated[float, typer.Option(min=0.1, max=60, help="pictures of the movie a second")] = 10.0,
    seconds: Annotated[float | None, typer.Option(min=0, help="length of the movie [default: to the end]")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="pictures of the movie [default: to the end]")] = None,
) -> None:
    """Open a window on a running program, or a session: images, plots, health. Closing it changes nothing there."""
    require_viewer()
    if record is not None:
        if screenshot is not None or (seconds is not None and frames is not None):
            both = "--screenshot" if screenshot is not None else "--seconds and --frames"
            raise ConfigError(
                f"view: give either --record or --screenshot, and one of --seconds, --frames; found {both}"
            )
        _record(uri, (record, fps, seconds, frames), theme, _sides(size))
        return
    from ..viewer.main import show, take_screenshot

    with served_endpoint(uri) as endpoint:
        if screenshot is None:
            show(endpoint, theme, hz)
            return
        take_screenshot(endpoint, screenshot, after, theme, _sides(size))
    console.print(f"picture: {screenshot}", soft_wrap=True)


def _record(uri: str, asked: Movie, theme: Theme, sides: tuple[int, int]) -> None:
    from ..viewer.movie import Recording, record

    recording = Recording(*asked)
    with served_endpoint(uri) as endpoint:
        written = record(endpoint, recording, theme, sides)
    console.print(f"movie: {recording.path}, {counted(written, 'picture')}", soft_wrap=True)


@contextmanager
def served_endpoint(uri: str) -> Iterator[str]:
    """The endpoint to look at: of a session one that is served for this window alone."""
    if not (Path(uri) / "session.json").is_file():
        if "://" not in uri:
            raise SourceError(f"{uri!r}: not an endpoint; write tcp://127.0.0.1:5555, or the folder of a session")
        meet(uri)
        yield uri
        return
    from ..engine.session_view import SessionView
    from ..session.reader import open_session

    with SessionView(open_session(uri)) as shown:
        yield shown.endpoint


def require_viewer() -> None:
    """Raise ConfigError if the viewer's libraries are not there."""
    for library in ("PySide6", "pyqtgraph"):
        if find_spec(library) is None:
            raise ConfigError(f'the viewer needs {library}, which is missing; pip install "streamfluo[viewer]"')


def start_viewer(endpoint: str) -> None:
    """Open a viewer in a process of its own; it stays when the run is over, or is stopped by Ctrl-C."""
    apart = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)  # Windows has no sessions
    command = [sys.executable, "-m", "streamfluo", "view", endpoint]
    subprocess.Popen(command, start_new_session=True, creationflags=apart)


def _sides(size: str) -> tuple[int, int]:
    try:
        width, height = (int(side) for side in size.split("x"))
    except ValueError:
        raise ConfigError(f"view: --size is WIDTHxHEIGHT, such as 1400x900; found {size!r}") from None
    if not (200 <= width <= 16384 and 200 <= height <= 16384):
        raise ConfigError(f"view: --size is 200 to 16384 pixels a side, found {size}")
    return width, height
