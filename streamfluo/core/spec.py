"""What is settled before frame 0: the spec of a stream, and the camera that made it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from .errors import FrameError, did_you_mean
from .plane import ONE_PLANE, Plane, checked_planes
from .stored_arrays import NOT_AN_ARRAY, stored_arrays

# What kernels are compiled for. The wire carries all but int32 and float64 (core/wire.py).
FRAME_DTYPES = ("uint8", "uint16", "uint32", "int16", "int32", "float32", "float64")
MAX_SIDE_PX = 65536

CameraValue = float | np.ndarray | None


@dataclass(frozen=True, eq=False)
class Camera:
    """What is known of a camera: each field a scalar, a (y, x) map, or None if unknown.

    `offset_adu`, `saturation_adu` in ADU; `gain_e_per_adu` in electrons per ADU; `read_noise_e` the standard
    deviation in electrons; `qe` electrons per photon. `excess_noise`, a number, is the variance of a pixel's electrons
    over that of shot noise: 1, or 2 behind an EM register (Robbins & Hadwen 2003, IEEE Trans. Electron Devices 50).
    Raises FrameError for text, negative gains or maps that are not two-dimensional.
    """

    offset_adu: CameraValue = None
    gain_e_per_adu: CameraValue = None
    read_noise_e: CameraValue = None
    qe: CameraValue = None
    saturation_adu: CameraValue = None
    excess_noise: float = 1.0

    def __post_init__(self) -> None:
        for name, value in self.items():
            object.__setattr__(self, name, _camera_value(name, value))

    def items(self) -> list[tuple[str, CameraValue]]:
        """Field names and values, in order."""
        return [(f.name, getattr(self, f.name)) for f in fields(self)]

    def known(self) -> dict[str, float | np.ndarray]:
        """The fields that are known, by name; excess noise where it is not 1."""
        return {n: v for n, v in self.items() if v is not None and not (n == "excess_noise" and v == 1.0)}

    def updated(self, other: Camera) -> Camera:
        """This camera with what the other knows; gain and excess noise, which belong together, from one of the two."""
        if other.gain_e_per_adu is not None:
            return replace(self, **{"excess_noise": 1.0, **other.known()})  # type: ignore[arg-type]
        return replace(self, **other.known())  # type: ignore[arg-type]

    def for_frames(self, spec: Spec) -> Camera:
        """Return the camera of a spec's frames: maps of the whole chip are cut to the window that they show."""
        window = tuple(slice(int(o), int(o) + side) for o, side in zip(spec.origin_px, spec.shape, strict=True))
        maps = {name: v for name, v in self.items() if isinstance(v, np.ndarray) and v.shape != spec.shape}
        parts = {name: v[window] for name, v in maps.items() if any(spec.origin_px) and v[window].shape == spec.shape}
        return replace(self, **parts)  # type: ignore[arg-type]

    def cut(self, rows: slice, columns: slice) -> Camera:
        """Return the camera of a window of the pixels."""
        parts = {name: v[rows, columns] for name, v in self.items() if isinstance(v, np.ndarray)}
        return replace(self, **parts)  # type: ignore[arg-type]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Camera):
            return NotImplemented
        return all(
            (a is None and b is None) or (a is not None and b is not None and np.array_equal(a, b))
            for (_, a), (_, b) in zip(self.items(), other.items(), strict=True)
        )

    __hash__ = None  # type: ignore[assignment]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the known fields as an .npz and return its path."""
        path = Path(path).with_suffix(".npz")
        np.savez(path, **{name: np.asarray(v) for name, v in self.known().items()})  # type: ignore[arg-type]
        return path

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Camera:
        """Return the camera that arrays by name describe, as `save` writes them; other names are left out."""
        known = {f.name for f in fields(cls)}
        return cls(**{name: np.asarray(array)[()] for name, array in arrays.items() if name in known})  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Camera:
        """Read what `save` wrote. Raises FrameError naming the file if it is not such an .npz."""
        try:
            with stored_arrays(Path(path)) as stored:
                return cls.of({name: stored.read(name) for name in stored.names})
        except NOT_AN_ARRAY as error:
            raise FrameError(f"{path}: not a camera calibration (.npz written by Camera.save): {error}") from None


def _camera_value(name: str, value: Any) -> CameraValue:
    if value is None:
        return None
    try:
        array = np.asarray(value, float)
    except (TypeError, ValueError):
        raise FrameError(f"camera: {name} must be a number or a (y, x) map, found {value!r}") from None
    if array.ndim not in (0, 2):
        raise FrameError(f"camera: {name} must be a number or a (y, x) map, found an array of shape {array.shape}")
    if name in ("gain_e_per_adu", "qe", "saturation_adu") and not (array > 0).all():
        raise FrameError(f"camera: {name} must be positive, found {float(array.min())}")
    if name == "excess_noise" and not (array.ndim == 0 and 1 <= array < np.inf):
        raise FrameError(
            f"camera: excess_noise is one number of at least 1 (2 behind an EM register), found {value!r:.60}"
        )
    if name == "read_noise_e" and not (array >= 0).all():
        raise FrameError(f"camera: read_noise_e must not be negative, found {float(array.min())}")
    return float(array) if array.ndim == 0 else array


@dataclass(frozen=True)
class Spec:
    """A stream's settled facts: frame `shape` (y, x), `dtype`, frame interval, pixel size, channel, camera, planes.

    `origin_px` (y, x), in pixels of this stream, is added to a place in its frames to have that on the whole chip.
    `dtype` takes any numpy spelling and is kept as numpy's name for the native type ('uint16'). `interval_s` and
    `pixel_um` are None where the source does not say. `planes` lists the channels and slices of a stream of several,
    whose frames are all of this shape; `interval_s` is then the time between two frames of one plane. Raises FrameError
    for shapes, types or planes no stream can have.
    """

    shape: tuple[int, int]
    dtype: str
    interval_s: float | None = None
    pixel_um: float | None = None
    channel: str = ""
    camera: Camera | None = None
    origin_px: tuple[float, float] = (0.0, 0.0)
    planes: tuple[Plane, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "planes", checked_planes(self.planes))
        object.__setattr__(self, "origin_px", _origin(self.origin_px))
        object.__setattr__(self, "shape", _frame_shape(self.shape))
        object.__setattr__(self, "dtype", frame_dtype(self.dtype).name)
        for name in ("interval_s", "pixel_um"):
            value = getattr(self, name)
            if value is not None:
                if not (np.isfinite(value) and value > 0):
                    raise FrameError(f"spec: {name} must be positive or None, found {value!r}")
                object.__setattr__(self, name, float(value))
        for name, value in self.camera.items() if self.camera else ():
            if isinstance(value, np.ndarray) and value.shape != self.shape:
                raise FrameError(f"camera: {name} is {value.shape}, the frames are {self.shape}")

    @property
    def frame_nbytes(self) -> int:
        """Bytes of one frame."""
        return self.shape[0] * self.shape[1] * np.dtype(self.dtype).itemsize

    @property
    def plane_names(self) -> tuple[str, ...]:
        """The names of the planes in order; of a stream that lists none the one name ""."""
        return tuple(plane.name for plane in self.planes) or (ONE_PLANE,)

    def plane(self, name: str) -> Spec:
        """Return the spec of one plane of the stream as a stream of its own. Raises FrameError for one it lacks."""
        if not self.planes and name == ONE_PLANE:
            return self
        for plane in self.planes:
            if plane.name == name:
                return replace(self, planes=(), channel=plane.channel, pixel_um=plane.pixel_um or self.pixel_um)
        raise FrameError(f"no plane {name!r}{did_you_mean(name, self.plane_names)}")

    def with_(self, **changes: Any) -> Spec:
        """Return a copy with some fields changed."""
        return replace(self, **changes)

    def cut(self, rows: slice, columns: slice) -> Spec:
        """Return the spec of a window of the frames: camera maps are cut with it, and its origin is kept."""
        (height, width), (y, x) = self.shape, self.origin_px
        shape = len(range(*rows.indices(height))), len(range(*columns.indices(width)))
        origin = y + (rows.start or 0), x + (columns.start or 0)
        camera = self.camera and self.camera.cut(rows, columns)
        return replace(self, shape=shape, origin_px=origin, camera=camera)

    def to_header(self) -> dict[str, Any]:
        """Plain values for a message or a JSON file; camera maps are named only, they travel as arrays."""
        camera: Mapping[str, Any] = self.camera.known() if self.camera else {}
        told: dict[str, Any] = {k: v for k, v in camera.items() if isinstance(v, float)}
        if maps := [k for k, v in camera.items() if isinstance(v, np.ndarray)]:
            told["maps"] = maps
        if any(self.origin_px):
            told["origin_px"] = list(self.origin_px)
        header = {
            "shape": list(self.shape),
            "dtype": np.dtype(self.dtype).str,
            "interval_s": self.interval_s,
            "pixel_um": self.pixel_um,
            "channel": self.channel,
            "camera": told or None,
        }
        return header | ({"planes": [plane.to_header() for plane in self.planes]} if self.planes else {})

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> Spec:
        """Rebuild a spec from `to_header`; keys of other producers are ignored."""
        known, told = {f.name for f in fields(Camera)}, header.get("camera") or {}
        camera = {k: v for k, v in told.items() if k in known and v is not None}
        return cls(
            shape=header["shape"],
            dtype=header["dtype"],
            interval_s=header.get("interval_s"),
            pixel_um=header.get("pixel_um"),
            channel=header.get("channel") or "",
            camera=Camera(**camera) if camera else None,
            origin_px=told.get("origin_px") or (0.0, 0.0),
            planes=tuple(map(Plane.from_header, header.get("planes") or ())),
        )


def frame_dtype(spelling: Any) -> np.dtype[Any]:
    """Return the native dtype for any numpy spelling. Raises FrameError for types frames cannot have."""
    try:
        dtype = np.dtype(spelling).newbyteorder("=")
    except (TypeError, ValueError, SyntaxError):  # numpy reads a dtype's text in several ways
        raise FrameError(f"frames cannot be of type {spelling!r}; use one of {', '.join(FRAME_DTYPES)}") from None
    if dtype.name not in FRAME_DTYPES:
        raise FrameError(f"frames cannot be of type {dtype.name!r}; use one of {', '.join(FRAME_DTYPES)}")
    return dtype


def _origin(origin: Any) -> tuple[float, float]:
    try:
        y, x = (float(n) for n in origin)
    except (TypeError, ValueError):
        raise FrameError(f"spec: origin_px is (y, x), found {origin!r}") from None
    if not (np.isfinite(y) and np.isfinite(x)):
        raise FrameError(f"spec: origin_px must be finite, found {origin!r}")
    return y, x


def _frame_shape(shape: Any) -> tuple[int, int]:
    try:
        y, x = (int(n) for n in shape)
    except (TypeError, ValueError):
        raise FrameError(f"a frame's shape is (y, x), found {shape!r}") from None
    if not (1 <= y <= MAX_SIDE_PX and 1 <= x <= MAX_SIDE_PX):
        raise FrameError(f"a frame's sides are 1 to {MAX_SIDE_PX} pixels, found {(y, x)}")
    return y, x
