"""Cells and regions of a step as NWB: a plane segmentation with sparse masks, and series of values over all its rows.

The series have the names that other readers look for: `RoiResponseSeries` (demixed, or a region's mean), `Neuropil`,
`Denoised`, `Deconvolved` in `Fluorescence`, and `RoiResponseSeries` in `DfOverF`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .cell_writers import Components, VolumeCells
from .recorded_step import SessionStep

NO_PIXEL = [(0, 0, 0.0)]  # of a component that was merged by hand: NWB takes no empty mask
DELAY = "how much later than the times of the series its values were taken, the mean of its slices [s]"
NOISE = "standard deviations of the noise of one frame"
MASKS, RAW = "masks", ("mean", "trace")  # what steps give that measure regions


class Series(NamedTuple):
    """Values (K, T) in a container of that name: the series' name, unit and description."""

    place: str
    name: str
    values: np.ndarray
    unit: str
    said: str


class Rows(NamedTuple):
    """K rows of a segmentation: ids, masks (y·x, K) of frames of that shape, or (z·y·x, K) of a volume's, further
    columns with a description each, series and their times (T,) [s]."""

    said: str
    ids: np.ndarray
    masks: Any
    shape: tuple[int, ...]
    columns: Mapping[str, tuple[str, np.ndarray]]
    series: tuple[Series, ...]
    t_s: np.ndarray


def rows_of_components(step: str, cells: Components) -> Rows:
    """Return the rows of the components of a step."""
    columns = {
        "accepted": ("whether it is accepted as a cell, with what people decided", np.asarray(cells.accepted)),
        "snr": ("signal to noise", cells.snr),
        "spatial_corr": ("correlation of the footprint and the images in which it is active", cells.spatial_corr),
        "birth_frame": ("index of the frame from which it has traces", cells.birth_frame),
        "structural": ("whether it is marked as a cell of the structural channel", np.asarray(cells.structural)),
        "structural_chance": ("chance of that, NaN without such a channel", np.asarray(cells.structural_chance)),
        "decision": ("what people decided about it, empty where they did not", np.asarray(cells.decision)),
    }
    rate = f"{NOISE} per second"
    series = (
        Series("Fluorescence", "RoiResponseSeries", cells.raw, NOISE, "demixed activity; 0 before it was found"),
        Series("Fluorescence", "Denoised", cells.traces, NOISE, "denoised activity"),
        Series("Fluorescence", "Deconvolved", cells.spikes, rate, "rate of spikes up to a factor"),
        Series("DfOverF", "RoiResponseSeries", cells.dff, "n.a.", "ΔF/F; NaN where F0 is near 0"),
    )
    said = f"footprints of step {step}; weights in ADU per noise σ of activity"
    return Rows(said, cells.ids, cells.footprints, cells.shape, columns, series, cells.t_s)


def rows_of_cells(name: str, cells: VolumeCells) -> Rows:
    """Return the rows of the cells of a volume, whose masks are voxels: z is the place of the slice in `planes`."""
    known = cells.columns()
    columns = {
        "slices": ("on how many slices it is", known["sections"]),
        "z_um": ("depth of its centre [µm], NaN where that is not known", known["z_um"]),
        "y_um": ("centre along y [µm]", known["y_um"]),
        "x_um": ("centre along x [µm]", known["x_um"]),
        "delay_s": (DELAY, known["delay_s"]),
    }
    series = (
        Series("Fluorescence", "RoiResponseSeries", cells.raw, NOISE, "demixed activity, NaN before it was found"),
        Series("Fluorescence", "Denoised", cells.traces, NOISE, "denoised activity"),
        Series("Fluorescence", "Deconvolved", cells.spikes, f"{NOISE} per second", "rate of spikes up to a factor"),
        Series("DfOverF", "RoiResponseSeries", cells.dff, "n.a.", "ΔF/F; NaN where F0 is near 0"),
    )
    said = f"cells of {name} in the slices {', '.join(cells.planes)}; weights in ADU per noise σ of activity"
    return Rows(said, cells.ids, cells.footprints(), (len(cells.planes), *cells.shape), columns, series, cells.t_s)


def rows_of_masks(step: SessionStep) -> Rows | None:
    """Return the rows of the regions that a step measures, None of a step that measures none.

    Such a step gives values by id, and `masks` with the region that each pixel belongs to, its id and 1.
    """
    gives = {given.name: given for given in step.session.steps[step.id].gives}
    by_id = [given for given in gives.values() if given.kind == "by_id"]
    masks = step.snapshot.get(MASKS) if MASKS in gives and by_id else None
    values = step.values if masks is not None else {}
    ids = values.get("ids")
    if masks is None or ids is None or masks.ndim != 2 or masks.max(initial=0) <= 0:
        return None
    pixel = np.flatnonzero(masks)
    number = masks.reshape(-1)[pixel].astype(int) - 1
    if not np.isin(number, ids).all():
        return None
    place = (pixel, np.searchsorted(ids, number))
    from scipy.sparse import csc_matrix  # which a run need not wait for

    sparse = csc_matrix((np.ones(len(pixel), np.float32), place), shape=(masks.size, len(ids)))
    series = tuple(
        Series(
            "DfOverF" if given.name == "dff" else "Fluorescence",
            "RoiResponseSeries" if given.name in ("dff", *RAW) else given.name.capitalize(),
            values[given.name].T,
            given.unit or "n.a.",
            given.meaning,
        )
        for given in by_id
        if given.name in values and values[given.name].ndim == 2
    )
    return Rows(f"regions of step {step.id}", ids, sparse, masks.shape, {}, series, step.t_s)


def series_times(t_s: np.ndarray, first: Any = None) -> dict[str, Any]:
    """Return what a series says of its times [s]: a rate where they are regular to the nanosecond, else each one.

    `first`: an earlier series of the same times, which is linked.
    """
    t_ns = np.rint(t_s * 1e9).astype(np.int64)
    step_ns = np.unique(np.diff(t_ns))
    if len(step_ns) == 1 and step_ns[0] > 0:
        return {"starting_time": float(t_s[0]), "rate": 1e9 / float(step_ns[0])}
    return {"timestamps": t_s if first is None else first}


def add_segmentation(pynwb: Any, ophys: Any, rows: Rows, plane: Any, suffix: str) -> None:
    """Add rows and their series to a processing module; each name ends in `suffix`."""
    if "ImageSegmentation" not in ophys.data_interfaces:
        ophys.add(pynwb.ophys.ImageSegmentation(name="ImageSegmentation"))
    table = pynwb.ophys.PlaneSegmentation(name=f"PlaneSegmentation{suffix}", imaging_plane=plane, description=rows.said)
    for name, (said, _) in rows.columns.items():
        table.add_column(name, said)
    for k, i in enumerate(rows.ids.tolist()):
        told = {name: array[k] for name, (_, array) in rows.columns.items()}
        if len(rows.shape) == 3:
            table.add_roi(id=i, voxel_mask=_voxels(rows, k), **told)
        else:
            table.add_roi(id=i, pixel_mask=_pixels(rows, k) or NO_PIXEL, **told)
    ophys["ImageSegmentation"].add_plane_segmentation(table)
    if not len(rows.t_s) or np.isnan(rows.t_s).any():
        return
    region = table.create_roi_table_region(region=list(range(len(rows.ids))), description=rows.said)
    first = None
    for place, name, values, unit, said in rows.series:
        if place not in ophys.data_interfaces:
            ophys.add(getattr(pynwb.ophys, place)(name=place))
        series = pynwb.ophys.RoiResponseSeries(
            name=name + suffix, data=np.ascontiguousarray(values.T), rois=region, unit=unit, description=said,
            **series_times(rows.t_s, first),
        )  # fmt: skip
        ophys[place].add_roi_response_series(series)
        first = series if first is None else first


def _pixels(rows: Rows, k: int) -> list[tuple[int, int, float]]:
    """The pixels (x, y, weight) of a row's mask."""
    part = slice(*rows.masks.indptr[k : k + 2])
    y, x = np.divmod(rows.masks.indices[part], rows.shape[1])
    return list(zip(x.tolist(), y.tolist(), rows.masks.data[part].tolist(), strict=True))


def _voxels(rows: Rows, k: int) -> list[tuple[int, int, int, float]]:
    """The voxels (x, y, z, weight) of a row's mask."""
    part = slice(*rows.masks.indptr[k : k + 2])
    z, y, x = np.unravel_index(rows.masks.indices[part], rows.shape)
    return list(zip(x.tolist(), y.tolist(), z.tolist(), rows.masks.data[part].tolist(), strict=True))
