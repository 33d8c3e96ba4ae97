"""`streamfluo record`: every frame of a stream to disk, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import SourceError
from ..engine.config import parse_config
from ..engine.engine import Engine
from ..session.reader import Session, open_session
from .console import console, counted
from .run import WAIT, default_out, opened_within, report, watch


def record(
    uri: Annotated[str, typer.Argument(help="tcp://…, mm:…, a file or sim:…", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="session folder to write [default: ./record-UTC time]")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="stop when the session holds so many frames")] = None,
    duration: Annotated[float | None, typer.Option(min=0.001, help="record so many seconds, from now on")] = None,
    publish: Annotated[str | None, typer.Option(help="answer hello and status, and serve the frames, here")] = None,
    when_full: Annotated[str, typer.Option(help="wait | skip | stop, while the disk is full")] = "wait",
    wait_s: Annotated[float, WAIT] = 0.0,
) -> None:
    """Record a stream until it ends; started again on the same --out it goes on where it stood."""
    served = f"[publish]\nuri = {_quoted(publish)}\n" if publish else ""
    config = parse_config(f"[record]\nraw = true\nwhen_full = {_quoted(when_full)}\n{served}", "record")
    out = out or default_out("record")
    resume = (out / "session.json").exists()
    if duration is not None and not resume and uri.startswith("tcp://") and "from=" not in uri:
        uri += f"{'&' if '?' in uri else '?'}from=live"  # so long from now on, not of what waits there
    with opened_within(wait_s, uri, planes=True) as opened:
        if resume and frames is not None and _is_done(open_session(out), opened.series.uid, frames):
            console.print(f"{out} holds {counted(frames, 'frame')} already; left as it is", soft_wrap=True)
            return
        engine = Engine(opened, config, out, resume=resume, max_frames=frames, program="record")
        console.print(f"recording {opened.series.source} to {out}", soft_wrap=True)
        watch(engine, duration)
        report(engine, out)
    if engine.error:
        raise SourceError(engine.error)


def _is_done(session: Session, series_uid: str, frames: int) -> bool:
    """Whether it has all frames of this series that are asked for."""
    same = session.series["uid"] == series_uid and session.state == "finished" and session.has_journal
    return same and session.frames >= frames


def _quoted(text: str) -> str:
    """A TOML literal string."""
    return "'" + text.replace("'", "") + "'"
