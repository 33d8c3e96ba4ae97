"""`streamfluo refine`: a recorded run gone through again, by passes that see all of its frames."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..engine.refined_session import refine_session
from ..session.reader import open_session
from .console import console
from .progress import step_progress

PASSES = typer.Option(min=1, max=5, help="how often footprints are updated, each with two readings of the movie")


def refine(
    session: Annotated[Path, typer.Argument(help="the session folder of a run that extracts", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="new session folder to write [default: SESSION-refined]")] = None,
    passes: Annotated[int, PASSES] = 1,
) -> None:
    """Refine a recorded extraction with passes over all frames: footprints, cells missed, traces, rates."""
    resolved = session.resolve()
    out = out or resolved.with_name(f"{resolved.name}-refined")
    with step_progress() as bar:
        task = bar.add_task("opening the session", total=None)
        outcomes = refine_session(
            session, out, passes, lambda name, done, of: bar.update(task, description=name, completed=done, total=of)
        )
    for one in outcomes:
        console.print(f"{one.step}: {one.said}", soft_wrap=True)
        taken = one.passes
        spent = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in taken.seconds.items())
        console.print(f"  passes: {spent}; with what lies between {taken.elapsed_s:.1f} s", soft_wrap=True)
        console.print(
            f"  {taken.mb_per_s:.0f} MB/s, of which reading alone does {taken.read_mb_per_s:.0f}; "
            f"held {one.held_bytes / 1e6:.0f} MB of frames and {one.traces_bytes / 1e6:.0f} MB of traces",
            soft_wrap=True,
        )
    kept = open_session(out).steps
    if left_out := [step for step in open_session(session).steps if step not in kept]:
        console.print(f"left out, as they took values of the run: {', '.join(left_out)}", soft_wrap=True)
    console.print(f"refined: {out}", soft_wrap=True)
