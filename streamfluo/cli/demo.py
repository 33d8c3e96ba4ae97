"""`streamfluo demo`: the whole way once, from a simulated camera to a session, with the truth beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import typer
from rich.table import Table

from ..core.block import Block
from ..core.errors import SourceError
from ..engine.config import load_config
from ..engine.engine import Engine
from ..session.reader import Session, open_session
from ..sources.opening import open_source
from . import demo_calcium, demo_calibrate, demo_counting, demo_sofi, demo_spots
from .compiling import compiled
from .console import console
from .run import default_out, published, report, watch
from .served import served

VIEWED_FPS, VIEWED_FRAMES = 200, 4000  # with a viewer: twenty seconds to look around in
Row = tuple[str, str, str, str]


class Scene(NamedTuple):
    """What a demo simulates (`frames` to be filled in), the config it runs, and how it is compared and drawn."""

    uri: str
    frames: int
    config: str
    what: str
    compare: Callable[[Session], Iterator[Row]]
    draw: Callable[[Session, Path], Path]
    changes: tuple[str, ...] = ()


SCENES = {
    "calcium": Scene(
        "sim:calcium?shape=128x128&neurons=20&frames={frames}&seed=1",
        1000,
        "calcium_2p",
        "two-photon",
        demo_calcium.compare,
        demo_calcium.draw,
    ),
    "sofi": Scene(
        "sim:blinking?shape=96x96&frames={frames}&seed=5&filaments=8&emitters=900&persistence_px=150"
        "&k_on_hz=1&k_off_hz=9&k_bleach_hz=0.1",
        2000,
        "sofi",
        "blinking-dye",
        demo_sofi.compare,
        demo_sofi.draw,
    ),
    "spots": Scene(
        "sim:spots?shape=128x128&motion=random&spots=12&frames={frames}&seed=1",
        500,
        "spots",
        "single-molecule",
        demo_spots.compare,
        demo_spots.draw,
    ),
    "counting": Scene(
        "sim:bleaching-steps?shape=128x128&spots=16&max_y=5&p_bleach=0&frames={frames}&seed=1",
        1000,
        "counting",
        "single-molecule",
        demo_counting.compare,
        demo_counting.draw,
    ),
    "calibrate": Scene(
        "sim:gain?shape=128x128&levels=1&photons=2000&frames={frames}&seed=1",
        1000,
        "calibrate",
        "still and evenly lit",
        demo_calibrate.compare,
        demo_calibrate.draw,
    ),
}


def demo(
    scene: Annotated[
        Literal["calcium", "sofi", "spots", "counting", "calibrate"],
        typer.Argument(help="what is imaged, and which chain runs on it"),
    ] = "calcium",
    frames: Annotated[
        int | None, typer.Option(min=1, help="of the recording [default: 500 to 2000, to view 4000]")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="session folder to write [default: ./demo-UTC time]")] = None,
    view: Annotated[bool, typer.Option("--view", help="open a viewer on the run")] = False,
) -> None:
    """Simulate a recording, stream it from another process, run a chain on it, compare with the truth."""
    chosen = SCENES[scene]
    out, frames = out or default_out("demo"), frames or (VIEWED_FRAMES if view else chosen.frames)
    uri, fps = chosen.uri.format(frames=frames), VIEWED_FPS if view else None
    config = published(load_config(chosen.config, chosen.changes), None, view)
    with console.status("drawing the simulated sample"), open_source(uri) as simulation:
        truth = dict(simulation.truth)
    with served(uri, fps) as endpoint, open_source(endpoint) as source:
        rate = f"{fps} a second" if fps else "as fast as they are taken"
        console.print(f"a simulated {chosen.what} camera serves {frames} frames at {endpoint}, {rate}")
        with compiled(config, source.spec, beside=True):
            engine = Engine(source, config, out, truth=truth)
        watch(engine, view=view)
    report(engine, out, latency=view)
    if engine.error:
        raise SourceError(engine.error)
    session = open_session(out)
    table = Table("result", "measured", "truth", "agreement", box=None)
    for row in (*_frames(session, frames), *chosen.compare(session)):
        table.add_row(*row)
    console.print(table)
    console.print(f"picture: {chosen.draw(session, out / 'summary.png')}\nlook inside: streamfluo inspect {out}")
    console.print(f"hand in:     streamfluo report {out}\nyour own:    streamfluo run {chosen.config} --source FILE")


def _frames(session: Session, simulated: int) -> Iterator[Row]:
    yield "frames received", str(session.frames), str(simulated), f"{session.lost} lost"
    yield "frames recorded", str(session.frames), "simulated again", f"{_identical(session)} bit-identical"


def _identical(session: Session) -> int:
    """How many recorded frames are, bit for bit, what the simulation gives when it is run again."""
    same = 0
    with open_source(session.series["source"]) as source:
        for block in source.blocks():
            assert isinstance(block, Block)  # a simulation has no gaps
            recorded = session.read_frames(block.index, block.stop)
            if len(recorded) == len(block):
                same += int((recorded == block.pixels).all(axis=(1, 2)).sum())
    return same
