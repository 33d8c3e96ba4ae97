"""Cells in the formats of other programs: Suite2p's folder, CaImAn's HDF5, ROIs for Fiji."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..core.errors import SessionError
from ..core.names import as_file_name, plane_file_names
from .caiman_writer import write_caiman
from .csv_writer import as_table, write_csv
from .reader import Session
from .roi_writer import write_rois
from .suite2p_writer import write_suite2p

CELL_FORMATS = ("suite2p", "caiman", "rois")


class Components(Protocol):
    """What a science's `components` are to other programs: K footprints (y·x, K) and K traces (K, T), with verdicts.

    `frame` (T,) is the index of each column, `t_s` its time [s]; `shape` that of the frames.
    """

    shape: tuple[int, int]
    footprints: Any
    ids: np.ndarray
    frame: np.ndarray
    traces: np.ndarray
    raw: np.ndarray
    spikes: np.ndarray
    dff: np.ndarray
    snr: np.ndarray
    spatial_corr: np.ndarray
    birth_frame: np.ndarray
    structural_chance: np.ndarray

    def columns(self) -> dict[str, np.ndarray]: ...
    @property
    def accepted(self) -> np.ndarray: ...
    @property
    def decision(self) -> np.ndarray: ...
    @property
    def structural(self) -> np.ndarray: ...
    @property
    def t_s(self) -> np.ndarray: ...
    @property
    def pixel_um(self) -> float | None: ...
    @property
    def background(self) -> np.ndarray: ...
    def contours(self, ids: Sequence[int] | None = None) -> list[np.ndarray]: ...


class VolumeCells(Protocol):
    """What a science's `cells` are to other programs: K cells over several planes, footprints and traces (K, T)."""

    planes: tuple[str, ...]
    shape: tuple[int, int]
    ids: np.ndarray
    frame: np.ndarray

    def columns(self) -> dict[str, np.ndarray]: ...
    def footprints(self) -> Any: ...
    @property
    def same_as(self) -> dict[str, np.ndarray]: ...
    @property
    def traces(self) -> np.ndarray: ...
    @property
    def raw(self) -> np.ndarray: ...
    @property
    def spikes(self) -> np.ndarray: ...
    @property
    def dff(self) -> np.ndarray: ...
    @property
    def t_s(self) -> np.ndarray: ...


class Found(NamedTuple):
    """The components of one step of one plane: step id, which plane of how many, its name, the frame rate [Hz]."""

    step: str
    number: int
    planes: int
    plane: str
    rate_hz: float | None
    cells: Components


def found_cells(session: Session) -> Iterator[Found]:
    """Yield the components of each step that left some to read."""
    for number, name in enumerate(session.planes):
        plane = session.plane(name)
        interval_s = plane.spec.interval_s
        for step, read in plane.readers("components").items():
            rate_hz = None if not interval_s else 1 / interval_s
            with suppress(SessionError):  # of a run that was killed there are frames and values
                yield Found(step, number, len(session.planes), name, rate_hz, read())


def export_cells(session: Session, to: str, out: Path) -> list[Path]:
    """Write the cells of every step as one of CELL_FORMATS and return the files.

    Raises SessionError where no step gives components or one left none to read, SourceError where a library is missing.
    """
    found = list(found_cells(session))
    if not found:
        for name in session.planes:
            for read in session.plane(name).readers("components").values():
                read()  # says why it left none
        raise SessionError(f"{session.path}: no step gives components, which {to} needs; run a chain with extract")
    for one in found:
        if not len(one.cells.frame) and session.plane(one.plane).frames:
            raise SessionError(f"{session.path}: values of step {one.step!r} are gone, which {to} needs; run it again")
    names = plane_file_names(session.planes) if len(session.planes) > 1 else {}
    steps = {one.step for one in found}
    out.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for one in found:
        stem = ".".join(filter(None, (names.get(one.plane, ""), as_file_name(one.step))))
        if to == "suite2p":
            folder = (out if len(steps) == 1 else out / as_file_name(one.step)) / "suite2p" / f"plane{one.number}"
            folder.mkdir(parents=True, exist_ok=True)
            written += write_suite2p(folder, one.cells, one.rate_hz, one.planes)
        elif to == "caiman":
            written.append(write_caiman(out / f"{stem}.caiman.hdf5", one.cells, one.rate_hz))
        else:
            written.append(write_rois(out / f"{stem}.rois.zip", one.cells))
        if to != "rois":  # which frame each column of a trace is: those that never came have none
            cells = one.cells
            written.append(write_csv(out / f"{stem}.frames.csv", *as_table(cells.frame, {}, set(), t_s=cells.t_s)))
    return written
