"""`streamfluo demo`: the whole way once, from a simulated camera to a session, with the truth beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import typer
from rich.table import Table

from ..core.errors import SourceError
from ..engine.config import parse_config
from ..engine.engine import Engine
from ..engine.shipped import shipped_config
from ..session.reader import Session, open_session
from ..sources.opening import open_source
from . import demo_sofi
from .console import console
from .run import default_out, published, report, watch
from .served import served
from .summary import compare_with_truth, draw_summary

FPS = 200  # six times the simulated camera's own rate, so that the demo takes seconds


class Scene(NamedTuple):
    """What a demo simulates (`frames` to be filled in), the config it runs, and how it is compared and drawn."""

    uri: str
    frames: int
    config: str
    what: str
    compare: Callable[[Session], Iterator[tuple[str, str, str, str]]]
    draw: Callable[[Session, Path], Path]


SCENES = {
    "calcium": Scene(
        "sim:calcium?shape=256x256&frames={frames}&seed=1",
        1000,
        "moments.toml",
        "two-photon",
        compare_with_truth,
        draw_summary,
    ),
    "sofi": Scene(
        "sim:blinking?shape=96x96&frames={frames}&seed=5&filaments=8&emitters=900&persistence_px=150"
        "&k_on_hz=1&k_off_hz=9&k_bleach_hz=0.1",
        2000,
        "sofi.toml",
        "blinking-dye",
        demo_sofi.compare,
        demo_sofi.draw,
    ),
}


def demo(
    scene: Annotated[
        Literal["calcium", "sofi"], typer.Argument(help="calcium imaging, or super-resolution of blinking filaments")
    ] = "calcium",
    frames: Annotated[
        int | None, typer.Option(min=1, help="of the recording [default: 1000 or 2000, to view 4000]")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="session folder to write [default: ./demo-UTC time]")] = None,
    view: Annotated[bool, typer.Option("--view", help="open a viewer on the run")] = False,
) -> None:
    """Simulate a recording, stream it from another process, run a chain on it, compare with the truth."""
    chosen = SCENES[scene]
    out, frames = out or default_out("demo"), frames or (4000 if view else chosen.frames)
    uri = chosen.uri.format(frames=frames)
    config = parse_config(shipped_config(chosen.config).read_text(encoding="utf-8"), chosen.config)
    config = published(config, None, view)
    with console.status("drawing the simulated sample"), open_source(uri) as simulation:
        truth = dict(simulation.truth)
    with served(uri, FPS) as endpoint, open_source(endpoint) as source:
        console.print(f"a simulated {chosen.what} camera serves {frames} frames at {endpoint}, {FPS} a second")
        with console.status("compiling operators (once on a machine; cached after that)"):
            engine = Engine(source, config, out, truth=truth)
        watch(engine, view=view)
    report(engine, out)
    if engine.error:
        raise SourceError(engine.error)
    session = open_session(out)
    table = Table("result", "measured", "truth", "agreement", box=None)
    for row in chosen.compare(session):
        table.add_row(*row)
    console.print(table)
    console.print(f"picture: {chosen.draw(session, out / 'summary.png')}\nlook inside: streamfluo inspect {out}")
