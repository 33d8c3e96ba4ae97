"""Where a session keeps what each step left: beside each other, or for each plane in a folder of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..core.errors import SessionError, did_you_mean


def step_place(folder: Path, planes: Sequence[str], step: str) -> tuple[Path, str]:
    """Return the folder with a step's values and snapshots, and what the step is called in there.

    `planes` are the stream's: the folder of `green/0/extract` is planes/N, N being the plane's number, so that no
    channel's name becomes a file's. Raises SessionError for a plane that the stream does not have.
    """
    plane, _, name = step.rpartition("/")
    if not plane:
        return folder, name
    if plane not in planes:
        raise SessionError(f"{folder}: no plane {plane[:80]!r}{did_you_mean(plane, planes)}")
    return folder / "planes" / str(planes.index(plane)), name


def snapshot_path(folder: Path, planes: Sequence[str], step: str, name: str, frame: int) -> Path:
    """Return the file of a snapshot that was asked for, as of before `frame`; `name` is one that the step gives."""
    place, step_name = step_place(folder, planes, step)
    return place / "snapshots" / step_name / f"{frame:010d}-{name}.npz"
