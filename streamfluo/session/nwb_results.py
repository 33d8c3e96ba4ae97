"""What a chain found, as NWB: cells and their traces, and the shifts of the frames. pynwb comes from its door.

The series have the names that other readers look for: `RoiResponseSeries` (demixed), `Denoised`, `Deconvolved` in
`Fluorescence`, and `RoiResponseSeries` in `DfOverF`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..core.names import as_file_name, plane_file_names
from .cell_writers import Components, Found, found_cells
from .reader import Session
from .recorded_step import SessionStep

SHIFT = "shift_px"
CHUNK_BYTES = 1 << 20
NO_PIXEL = [(0, 0, 0.0)]  # of a component that was merged by hand: NWB takes no empty mask
NOISE = "standard deviations of the noise of one frame"


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
    found = [one for one in found_cells(session) if len(one.cells.ids)]
    for one in found:
        suffix = "" if len(found) == 1 else "-" + "-".join(filter(None, (as_file_name(one.step), names.get(one.plane))))
        plane = whole.imaging_planes["-".join(filter(None, ("plane", names.get(one.plane))))]
        _Cells(pynwb, whole, one, plane, suffix).add()


def series_times(t_s: np.ndarray, first: Any = None) -> dict[str, Any]:
    """Return what a series says of its times [s]: a rate where they are regular to the nanosecond, else each one.

    `first`: an earlier series of the same times, which is linked.
    """
    t_ns = np.rint(t_s * 1e9).astype(np.int64)
    step_ns = np.unique(np.diff(t_ns))
    if len(step_ns) == 1 and step_ns[0] > 0:
        return {"starting_time": float(t_s[0]), "rate": 1e9 / float(step_ns[0])}
    return {"timestamps": t_s if first is None else first}


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
    (_, first), (y, x) = next(step.each_frame(), (0, np.zeros(step.sees.shape, np.float32))), step.sees.shape
    length = max(1, min(len(index), CHUNK_BYTES // first.nbytes))
    images = pynwb.DataChunkIterator(_images(step, index), buffer_size=length, maxshape=(None, x, y), dtype=first.dtype)
    data = pynwb.H5DataIO(
        data=images, chunks=(length, x, y), compression="gzip", compression_opts=1, shuffle=True,
    )  # fmt: skip
    said = "frames that the step handed on; NaN where a pixel was not seen"
    return pynwb.image.ImageSeries(
        name="corrected", data=data, unit="ADU", format="raw", description=said, **series_times(t_s)
    )


def _images(step: SessionStep, index: np.ndarray) -> Iterator[np.ndarray]:
    found = step.each_frame()
    at, pixels = next(found, (-1, None))
    for wanted in index.tolist():
        while pixels is not None and at < wanted:
            at, pixels = next(found, (-1, None))
        there = pixels is not None and at == wanted
        yield pixels.T if there and pixels is not None else np.full(step.sees.shape[::-1], np.nan, np.float32)


class _Cells:
    """The cells of one step: a plane segmentation with sparse masks, and series of values over all of its rows."""

    def __init__(self, pynwb: Any, whole: Any, found: Found, plane: Any, suffix: str) -> None:
        self._pynwb, self._whole, self._found, self._plane, self._suffix = pynwb, whole, found, plane, suffix

    def add(self) -> None:
        ophys, cells = _processing(self._whole), self._found.cells
        if "ImageSegmentation" not in ophys.data_interfaces:
            ophys.add(self._pynwb.ophys.ImageSegmentation(name="ImageSegmentation"))
            ophys.add(self._pynwb.ophys.Fluorescence(name="Fluorescence"))
            ophys.add(self._pynwb.ophys.DfOverF(name="DfOverF"))
        rows = self._segmentation(ophys["ImageSegmentation"])
        t_s = cells.t_s
        if not len(t_s) or np.isnan(t_s).any():
            return
        first = None
        for place, name, values, unit, said in _series(cells):
            series = self._pynwb.ophys.RoiResponseSeries(
                name=name + self._suffix, data=np.ascontiguousarray(values.T), rois=rows, unit=unit, description=said,
                **series_times(t_s, first),
            )  # fmt: skip
            ophys[place].add_roi_response_series(series)
            first = series if first is None else first

    def _segmentation(self, segmentation: Any) -> Any:
        cells, found = self._found.cells, self._found
        table = self._pynwb.ophys.PlaneSegmentation(
            name=f"PlaneSegmentation{self._suffix}", imaging_plane=self._plane,
            description=f"footprints of step {found.step}; weights in ADU per noise σ of activity",
        )  # fmt: skip
        columns = _columns(cells)
        for name, (said, _) in columns.items():
            table.add_column(name, said)
        for k, i in enumerate(cells.ids.tolist()):
            table.add_roi(
                id=i, pixel_mask=pixel_mask(cells, k) or NO_PIXEL, **{name: a[k] for name, (_, a) in columns.items()}
            )
        segmentation.add_plane_segmentation(table)
        return table.create_roi_table_region(
            region=list(range(len(cells.ids))), description=f"all components of step {found.step}"
        )


def _columns(cells: Components) -> Mapping[str, tuple[str, np.ndarray]]:
    """What is said of each component beside its mask: a description and the values (K,)."""
    return {
        "accepted": ("whether it is accepted as a cell, with what people decided", np.asarray(cells.accepted)),
        "snr": ("signal to noise", cells.snr),
        "spatial_corr": ("correlation of the footprint and the images in which it is active", cells.spatial_corr),
        "birth_frame": ("index of the frame from which it has traces", cells.birth_frame),
        "decision": ("what people decided about it, empty where they did not", np.asarray(cells.decision)),
    }


def pixel_mask(cells: Components, row: int) -> list[tuple[int, int, float]]:
    """Return the pixels (x, y, weight) of a component's footprint."""
    part = slice(*cells.footprints.indptr[row : row + 2])
    y, x = np.divmod(cells.footprints.indices[part], cells.shape[1])
    return list(zip(x.tolist(), y.tolist(), cells.footprints.data[part].tolist(), strict=True))


def _series(cells: Components) -> tuple[tuple[str, str, np.ndarray, str, str], ...]:
    """In which container, name, values (K, T), unit, description."""
    return (
        ("Fluorescence", "RoiResponseSeries", cells.raw, NOISE, "demixed activity; 0 before a component was found"),
        ("Fluorescence", "Denoised", cells.traces, NOISE, "denoised activity"),
        ("Fluorescence", "Deconvolved", cells.spikes, f"{NOISE} per second", "rate of spikes up to a factor"),
        ("DfOverF", "RoiResponseSeries", cells.dff, "n.a.", "ΔF/F; NaN where F0 is near 0"),
    )
