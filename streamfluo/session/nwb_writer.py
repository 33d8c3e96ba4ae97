"""Writing frames as NWB, by pynwb, and reading them back. A door to pynwb.

A plane is a series of `acquisition`, with the time of each frame since the series began. What never came is left out,
and stands in `invalid_times`: from the last frame before it to the first one after it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ..core.errors import ConfigError, SourceError
from ..core.names import plane_file_names
from ..core.plane import Plane, PlaneGrid
from ..core.spec import Spec
from .inputs import RecordedInput
from .nwb_metadata import NwbMetadata, Subject
from .nwb_results import add_results
from .reader import Session

CHUNK_BYTES = 1 << 20  # frames are put together to about so much
LOSSES = "frames that never came"
MOMENT_S = 1e-9  # of a text: NWB's intervals end after they begin
WHOLE = "frames"  # the file of the time points that all planes have, which has the results too


def write_nwb(
    path: Path,
    frames: Iterable[tuple[int, int, np.ndarray]],
    count: int,
    spec: Spec,
    session: Session,
    metadata: NwbMetadata | None = None,
) -> None:
    """Write `count` frames (index, t_ns, pixels (y, x)) as an NWB file.

    Of several planes `count` time points, their planes in the order of their `PlaneGrid`. Raises SourceError without
    pynwb, ConfigError where the metadata lack a channel.
    """
    try:
        import pynwb
    except ImportError:
        raise SourceError(f'{path}: needs pynwb; install it with pip install "streamfluo[nwb]"') from None
    whole = _file(pynwb, session, metadata)
    planes = _planes(spec)
    written = [_Plane(pynwb, spec, count, name) for name in planes]
    for plane, one in zip(planes.values(), written, strict=True):
        whole.add_acquisition(_series(pynwb, whole, one, plane, spec, metadata))
    for recorded in session.recorded_inputs.by_name.values():
        _add_input(pynwb, whole, recorded)
    if path.stem == WHOLE:
        add_results(pynwb, whole, session)
    with pynwb.NWBHDF5IO(path, "w") as file:
        file.write(whole)
        for n, frame in enumerate(frames):
            written[n % len(written)].append(*frame)
        for one in written:
            one.flush()
    _state_rates(path, written)
    if not any(one.losses for one in written):
        return
    with pynwb.NWBHDF5IO(path, "a") as file:
        whole = file.read()
        for one in written:
            for start_s, stop_s in one.losses:
                whole.add_invalid_time_interval(
                    start_time=start_s, stop_time=stop_s, tags=[LOSSES], timeseries=[whole.acquisition[one.name]]
                )
        file.write(whole)


def _state_rates(path: Path, written: Iterable[_Plane]) -> None:
    """Put a rate in the place of times that are regular: known only once all frames have come."""
    import h5py

    with h5py.File(path, "r+") as file:
        for one in written:
            if one.rate_hz is None:
                continue
            series = file["acquisition"][one.name]
            start_s = float(series["timestamps"][0])
            del series["timestamps"]
            series["starting_time"] = start_s
            series["starting_time"].attrs.update({"rate": one.rate_hz, "unit": "seconds"})


def _times_s(series: Any, part: slice) -> np.ndarray:
    """The times of a series that `write_nwb` wrote [s], of frames by number."""
    if "timestamps" in series:
        return np.asarray(series["timestamps"][part])
    first = series["starting_time"]
    number = np.arange(len(series["data"]))[part]
    return np.rint(float(first[()]) * 1e9 + number * (1e9 / first.attrs["rate"])) / 1e9


def nwb_frames(path: Path, spec: Spec) -> Iterator[tuple[np.ndarray, float]]:
    """Yield pixels (y, x) and time [s] of the frames of `write_nwb`, in the order of writing. Raises OSError."""
    import h5py

    with h5py.File(path, "r") as file:
        series = [file["acquisition"][name] for name in _planes(spec)]
        count, step = len(series[0]["data"]), series[0]["data"].chunks[0]
        for start in range(0, count, step):
            part = np.s_[start : start + step]
            read = [(one["data"][part], _times_s(one, part)) for one in series]
            for n in range(len(read[0][1])):
                yield from ((pixels[n].T, float(times_s[n])) for pixels, times_s in read)


class _Plane:
    """The frames of one plane, put together to whole chunks as they come."""

    def __init__(self, pynwb: Any, spec: Spec, count: int, name: str) -> None:
        y, x = spec.shape
        self._chunk = max(1, min(count, CHUNK_BYTES // spec.frame_nbytes))
        self.name = name
        # NWB stores frames as (t, x, y).
        self.data = pynwb.H5DataIO(
            shape=(count, x, y), dtype=np.dtype(spec.dtype), chunks=(self._chunk, x, y),
            compression="gzip", compression_opts=1, shuffle=True,
        )  # fmt: skip
        self.times_s = pynwb.H5DataIO(shape=(count,), dtype=np.dtype(float))
        self.losses: list[tuple[float, float]] = []
        self._waiting: list[tuple[float, np.ndarray]] = []
        self._done, self._last = 0, (-1, 0)
        self._steps_ns: set[int] = set()

    def append(self, index: int, t_ns: int, pixels: np.ndarray) -> None:
        t_s = t_ns / 1e9
        last, last_ns = self._last
        if index > last + 1 and last >= 0:
            self.losses.append((last_ns / 1e9, t_s))
        if last >= 0 and len(self._steps_ns) < 2:
            self._steps_ns.add(t_ns - last_ns)
        self._last = index, t_ns
        self._waiting.append((t_s, pixels))
        if len(self._waiting) == self._chunk:
            self.flush()

    @property
    def rate_hz(self) -> float | None:
        """The rate where the times are regular to the nanosecond and no frame is missing, else None."""
        (step_ns,) = self._steps_ns if len(self._steps_ns) == 1 else (0,)
        return 1e9 / step_ns if step_ns > 0 and not self.losses else None

    def flush(self) -> None:
        if not self._waiting:
            return
        where = np.s_[self._done : self._done + len(self._waiting)]
        self.times_s.dataset[where] = [t_s for t_s, _ in self._waiting]
        self.data.dataset[where] = np.stack([pixels.T for _, pixels in self._waiting])
        self._done += len(self._waiting)
        self._waiting.clear()


def _planes(spec: Spec) -> dict[str, Plane]:
    """The planes in the order of the grid, each under the name of its series."""
    if not spec.planes:
        return {"frames": Plane(spec.channel or "frames")}
    order = PlaneGrid.of(spec.planes).order
    names = plane_file_names([plane.name for plane in order])
    return {f"frames-{names[plane.name]}": plane for plane in order}


def _file(pynwb: Any, session: Session, metadata: NwbMetadata | None) -> Any:
    """The NWB file without its frames."""
    series = session.series
    began = datetime.fromtimestamp(series["t0_ns"] / 1e9, UTC)
    if not series["t0_ns"] and session.facts.get("started"):  # the source does not know; NWB asks for a time
        began = datetime.fromisoformat(session.facts["started"])
    recorded = f"{series['source']}, recorded by streamfluo as {session.path.name}"
    config = session.path / "config.toml"
    about: dict[str, Any] = {"notes": config.read_text(encoding="utf-8", errors="replace")} if config.exists() else {}
    if metadata is not None:
        names = ("session_id", "experiment_description", "institution", "lab", "experimenter", "keywords")
        about |= {name: value for name in names if (value := getattr(metadata, name))}
        about |= {"subject": _subject(pynwb, metadata.subject)} if metadata.subject else {}
        recorded = metadata.session_description or recorded
    return pynwb.NWBFile(
        session_description=recorded, identifier=f"{series['uid']} {uuid.uuid4()}", session_start_time=began, **about
    )


def _subject(pynwb: Any, subject: Subject) -> Any:
    known = {name: value for name, value in msgspec.structs.asdict(subject).items() if value is not None}
    if born := known.get("date_of_birth"):
        known["date_of_birth"] = datetime(born.year, born.month, born.day, tzinfo=UTC)
    return pynwb.file.Subject(**known)


def _add_input(pynwb: Any, whole: Any, recorded: RecordedInput) -> None:
    """What else came while frames did, on the frames' clock: numbers as a series, texts as moments."""
    name, times_s = f"input-{recorded.name}", recorded.t_ns / 1e9
    description = f"input {recorded.name}; its clock is known to {recorded.clock.error_ns / 1e6:.3f} ms"
    if recorded.undetermined:
        description = f"input {recorded.name}; times of arrival, its clock is undetermined: {recorded.undetermined}"
    if not recorded.is_text:
        whole.add_acquisition(
            pynwb.TimeSeries(name=name, data=recorded.value, timestamps=times_s, unit="n.a.", description=description)
        )
        return
    moments = pynwb.epoch.TimeIntervals(name=name, description=description)
    moments.add_column("text", "what came")
    for t_s, text in zip(times_s, recorded.value.tolist(), strict=True):
        moments.add_interval(start_time=t_s, stop_time=t_s + MOMENT_S, text=text)
    whole.add_time_intervals(moments)


def _series(pynwb: Any, whole: Any, written: _Plane, plane: Plane, spec: Spec, metadata: NwbMetadata | None) -> Any:
    """The series of a plane: images, or what an imaging plane of the stated optics showed."""
    said: Mapping[str, Any] = {
        "name": written.name, "data": written.data, "timestamps": written.times_s, "unit": "ADU",
        "description": "raw frames; those that never came are left out",
    }  # fmt: skip
    if metadata is None:
        from pynwb.image import ImageSeries

        return ImageSeries(format="raw", **said)
    from pynwb.ophys import OnePhotonSeries, TwoPhotonSeries

    kind = TwoPhotonSeries if metadata.modality == "two-photon" else OnePhotonSeries
    return kind(imaging_plane=_imaging_plane(whole, written.name, plane, spec, metadata), **said)


def _imaging_plane(whole: Any, series: str, plane: Plane, spec: Spec, metadata: NwbMetadata) -> Any:
    from pynwb.ophys import OpticalChannel

    device = whole.devices.get("microscope") or whole.create_device(name="microscope", description=metadata.microscope)
    emission_nm = metadata.emission_nm
    if not isinstance(emission_nm, float):
        if plane.channel not in emission_nm:
            raise ConfigError(f"metadata: emission_nm has no channel {plane.channel!r}, found {', '.join(emission_nm)}")
        emission_nm = emission_nm[plane.channel]
    channel = OpticalChannel(name=plane.channel, description=f"channel {plane.channel}", emission_lambda=emission_nm)
    pixel_um = plane.pixel_um or spec.pixel_um
    grid = {"grid_spacing": [pixel_um, pixel_um], "grid_spacing_unit": "micrometers"} if pixel_um else {}
    depth = "" if plane.z_um is None else f" at {plane.z_um:g} µm"
    return whole.create_imaging_plane(
        name=series.replace("frames", "plane"), description=f"slice {plane.z}{depth}", device=device,
        optical_channel=channel, excitation_lambda=metadata.excitation_nm, indicator=metadata.indicator,
        location=metadata.location, imaging_rate=1 / spec.interval_s if spec.interval_s else None, **grid,
    )  # fmt: skip
