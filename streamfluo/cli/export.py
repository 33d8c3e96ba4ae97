"""`streamfluo export`: what a session holds, as files other programs read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from ..core.errors import SessionError
from ..session.export import export_session
from ..session.export_step_frames import export_step_frames
from ..session.nwb_metadata import lacking, load_nwb_metadata
from ..session.nwb_results import finds_cells
from ..session.reader import Session, open_session
from .console import console, counted
from .progress import frame_progress

DAMAGES = 20  # places that are named


def export(
    session: Annotated[Path, typer.Argument(help="the session folder", show_default=False)],
    to: Annotated[
        str, typer.Option(help="tiff | ome-zarr | npy | nwb | csv | suite2p | caiman | rois | thunderstorm | picasso")
    ] = "tiff",
    out: Annotated[Path | None, typer.Option(help="new folder to write [default: SESSION-FORMAT]")] = None,
    pixel_um: Annotated[
        float | None, typer.Option(help="side of a pixel of the frames [µm] [default: as the session says]")
    ] = None,
    step: Annotated[
        str | None,
        typer.Option(help="frames that this step handed on, where [record] steps kept them", show_default=False),
    ] = None,
    metadata: Annotated[Path | None, typer.Option(help="what an NWB says of the experiment [a TOML file]")] = None,
) -> None:
    """Export a session's frames, snapshots, values and tables; a gap is listed, never filled."""
    if pixel_um is not None and not 0 < pixel_um < math.inf:
        raise SessionError(f"export: --pixel-um is a length in µm, found {pixel_um}")
    if metadata is not None and to != "nwb":
        raise SessionError(f"export: --metadata is what an NWB says of the experiment; --to is {to}")
    told = None if metadata is None else load_nwb_metadata(metadata)
    opened = open_session(session)
    out = out or session.with_name("-".join(filter(None, (session.name, step, to))))
    try:
        with frame_progress() as bar:
            task = bar.add_task("frames", total=opened.frames, of=opened.frames, note="")
            if step is not None:
                written = export_step_frames(opened, step, to, out, lambda n: bar.update(task, completed=n))
            else:
                written = export_session(opened, to, out, lambda n: bar.update(task, completed=n), pixel_um, told)
    except OSError as error:
        raise SessionError(f"export: {out} cannot be written: {error.strerror or error}") from None
    for path in written:
        console.print(str(path), soft_wrap=True)
    for sentence in lacking(told, finds_cells(opened)) if to == "nwb" else ():
        console.print(f"NWB: {sentence}", soft_wrap=True)
    for name, one in opened.recorded_inputs.by_name.items():
        if one.undetermined:
            where = {"csv": " (column arrival_t_s)", "npy": " (arrival_t_ns)"}.get(to, "")
            console.print(
                f"input {name}: its clock is undetermined: {one.undetermined}; its times are when samples came{where}",
                soft_wrap=True,
            )
    _say_damages(opened)
    if opened.lost:
        console.print(f"{counted(opened.lost, 'frame')} never came: {out / 'gaps.csv'} says which")


def _say_damages(session: Session) -> None:
    """Print what of the session cannot be read: what is left of it was written, and nothing in its place."""
    for step in session.recorded_steps if len(session.planes) > 1 else ():  # planes are read on their own
        _ = step.values, step.snapshot
    for damage in session.damaged_so_far[:DAMAGES]:
        console.print(f"damaged, and left out: {damage}", soft_wrap=True)
    if len(session.damaged_so_far) > DAMAGES:
        console.print(f"and {len(session.damaged_so_far) - DAMAGES} more places", soft_wrap=True)
