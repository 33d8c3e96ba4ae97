"""Export: what a session holds, as files other programs read.

Frames are written one after the other as they exist: a gap is never filled. `frames.csv` says which index and time
each of them has, `gaps.csv` what is missing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ..core.errors import SessionError, SourceError
from ..core.names import file_in, plane_file_names
from ..core.source import Gap
from ..core.spec import Spec
from .cell_writers import CELL_FORMATS, export_cells, found_cells
from .csv_writer import TIME, frame_rows, known_times, table_of, write_csv
from .export_planes import export_frames_of_planes
from .export_values import export_components, export_input, export_joined, export_snapshots, export_values
from .hdf5_writer import write_locs
from .nwb_metadata import NwbMetadata
from .pixel_sizes import pixel_of
from .reader import Session
from .stack_writer import Frame, StackWriter

FORMATS = ("tiff", "ome-zarr", "npy", "nwb", "csv")


def export_session(
    session: Session,
    to: str,
    out: Path,
    progress: Callable[[int], None] = lambda n: None,
    pixel_um: float | None = None,
    metadata: NwbMetadata | None = None,
) -> list[Path]:
    """Write what `session` holds to the new folder `out` and return the files.

    `to`: tiff, ome-zarr and npy write frames and image snapshots, nwb frames and cells, npy and csv values; csv also
    tables and small snapshots; thunderstorm and picasso localisations, suite2p, caiman and rois (Fiji) cells, as those
    programs read them. `progress` is told the number of frames written. `pixel_um`: the side of a pixel of the frames,
    where the session does not know it, or not rightly. `metadata` of the experiment, for nwb.
    Raises SessionError for an unknown format, a folder that is there already, or nothing of that kind to write,
    SourceError where a library is missing. What fails before its first frame leaves no folder.
    """
    if out.exists() and any(out.iterdir()):
        raise SessionError(f"{out}: exists and is not empty; name another --out")
    new, exported = not out.exists(), 0

    def count(frames: int) -> None:
        nonlocal exported
        exported = frames
        progress(frames)

    try:
        if to in CELL_FORMATS:
            return export_cells(session, to, out)
        if to not in FORMATS:
            return _export_localisations(session, to, out, pixel_um)
        return _export(StackWriter(to, session, metadata), out, count, pixel_um)
    except Exception as error:
        if new and not exported:
            shutil.rmtree(out, ignore_errors=True)
        missing = error if isinstance(error, ImportError) else error.__cause__
        if isinstance(missing, ImportError):
            library = missing.name or "a library that is missing"
            raise SourceError(f'{out}: needs {library}; install it with pip install "streamfluo[formats]"') from None
        raise


def _export(stacks: StackWriter, out: Path, progress: Callable[[int], None], pixel_um: float | None) -> list[Path]:
    session, to = stacks.session, stacks.to
    out.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    several = len(session.planes) > 1
    spec = session.spec.with_(pixel_um=pixel_um or session.spec.pixel_um)
    if to != "csv":
        export_frames = export_frames_of_planes if several else _export_frames
        written += export_frames(session, stacks, out, progress, spec)
    return written + export_beside(session, to, out, pixel_um)


def export_beside(session: Session, to: str, out: Path, pixel_um: float | None = None) -> list[Path]:
    """Write what an export has beside the frames: values, tables, snapshots, lists; return the files."""
    written, several = list[Path](), len(session.planes) > 1
    if session.damaged:
        damages = [(d.file.name, d.start, *(d.frames or ("", "")), d.reason) for d in session.damaged]
        written.append(write_csv(out / "damaged.csv", ("file", "byte", "first frame", "frames", "reason"), damages))
    if gaps := session.gaps:
        rows = [(gap.first, *_began_s(session, gap), gap.count, gap.reason, gap.plane)[: 4 + several] for gap in gaps]
        written.append(write_csv(out / "gaps.csv", ("first", TIME, "count", "lost by", "plane")[: 4 + several], rows))
    names = plane_file_names(session.planes) if several else {}
    if to in ("npy", "csv"):
        for name, read in session.joiners("cells").items():
            written += export_joined(name, read(), out)
        written += [export_input(one, to, out) for one in session.recorded_inputs.by_name.values()]
    for found in found_cells(session) if to == "csv" else ():
        folder = out / names.get(found.plane, "")
        folder.mkdir(exist_ok=True)
        written.append(export_components(found.step, found.cells.columns(), folder))
    for name in session.planes:
        plane, folder = session.plane(name), out / names.get(name, "")
        for step in plane.recorded_steps:
            folder.mkdir(exist_ok=True)
            written += export_snapshots(step, to, folder, pixel_of(plane, step, pixel_um))
            written += export_values(step, to, folder) if to in ("npy", "csv") else []
    return written


def _began_s(session: Session, gap: Gap) -> list[float | str]:
    """When a gap began [s]: its first frame never came, so index · interval; empty where that is not known."""
    return known_times(np.array([gap.first]) * (session.spec.interval_s or np.nan))


def _export_localisations(session: Session, program: str, out: Path, pixel_um: float | None) -> list[Path]:
    """Write the localisations of each step in a program's format."""
    found = {step: read() for step, read in session.readers("localisations").items()}
    known = {p: form for localisations in found.values() for p, form in localisations.formats.items()}
    if program not in known:
        cells = CELL_FORMATS if session.readers("components") else ()
        there = f"there is {', '.join([*FORMATS, *cells, *known])}"
        raise SessionError(f"export to {program!r} is not possible from {session.path}; {there}")
    pixels = {step.id: pixel_of(session, step, pixel_um) for step in session.recorded_steps}
    tables = {step: left.columns(program, pixels[step]) for step, left in found.items()}
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for step, columns in tables.items():
        path = file_in(out, f"{step}.spots.{known[program]}", SessionError)
        if known[program] == "hdf5":
            written += write_locs(path, columns, found[step].about(session.frames, pixels[step]))
        else:
            written.append(write_csv(path, *table_of(columns)))
    return written


def _export_frames(
    session: Session, stacks: StackWriter, out: Path, progress: Callable[[int], None], spec: Spec
) -> list[Path]:
    count = session.frames
    if session.has_journal and session.damaged:
        count = session.journal.whole
    if not count:
        return []
    rows: list[tuple[int, int]] = []

    def frames() -> Iterator[Frame]:
        for frame in session.each_frame(0, 1 << 62):
            rows.append(frame[:2])
            progress(len(rows))
            yield frame

    path = stacks.write(out / "frames", frames(), count, spec)
    if len(rows) != count:
        raise SessionError(f"{session.path}: {len(rows)} of {count} frames could be read; what was exported is short")
    return [path, write_csv(out / "frames.csv", *frame_rows(rows))]
