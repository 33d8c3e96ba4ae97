"""Export of what the steps of a session left, values, tables and snapshots, and of what its inputs gave."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import SessionError
from ..core.names import as_file_name, file_in
from .cell_writers import VolumeCells
from .csv_writer import as_table, column_names, table_of, write_csv
from .inputs import RecordedInput
from .pixel_sizes import pixel_of_shape
from .recorded_step import SessionStep
from .tiff_writer import write_image


def export_snapshots(step: SessionStep, to: str, out: Path, pixel_um: float | None) -> list[Path]:
    """Write a step's last snapshots and return the files: images as tiff, small ones as csv, all as npy."""
    written = []
    dims = {given.name: given.dims for given in step.session.steps[step.id].gives}
    for name, array in step.snapshot.items():
        image = array.ndim in (2, 3) and array.shape[-2:] == step.session.spec.shape
        if to == "npy":
            path = _file(out, f"{step.id}.{name}.npy")
            np.save(path, array)
        elif to in ("tiff", "ome-zarr") and array.ndim in (2, 3) and array.dtype.kind in "uif" and array.size:
            path = _file(out, f"{step.id}.{name}.tif")
            write_image(path, array, pixel_of_shape(array.shape, step.sees.shape, pixel_um))
        elif to == "csv" and array.ndim <= 2 and not image:
            rows = np.atleast_2d(array)
            header = column_names(name, rows.shape[1:] if array.ndim else (), dims.get(name, ()))
            path = write_csv(_file(out, f"{step.id}.{name}.csv"), header, rows.tolist())
        else:
            continue
        written.append(path)
    return written


def export_values(recorded: SessionStep, to: str, out: Path) -> list[Path]:
    """Write a step's values and tables as csv or npy and return the files."""
    step, values, written = recorded.id, recorded.values, []
    reader = recorded.session.readers("localisations").get(step)
    labels = reader().labels if reader is not None and "spots" in values else {}
    plain: dict[str, np.ndarray] = {}
    for name, value in values.items():
        if not isinstance(value, Mapping):
            plain[name] = np.asarray(value)
            continue
        columns = {column: np.asarray(array) for column, array in value.items()}
        if to == "csv":
            named = {labels.get(column, column): array for column, array in columns.items()}
            t_s = recorded.times_s(columns["frame"]) if "frame" in columns else None
            path = write_csv(_file(out, f"{step}.{name}.csv"), *table_of(named, labels.get("frame"), t_s))
        else:
            path = _save_arrays(_file(out, f"{step}.{name}.npz"), columns)
        written.append(path)
    if plain and to == "npy":
        arrays = {"index": recorded.index, "t_s": recorded.t_s, **plain}
        written.append(_save_arrays(_file(out, f"{step}.values.npz"), arrays))
    elif plain:
        written.append(write_csv(_file(out, f"{step}.values.csv"), *_rows_of_frames(recorded, plain, labels)))
    return written


def _rows_of_frames(recorded: SessionStep, plain: Mapping[str, np.ndarray], labels: Mapping[str, str]) -> Any:
    gives = recorded.session.steps[recorded.id].gives
    by_id = {labels.get(g.name, g.name) for g in gives if g.kind == "by_id"}
    dims = {labels.get(g.name, g.name): g.dims for g in gives}
    named = {labels.get(name, name): array for name, array in plain.items()}
    index = recorded.index
    return as_table(index, named, by_id, dims, recorded.times_s(index))


def export_components(step: str, columns: Mapping[str, np.ndarray], out: Path) -> Path:
    """Write the measures of components, a row each, with the time of the frame in which each was found."""
    return write_csv(_file(out, f"{step}.components.csv"), *table_of(columns))


def export_input(one: RecordedInput, to: str, out: Path) -> Path:
    """Write what an input gave, each sample with its time since the series began.

    Of one whose clock is undetermined the times have another name, so that nobody takes them for that.
    """
    name, times = f"input.{one.name}", "arrival_t" if one.undetermined else "t"
    if to == "npy":
        return _save_arrays(_file(out, f"{name}.npz"), {f"{times}_ns": one.t_ns, "value": one.value})
    columns = one.value[:, None] if one.is_text else one.value
    shape = columns.shape[1:] if columns.shape[1] != 1 else ()
    header = [f"{times}_s", *(["text"] if one.is_text else column_names(one.name, shape))]
    listed = [(one.t_ns / 1e9).tolist(), *columns.T.tolist()]
    if one.frame is not None:  # of the frames' own metadata
        header, listed = ["frame", *header], [one.frame.tolist(), *listed]
    return write_csv(_file(out, f"{name}.csv"), header, zip(*listed, strict=True))


def export_joined(name: str, cells: VolumeCells, out: Path) -> list[Path]:
    """Write which components of the slices of a channel are one cell, where each cell is, and their traces."""
    stem = as_file_name(name)
    traces = {f"{i}": trace for i, trace in zip(cells.ids.tolist(), cells.traces, strict=True)}
    return [
        write_csv(_file(out, f"{stem}.cells.csv"), *table_of(cells.same_as)),
        write_csv(_file(out, f"{stem}.centres.csv"), *table_of(cells.columns())),
        write_csv(_file(out, f"{stem}.traces.csv"), *table_of({"frame": cells.frame, **traces}, t_s=cells.t_s)),
    ]


def _file(out: Path, name: str) -> Path:
    """The file of that name in the export, whatever names the session holds. Raises SessionError."""
    return file_in(out, name, SessionError)


def _save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path
