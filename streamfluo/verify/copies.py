"""Exported copies, and movies that a step handed on, against the session that they are of: equal to the bit, or not."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..core.block import Block
from ..core.errors import SessionError, StreamfluoError
from ..core.source import Source
from ..session.cell_writers import CELL_FORMATS
from ..session.export import FORMATS, export_beside, export_session
from ..session.read_back import compare
from ..session.reader import Session
from ..session.stack_writer import ENDINGS
from ..session.step_frames import read_layout
from ..session.tiff_writer import tiff_frames
from ..sources.opening import open_source
from .findings import Finding

RESULTS = (".csv", ".npz", ".npy")
OF_PROGRAMS = (*CELL_FORMATS, "thunderstorm", "picasso")
Progress = Callable[[int], None]  # told how many bytes were compared
Frames = Iterator[tuple[int, np.ndarray]]


class Compared(NamedTuple):
    """What comparing a copy gave: findings, and what was compared, in words."""

    findings: list[Finding]
    checked: list[str]


def compared(session: Session, path: Path, progress: Progress = lambda nbytes: None) -> Compared:
    """Compare a folder that `streamfluo export` wrote, a file of it, or a movie, with the session it is of."""
    found = Compared([], [])
    try:
        if not path.exists():
            found.findings.append(Finding("cannot tell", str(path), "no such file or folder"))
        elif path.is_dir() and not _is_image(path):
            _folder(session, path, found, progress)
        elif (to := _exported_as(path)) and (path.parent / "frames.csv").exists():
            _frames(session, to, path.parent, found, progress)
        elif path.suffix in RESULTS:
            _results(session, path.parent, found, only=path.name)
        else:
            _movie(session, path, found, progress)
    except (StreamfluoError, OSError, ValueError) as error:
        found.findings.append(Finding("cannot tell", str(path), str(error)))
    return found


def _exported_as(path: Path) -> str:
    """The format whose frames a file is by its name, "" if none."""
    return next((to for to, ending in ENDINGS.items() if path.name == f"frames.{ending}"), "")


def _is_image(path: Path) -> bool:
    return path.suffix == ".zarr" or (path / "zarr.json").exists() or (path / ".zgroup").exists()


def _folder(session: Session, folder: Path, found: Compared, progress: Progress) -> None:
    """All of an export: its frames, then every file beside them."""
    movies = [(to, path) for to, ending in ENDINGS.items() for path in sorted(folder.glob(f"*.{ending}"))]
    if movies and not (folder / f"frames.{ENDINGS[movies[0][0]]}").exists() and movies[0][0] != "npy":
        for _, path in movies:  # frames of a step
            _movie(session, path, found, progress)
        return
    to = movies[0][0] if movies else ""
    if to:
        _frames(session, to, folder, found, progress)
    _results(session, folder, found, to)


def _frames(session: Session, to: str, folder: Path, found: Compared, progress: Progress) -> None:
    """The frames of an export, of one or several planes."""
    try:
        count = compare(session, to, folder, progress)
        found.checked.append(f"{count} frames in {folder} equal")
    except (SessionError, OSError) as error:
        found.findings.append(Finding("differs", str(folder), str(error).removeprefix(f"{folder}: ")))
    except Exception as error:  # whatever a library of a format raises on a damaged file
        found.findings.append(Finding("differs", str(folder), f"cannot be read: {type(error).__name__}: {error}"))


def _results(session: Session, folder: Path, found: Compared, to: str = "", only: str = "") -> None:
    """Files beside the frames: what the session gives now, byte by byte."""
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    there = {name for name in there if not name.split("/")[0].startswith("frames.")}
    there = {only} if only else there
    if not there and to:
        return
    with tempfile.TemporaryDirectory() as work:
        fresh = Path(work)
        known = {to: _fresh(session, to, fresh)} if to else {one: _fresh(session, one, fresh) for one in _formats()}
        best = max(known, key=lambda one: len(known[one] & there) / max(1, len(known[one] | there)))
        if not known.get(best, set()) & there:
            found.findings.append(Finding("cannot tell", str(folder), "nothing in it that this session is exported to"))
            return
        equal = 0
        for name in sorted(known[best] if not only else {only}):
            if not (folder / name).is_file():
                found.findings.append(Finding("differs", str(folder / name), "missing in the copy"))
            elif _same(folder / name, fresh / best / name):
                equal += 1
            elif folder.joinpath(name).suffix in (".h5", ".hdf5", ".mat"):
                found.findings.append(Finding("cannot tell", str(folder / name), "other bytes than a new export has"))
            else:
                found.findings.append(
                    Finding("differs", str(folder / name), _where(folder / name, fresh / best / name))
                )
        if equal:
            found.checked.append(f"{equal} files of results in {folder} equal ({best})")
        if others := sorted(there - known[best] - {"damaged.csv"}):
            found.findings.append(Finding("cannot tell", str(folder / others[0]), "no file of such an export"))


def _formats() -> tuple[str, ...]:
    return (*(name for name in FORMATS if name not in ENDINGS or name == "npy"), *OF_PROGRAMS)


def _fresh(session: Session, to: str, work: Path) -> set[str]:
    """What the session is exported to now, without frames: the names of the files."""
    out = work / to
    try:
        if to in OF_PROGRAMS:
            export_session(session, to, out)
        else:
            out.mkdir()
            export_beside(session, to, out)
    except StreamfluoError:
        return set()
    return {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}


def _same(copy: Path, fresh: Path) -> bool:
    """Whether two files are the same: bytes, of images pixels, as each has a number of its own."""
    if copy.read_bytes() == fresh.read_bytes():
        return True
    if copy.suffix != ".tif":
        return False
    try:
        theirs = [pixels.tobytes() for pixels in tiff_frames(copy)]
    except Exception:  # whatever tifffile raises on a damaged file
        return False
    return theirs == [pixels.tobytes() for pixels in tiff_frames(fresh)]


def _where(copy: Path, fresh: Path) -> str:
    if copy.suffix != ".csv":
        return f"{copy.stat().st_size} bytes that are not those of a new export, {fresh.stat().st_size}"
    ours, theirs = (path.read_text(encoding="utf-8", errors="replace").splitlines() for path in (fresh, copy))
    for n, (one, other) in enumerate(zip_longest(ours, theirs), 1):
        if one != other:
            return f"line {n} is {str(other)[:60]!r}, of the session {str(one)[:60]!r}"
    return "other ends of lines"


def _movie(session: Session, path: Path, found: Compared, progress: Progress) -> None:
    with open_source(str(path), planes=True) as source:
        wanted = list(_candidates(session, source))
        if not wanted:
            shape, dtype = source.spec.shape, source.spec.dtype
            found.findings.append(
                Finding("differs", str(path), f"frames of {shape} {dtype}, which neither session nor a step has")
            )
            return
        wrong = ""
        for name, count, frames in wanted:
            source.seek(0)
            if not (wrong := _differing(source, count, frames, progress)):
                found.checked.append(f"{count} frames in {path} equal those of {name}")
                return
        found.findings.append(Finding("differs", str(path), wrong))


def _candidates(session: Session, source: Source) -> Iterator[tuple[str, int, Frames]]:
    """The frames that a movie may be of: name, how many, and the frames."""
    spec = source.spec
    if len(session.planes) > 1 or len(spec.plane_names) > 1:
        raise SessionError("several planes; compare the folder of the export")
    for step in session.recorded_steps:
        if (at := step.frames_path) is not None:
            layout = read_layout(at)
            if layout.shape == spec.shape and layout.dtype.newbyteorder("=") == np.dtype(spec.dtype):
                yield f"step {step.id}", sum(1 for _ in step.each_frame()), step.each_frame()
    if (session.spec.shape, session.spec.dtype) == (spec.shape, spec.dtype):
        yield "the session", session.frames, ((i, pixels) for i, _, pixels in session.each_frame(0, 1 << 62))


def _differing(source: Source, count: int, frames: Frames, progress: Progress) -> str:
    """Why a movie's frames are not these, "" if they are: one for one, or each at its index where there are more."""
    by_index = source.series.frames != count
    theirs = ((b.index + n, p) for b in source.blocks() if isinstance(b, Block) for n, p in enumerate(b.pixels))
    if by_index:
        theirs = ((i, p) for i, p in theirs if p.dtype.kind != "f" or not np.isnan(p).all())
    for done, (ours, other) in enumerate(zip_longest(frames, theirs)):
        if ours is None or other is None:
            return f"{done} frames are in both; then {'the movie has more' if ours is None else 'the movie ends'}"
        if by_index and ours[0] != other[0]:
            return f"frame {ours[0]} is at {other[0]} in the movie"
        if ours[1].tobytes() != other[1].tobytes():
            return f"frame {ours[0]} has other pixels"
        progress(2 * ours[1].nbytes)
    return ""
