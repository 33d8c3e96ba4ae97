"""`streamfluo demo`: the whole way once, from a simulated camera to a session, with the truth beside it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ..core.errors import SourceError
from ..edges.source import open_source
from ..pipeline.config import parse_config
from ..pipeline.engine import Engine
from ..pipeline.session import open_session
from .console import console
from .run import default_out, published, report, watch
from .summary import compare_with_truth, draw_summary

FPS = 200  # six times the simulated camera's own rate, so that the demo takes seconds


def demo(
    frames: Annotated[int | None, typer.Option(min=1, help="of the recording [default: 1000, to view 4000]")] = None,
    out: Annotated[Path | None, typer.Option(help="session folder to write [default: ./demo-UTC time]")] = None,
    view: Annotated[bool, typer.Option("--view", help="open a viewer on the run")] = False,
) -> None:
    """Simulate a calcium recording, stream it from another process, run a chain on it, compare with the truth."""
    out, frames = out or default_out("demo"), frames or (4000 if view else 1000)
    uri = f"sim:calcium?shape=256x256&frames={frames}&seed=1"
    config = parse_config((files("streamfluo") / "configs" / "demo.toml").read_text(encoding="utf-8"), "demo.toml")
    config = published(config, None, view)
    with console.status("drawing the simulated tissue"), open_source(uri) as simulation:
        truth = dict(simulation.truth)
    with _served(uri) as endpoint, open_source(endpoint) as source:
        console.print(f"a simulated two-photon camera serves {frames} frames at {endpoint}, {FPS} a second")
        with console.status("compiling operators (once on a machine; cached after that)"):
            engine = Engine(source, config, out, truth=truth)
        watch(engine, view=view)
    report(engine, out)
    if engine.error:
        raise SourceError(engine.error)
    session = open_session(out)
    table = Table("result", "measured", "truth", "agreement", box=None)
    for row in compare_with_truth(session):
        table.add_row(*row)
    console.print(table)
    console.print(f"picture: {draw_summary(session, out / 'summary.png')}\nlook inside: streamfluo inspect {out}")


@contextmanager
def _served(uri: str) -> Iterator[str]:
    """Serve `uri` from another process and yield its endpoint."""
    command = [sys.executable, "-m", "streamfluo", "replay", uri, "--bind", "tcp://127.0.0.1:0"]
    server = subprocess.Popen([*command, "--fps", str(FPS), "--wait"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        if " at " not in line:
            raise SourceError("demo: the simulated camera did not start; its message stands above")
        yield line.rsplit(" at ", 1)[1].strip()
        server.wait(timeout=10)
    finally:
        server.terminate()
        server.communicate()
