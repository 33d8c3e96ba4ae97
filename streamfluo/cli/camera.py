"""`streamfluo camera`: a camera served over ZeroMQ, so that recorders, chains and viewers come and go."""

from __future__ import annotations

from typing import Annotated

import typer

from ..core.errors import SourceError
from ..network.continuation import Continuation
from ..network.frames import HISTORY_BYTES, LiveFrames
from ..network.server import DataServer
from ..network.socket import parse_endpoint
from ..sources.opening import open_source
from .check import spell_spec
from .console import console, counted, stop_on_signals
from .progress import frame_progress


def camera(
    uri: Annotated[str, typer.Argument(help="mm:demo or mm:/path/config.cfg, with ?settings", show_default=False)],
    bind: Annotated[str, typer.Option(help="endpoint to serve at; port 0 takes a free one")] = "tcp://127.0.0.1:5555",
    frames: Annotated[int | None, typer.Option(min=1, help="how many the camera takes [default: no end]")] = None,
    exposure_ms: Annotated[float | None, typer.Option(min=0.001, help="exposure of a frame")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="no frame before the first subscriber")] = False,
    history_mb: Annotated[int, typer.Option(min=1, help="frames kept for consumers that lag")] = HISTORY_BYTES >> 20,
) -> None:
    """Serve a camera's frames until it ends or Ctrl-C; every consumer gets all of them at its own pace."""
    for name, value in (("frames", frames), ("exposure_ms", exposure_ms)):
        if value is not None:
            uri += f"{'&' if '?' in uri else '?'}{name}={value}"
    with console.status(f"opening {uri}"):
        opened = open_source(uri)
    with opened as source:
        if source.seekable:
            raise SourceError(f"{uri}: a recording, not a camera; serve it with streamfluo replay")
        # A free port is another one each time: nobody would find the series again. A sequence begins anew.
        goes_on = parse_endpoint(bind).port != 0 and not source.spec.planes
        kept = Continuation(source, bind) if goes_on else None
        stream = LiveFrames(source, history_mb << 20, kept)
        server = DataServer(stream, bind, program="camera", wait=wait)
        try:
            again = ", going on where it stood" if kept and kept.mark else ""
            console.print(f"{spell_spec(source.spec)}{again}\nserving {uri} at {server.endpoint}", soft_wrap=True)
            with stop_on_signals(stream.stop), frame_progress() as progress:
                total = source.series.frames
                task = progress.add_task("frames", total=total, of=total or "…", note="")

                def tick() -> None:
                    note = f"{counted(server.consumers, 'consumer')}, {stream.dropped_camera} dropped by the camera"
                    progress.update(task, completed=stream.frontier(), note=note)

                server.run(tick=tick)
        finally:
            server.close()
        taken, dropped = stream.frontier(), stream.dropped_camera
        console.print(f"{stream.ended}: {counted(taken, 'frame')}, {dropped} dropped by the camera")
    if stream.error:
        raise SourceError(stream.error)
