"""Export: what a session holds, as files other programs read.

Frames are written one after the other as they exist: a gap is never filled. `frames.csv` says which index and time
each of them has, `gaps.csv` what is missing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..core.errors import SessionError, SourceError
from ..core.names import as_file_name, file_in, plane_file_names
from ..core.spec import Spec
from .csv_writer import as_table, write_csv
from .export_planes import export_frames_of_planes
from .hdf5_writer import write_locs
from .inputs import RecordedInput
from .nwb_metadata import NwbMetadata
from .reader import Session
from .recorded_step import SessionStep
from .stack_writer import Frame, StackWriter
from .tiff_writer import write_image

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

    `to`: tiff, ome-zarr and npy write frames and image snapshots, nwb frames, npy and csv values; csv also tables and
    small snapshots; thunderstorm and picasso localisations, as those programs read them. `progress` is told the number
    of frames written. `pixel_um`: the side of a pixel of the frames, where the session does not know it, or not
    rightly. `metadata` of the experiment, for nwb.
    Raises SessionError for an unknown format, a folder that is there already, or no spots to write, SourceError where
    a library is missing. What fails before its first frame leaves no folder.
    """
    if out.exists() and any(out.iterdir()):
        raise SessionError(f"{out}: exists and is not empty; name another --out")
    new, exported = not out.exists(), 0

    def count(frames: int) -> None:
        nonlocal exported
        exported = frames
        progress(frames)

    try:
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
    if session.damaged:
        damages = [(d.file.name, d.start, *(d.frames or ("", "")), d.reason) for d in session.damaged]
        written.append(write_csv(out / "damaged.csv", ("file", "byte", "first frame", "frames", "reason"), damages))
    if session.gaps:
        rows = [(gap.first, gap.count, gap.reason, gap.plane)[: 3 + several] for gap in session.gaps]
        written.append(write_csv(out / "gaps.csv", ("first", "count", "lost by", "plane")[: 3 + several], rows))
    names = plane_file_names(session.planes) if several else {}
    for name, cells in session.joiners("cells").items() if to in ("npy", "csv") else ():
        columns = cells().same_as
        path = _file(out, f"{as_file_name(name)}.cells.csv")
        written.append(write_csv(path, columns, zip(*(c.tolist() for c in columns.values()), strict=True)))
    if to in ("npy", "csv"):
        written += [_export_input(one, to, out) for one in session.recorded_inputs.by_name.values()]
    for name in session.planes:
        plane, folder = session.plane(name), out / names.get(name, "")
        for step in plane.recorded_steps:
            folder.mkdir(exist_ok=True)
            written += _export_snapshots(step, to, folder, _pixel_of(plane, step, pixel_um))
            written += _export_values(step, to, folder) if to in ("npy", "csv") else []
    return written


def _pixel_of(session: Session, step: SessionStep, pixel_um: float | None) -> float | None:
    """Return the side of a pixel of what a step sees; of the stated one, by how many pixels lie along the frames."""
    if pixel_um is None:
        return step.sees.pixel_um
    known = session.spec.pixel_um, step.sees.pixel_um
    if known[0] and known[1]:
        return pixel_um * known[1] / known[0]
    return pixel_of_shape(step.sees.shape, session.spec.shape, pixel_um)


def pixel_of_shape(shape: Sequence[int], frames: tuple[int, int], pixel_um: float | None) -> float | None:
    """Return the side of a pixel of an image (…, y, x) of frames (y, x); None where it is no finer or coarser grid.

    Grids n times as fine have n pixels for each one, or one between any two where only centres are kept.
    """
    if pixel_um is None:
        return None
    finer = [round(side / length) for side, length in zip(shape[-2:], frames, strict=True)]
    if finer[0] == finer[1] >= 1:
        fits = all(0 <= n * f - side < 2 * f for side, n, f in zip(shape[-2:], frames, finer, strict=True))
        return pixel_um / finer[0] if fits or finer[0] == 1 else None
    coarser = [round(length / side) for side, length in zip(shape[-2:], frames, strict=True)]
    return pixel_um * coarser[0] if coarser[0] == coarser[1] > 1 else None


def _export_localisations(session: Session, program: str, out: Path, pixel_um: float | None) -> list[Path]:
    """Write the localisations of each step in a program's format."""
    found = {step: read() for step, read in session.readers("localisations").items()}
    known = {p: form for localisations in found.values() for p, form in localisations.formats.items()}
    if program not in known:
        there = f"there is {', '.join([*FORMATS, *known])}"
        raise SessionError(f"export to {program!r} is not possible from {session.path}; {there}")
    pixels = {step.id: _pixel_of(session, step, pixel_um) for step in session.recorded_steps}
    tables = {step: left.columns(program, pixels[step]) for step, left in found.items()}
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for step, columns in tables.items():
        path = _file(out, f"{step}.spots.{known[program]}")
        if known[program] == "hdf5":
            written += write_locs(path, columns, found[step].about(session.frames, pixels[step]))
        else:
            written.append(write_csv(path, columns, zip(*(c.tolist() for c in columns.values()), strict=True)))
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
    return [path, write_csv(out / "frames.csv", ("index", "t_ns"), rows)]


def _export_snapshots(step: SessionStep, to: str, out: Path, pixel_um: float | None) -> list[Path]:
    written = []
    for name, array in step.snapshot.items():
        image = array.ndim in (2, 3) and array.shape[-2:] == step.session.spec.shape
        if to == "npy":
            path = _file(out, f"{step.id}.{name}.npy")
            np.save(path, array)
        elif to in ("tiff", "ome-zarr") and array.ndim in (2, 3) and array.dtype.kind in "uif":
            path = _file(out, f"{step.id}.{name}.tif")
            write_image(path, array, pixel_of_shape(array.shape, step.sees.shape, pixel_um))
        elif to == "csv" and array.ndim <= 2 and not image:
            rows = np.atleast_2d(array)
            path = write_csv(_file(out, f"{step.id}.{name}.csv"), range(rows.shape[1]), rows.tolist())
        else:
            continue
        written.append(path)
    return written


def _export_values(recorded: SessionStep, to: str, out: Path) -> list[Path]:
    session, step = recorded.session, recorded.id
    values, written = recorded.values, []
    reader = session.readers("localisations").get(step)
    labels = reader().labels if reader is not None and "spots" in values else {}
    plain: dict[str, np.ndarray] = {}
    for name, value in values.items():
        if not isinstance(value, Mapping):
            plain[name] = np.asarray(value)
            continue
        columns = {column: np.asarray(array) for column, array in value.items()}
        if to == "csv":
            rows = zip(*(column.tolist() for column in columns.values()), strict=True)
            header = [labels.get(column, column) for column in columns]
            path = write_csv(_file(out, f"{step}.{name}.csv"), header, rows)
        else:
            path = _save_arrays(_file(out, f"{step}.{name}.npz"), columns)
        written.append(path)
    if plain and to == "npy":
        arrays = {"index": session.index(step), **plain}
        written.append(_save_arrays(_file(out, f"{step}.values.npz"), arrays))
    elif plain:
        by_id = {labels.get(g.name, g.name) for g in session.steps[step].gives if g.kind == "by_id"}
        table = as_table(session.index(step), {labels.get(name, name): v for name, v in plain.items()}, by_id)
        written.append(write_csv(_file(out, f"{step}.values.csv"), *table))
    return written


def _export_input(one: RecordedInput, to: str, out: Path) -> Path:
    """Write what an input gave, each sample with its time since the series began.

    Of one whose clock is undetermined the times have another name, so that nobody takes them for that.
    """
    name, times = f"input.{one.name}", "arrival_t" if one.undetermined else "t"
    if to == "npy":
        return _save_arrays(_file(out, f"{name}.npz"), {f"{times}_ns": one.t_ns, "value": one.value})
    columns = one.value[:, None] if one.is_text else one.value
    header = (f"{times}_s", *(["text"] if one.is_text else map(str, range(columns.shape[1]))))
    rows = ((t_ns / 1e9, *row) for t_ns, row in zip(one.t_ns.tolist(), columns.tolist(), strict=True))
    return write_csv(_file(out, f"{name}.csv"), header, rows)


def _file(out: Path, name: str) -> Path:
    """The file of that name in the export, whatever names the session holds. Raises SessionError."""
    return file_in(out, name, SessionError)


def _save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path
