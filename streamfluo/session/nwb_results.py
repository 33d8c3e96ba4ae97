"""What a chain found, as NWB: cells and regions with their traces, and the shifts of the frames. pynwb comes from its
door."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from ..core.errors import SessionError
from ..core.names import as_file_name, plane_file_names
from .cell_writers import found_cells
from .nwb_segmentation import MASKS, add_segmentation, rows_of_cells, rows_of_components, rows_of_masks, series_times
from .reader import Session
from .recorded_step import SessionStep

SHIFT = "shift_px"
CHUNK_BYTES = 1 << 20


def add_results(pynwb: Any, whole: Any, session: Session) -> None:
    """Add shifts, and cells where a plane has its imaging plane, to an NWB file that is not written yet."""
    names = plane_file_names(session.planes) if len(session.planes) > 1 else {}
    for name in session.planes:
        for step in session.plane(name).recorded_steps:
            if any(given.name == SHIFT for given in session.plane(name).steps[step.id].gives):
                of = names.get(name)
                original = whole.acquisition["-".join(filter(None, ("frames", of)))]
                _add_shifts(pynwb, whole, step, "-".join(filter(None, (step.id, of))), original)
    if not whole.imaging_planes:
        return
    found = [(one.step, one.plane, rows_of_components(one.step, one.cells)) for one in found_cells(session)]
    for name in session.planes:
        for step in session.plane(name).recorded_steps:
            if (masked := rows_of_masks(step)) is not None:
                found.append((step.id, name, masked))
    found = [one for one in found if len(one[2].ids)]
    _add_volumes(pynwb, whole, session, names)
    for step_id, plane, rows in found:
        suffix = "" if len(found) == 1 else "-" + "-".join(filter(None, (as_file_name(step_id), names.get(plane))))
        imaged = whole.imaging_planes["-".join(filter(None, ("plane", names.get(plane))))]
        add_segmentation(pynwb, _processing(whole), rows, imaged, suffix)


def _add_volumes(pynwb: Any, whole: Any, session: Session, names: Mapping[str, str]) -> None:
    """Add the cells of each volume, of which several slices may show one, beside what was found in each slice."""
    for name, read in session.joiners("cells").items():
        with suppress(SessionError):  # of a run that was killed there are frames and values
            rows = rows_of_cells(name, cells := read())
            if len(rows.ids):
                imaged = whole.imaging_planes[f"plane-{names[cells.planes[0]]}"]
                add_segmentation(pynwb, _processing(whole), rows, imaged, f"-volume-{as_file_name(name)}")


def finds_cells(session: Session) -> bool:
    """Return whether steps of the session find cells or measure regions, which an NWB has rows for."""
    given = (given.name for facts in session.steps.values() for given in facts.gives)
    return bool(session.readers("components")) or MASKS in given


def _processing(whole: Any) -> Any:
    if "ophys" not in whole.processing:
        whole.create_processing_module(name="ophys", description="what was made of the frames while they came")
    return whole.processing["ophys"]


def _add_shifts(pynwb: Any, whole: Any, step: SessionStep, name: str, original: Any) -> None:
    """Add the shifts, with the corrected frames beside the original ones where the run recorded them."""
    index, shift_px = step.index, step.values.get(SHIFT)
    t_s = step.times_s(index)
    if shift_px is None or not len(index) or np.isnan(t_s).any():
        return
    corrected = step.frames_path is not None
    shifts = np.ascontiguousarray(shift_px[:, ::-1], np.float32)
    said = "shift of the tissue against the template, along x and y"
    called = "xy_translation" if corrected else f"{name}-shift"
    series = pynwb.TimeSeries(name=called, data=shifts, unit="pixels", description=said, **series_times(t_s))
    if not corrected:
        _processing(whole).add(series)
        return
    stack = pynwb.ophys.CorrectedImageStack(
        name=name, corrected=_movie(pynwb, step, index, t_s), original=original, xy_translation=series
    )
    ophys = _processing(whole)
    if "MotionCorrection" not in ophys.data_interfaces:
        ophys.add(pynwb.ophys.MotionCorrection(name="MotionCorrection"))
    ophys["MotionCorrection"].add_corrected_image_stack(stack)


def _movie(pynwb: Any, step: SessionStep, index: np.ndarray, t_s: np.ndarray) -> Any:
    """The frames that a step handed on, read while they are written: as NWB has them, (t, x, y)."""
    _, first = next(step.each_frame(), (0, np.zeros(step.sees.shape, np.float32)))
    y, x = first.shape
    length = max(1, min(len(index), CHUNK_BYTES // first.nbytes))
    images = pynwb.DataChunkIterator(
        _images(step, index, (x, y)), buffer_size=length, maxshape=(None, x, y), dtype=first.dtype
    )
    data = pynwb.H5DataIO(
        data=images, chunks=(length, x, y), compression="gzip", compression_opts=1, shuffle=True,
    )  # fmt: skip
    said = "frames that the step handed on; NaN where a pixel was not seen"
    return pynwb.image.ImageSeries(
        name="corrected", data=data, unit="ADU", format="raw", description=said, **series_times(t_s)
    )


def _images(step: SessionStep, index: np.ndarray, shape: tuple[int, int]) -> Iterator[np.ndarray]:
    """The frames (x, y) that the step handed on for each index, NaN for one that it left out."""
    found = step.each_frame()
    at, pixels = next(found, (-1, None))
    for wanted in index.tolist():
        while pixels is not None and at < wanted:
            at, pixels = next(found, (-1, None))
        there = pixels is not None and at == wanted
        yield pixels.T if there and pixels is not None else np.full(shape, np.nan, np.float32)
