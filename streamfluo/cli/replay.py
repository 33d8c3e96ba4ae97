"""`streamfluo replay`: a recording, or a simulation, served as if it were a camera."""

from __future__ import annotations

from typing import Annotated

import typer

from ..core.errors import ConfigError
from ..network.frames import ReplayedFrames
from ..network.server import DataServer
from ..sources.opening import open_source
from .console import console, counted, stop_on_signals
from .progress import frame_progress


def replay(
    file: Annotated[str, typer.Argument(help="a file or sim:…", show_default=False)],
    bind: Annotated[str, typer.Option(help="endpoint to serve at; port 0 takes a free one")] = "tcp://127.0.0.1:5555",
    fps: Annotated[
        float | None, typer.Option(help="frames a second, of each plane [default: the recording's own]")
    ] = None,
    fastest: Annotated[bool, typer.Option("--max", help="as fast as the consumers take them")] = False,
    loop: Annotated[bool, typer.Option("--loop", help="begin anew at the end, as one unbounded series")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="no frame before the first subscriber")] = False,
) -> None:
    """Serve a recording as a live camera over ZeroMQ, until every subscriber has it all."""
    if fps is not None and fastest:
        raise ConfigError("replay: --fps and --max exclude each other")
    if fps is not None and not fps > 0:
        raise ConfigError(f"replay: --fps must be positive, found {fps}")
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True

    with open_source(file, planes=True) as source, stop_on_signals(stop):
        if source.path is not None and source.series.frames is None:
            raise ConfigError(f"{file}: still grows; record it, or replay what is there without ?follow=1")
        if fps is None and not fastest:
            if source.spec.interval_s is None:
                raise ConfigError(f"{file}: does not say its frame rate; give --fps or --max")
            fps = 1 / source.spec.interval_s
        server = DataServer(ReplayedFrames(source, fps, loop), bind, wait=wait)
        console.print(f"serving {source.series.source} at {server.endpoint}", soft_wrap=True)
        total = None if loop else source.series.frames
        try:
            with frame_progress() as progress:
                task = progress.add_task("emitted", total=total, of=total or "…", note="")
                server.run(
                    lambda: stopped,
                    lambda: progress.update(task, completed=server.emitted, note=counted(server.consumers, "consumer")),
                )
        finally:
            server.close()
        console.print(f"{'aborted' if stopped else 'finished'}: {counted(server.emitted, 'frame')} emitted")
