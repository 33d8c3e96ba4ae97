"""Zarr (v2, v3) and OME-Zarr recordings as sources. A door to zarr."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import SourceError, did_you_mean
from .arrays import AXES
from .declared import check_chunks, check_declared, check_planes, in_one_line
from .plane_selection import Stack
from .planes import PlaneSource, Window
from .zarr_written import present_chunks, written_images

ASK_FOR_LIBRARY = 'needs zarr; install it with pip install "streamfluo[formats]"'
_NAMES = {"t": "time", "c": "channel", "z": "z"}
_SECONDS = {"second": 1.0, "millisecond": 1e-3, "minute": 60.0}
_MICRONS = {"micrometer": 1.0, "nanometer": 1e-3, "millimeter": 1e3}


class ZarrSource(PlaneSource):
    """A Zarr array, or the first image of an OME-Zarr group (full resolution), or `?dataset=path/in/group`.

    The next block is decoded by a thread while this one is used.
    """

    selections = (*PlaneSource.selections, "dataset", "follow")

    decodes = True

    @classmethod
    def open(cls, path: Path, selection: Mapping[str, str]) -> PlaneSource:
        if "follow" in selection:
            from .zarr_follow import FollowedZarrSource

            return FollowedZarrSource(path, selection)
        return cls(path, selection)

    def _open(self, path: Path, selection: Mapping[str, str]) -> Stack:
        try:
            import zarr
        except ImportError:
            raise SourceError(f"{path}: {ASK_FOR_LIBRARY}") from None
        with in_one_line(f"{path}: no Zarr metadata that can be read"):
            return self._describe(zarr, path, selection.get("dataset"))

    def _describe(self, zarr: Any, path: Path, name: str | None) -> Stack:
        """Open the array that is meant. Raises SourceError, or what zarr raises on damaged metadata."""
        node: Any = zarr.open(str(path), mode="r")
        image: Mapping[str, Any] = {}
        channels: dict[str, Any] = {}
        if isinstance(node, zarr.Group):
            channels = _ome_channels(dict(node.attrs))
            node, image = _array_of(node, zarr, path, name)
        self._array = node
        if node.ndim not in AXES or not all(node.shape):
            raise SourceError(f"{path}: an array of shape {node.shape}; frames are (t, y, x) and more axes before y")
        check_chunks(path, node.chunks, node.shape, np.dtype(node.dtype).itemsize)
        axes = [a.get("name", "") if isinstance(a, dict) else str(a) for a in image.get("axes", [])]
        named = len(axes) == len(set(axes)) == node.ndim and axes[-2:] == ["y", "x"]
        names = [_NAMES.get(a, a) for a in axes[:-2]] if named else list(AXES[node.ndim])
        facts = _ome_facts(image, axes) | channels if named else {}
        held = dict(zip(names, node.shape[:-2], strict=True))
        check_planes(path, math.prod(held.values()))
        check_declared(path, "a frame", math.prod(node.shape[-2:]) * np.dtype(node.dtype).itemsize)
        self._present = self._present_chunks(node)
        there = written_images(path, node, self._present, names.index("time") if "time" in names else 0)
        return Stack(held, node.shape[-2:], np.dtype(node.dtype).newbyteorder("=").name, there=there, **facts)

    def _present_chunks(self, array: Any) -> np.ndarray:
        """Which chunks, or shards, of an array are there, along its axes."""
        return present_chunks(self.path, array)

    def _planes(self, numbers: np.ndarray, window: Window) -> np.ndarray:
        return self._images([numbers], window)[0]

    def _images(self, parts: Sequence[np.ndarray], window: Window) -> list[np.ndarray]:
        """Of planes whose images lie in the same chunks, what spans them is read in one piece: no chunk twice."""
        shared = math.prod(self._array.chunks[1:-2]) > 1
        with in_one_line(f"{self.path}: plane {parts[0][0]} or after it cannot be decoded"):
            if not shared:
                return [self._box(numbers, window) for numbers in parts]
            images = self._box(np.sort(np.concatenate(parts)), window)
            places = np.sort(np.concatenate(parts))
            return [images[np.searchsorted(places, numbers)] for numbers in parts]

    def _box(self, numbers: np.ndarray, window: Window) -> np.ndarray:
        """Return images by number (n, y, x), ascending, by one access where they are all of a box of the array."""
        sizes = self._array.shape[:-2]
        at = [np.unique(along) for along in np.unravel_index(numbers, sizes)] if sizes else []
        spans = [slice(int(along[0]), int(along[-1]) + 1) for along in at]
        if math.prod(span.stop - span.start for span in spans) == len(numbers):
            pixels = np.asarray(self._array[(*spans, *window)]).reshape(len(numbers), *self._window_shape(window))
        else:
            single = (np.unravel_index(number, sizes) for number in numbers)
            pixels = np.stack([np.asarray(self._array[(*map(int, place), *window)]) for place in single])
        return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)

    def _window_shape(self, window: Window) -> tuple[int, ...]:
        return tuple(len(range(*w.indices(n))) for w, n in zip(window, self._array.shape[-2:], strict=True))


def _array_of(group: Any, zarr: Any, path: Path, name: str | None) -> tuple[Any, Mapping[str, Any]]:
    """The array that is meant, and its OME metadata where it has some."""
    attributes = dict(group.attrs)
    images = attributes.get("ome", attributes).get("multiscales", [])
    if name is None and images and images[0].get("datasets"):
        name = str(images[0]["datasets"][0].get("path", ""))
    arrays, listed = ({}, "") if name else _arrays_in(group)
    if len(arrays) == 1:
        name = next(iter(arrays))
    try:
        array = group[name] if name else None
    except KeyError:
        array = None
    if not isinstance(array, zarr.Array):
        if name:
            arrays, listed = _arrays_in(group)
        what = f"no array {name!r}{did_you_mean(name, arrays)}; " if name else ""
        raise SourceError(f"{path}: {what}{listed}; name one: {path.name}?dataset=NAME")
    return array, images[0] if images else {}


def _arrays_in(group: Any) -> tuple[dict[str, Any], str]:
    """The arrays of a group by name, and a list of them in words, or why there is none."""
    try:
        arrays = dict(group.arrays())
    except (NotImplementedError, OSError) as error:
        return {}, f"its arrays cannot be listed: {error or type(error).__name__}"
    listed = ", ".join(f"{key} {item.shape}" for key, item in sorted(arrays.items()))
    return arrays, f"arrays: {listed or 'none that is listed'}"  # a web server lists none


def _ome_channels(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Names and colours of the channels, as `omero` lists them for display (OME-Zarr 0.4 and 0.5)."""
    held = attributes.get("ome", attributes).get("omero", {}).get("channels", [])
    colours = (str(channel.get("color", "")).lstrip("#") for channel in held)
    return {
        "channels": tuple(str(channel.get("label") or "") for channel in held),
        "colours": tuple(f"#{text.lower()}" if re.fullmatch("[0-9a-fA-F]{6}", text) else "" for text in colours),
    }


def _ome_facts(image: Mapping[str, Any], axes: list[str]) -> dict[str, Any]:
    """Interval, pixel size and z step: the scale of the array, then that of all resolutions (OME-Zarr 0.4)."""
    facts: dict[str, Any] = {}
    units = [a.get("unit") if isinstance(a, dict) else None for a in image.get("axes", [])]
    scales = [
        t["scale"]
        for level in (image.get("datasets", [{}])[0], image)
        for t in level.get("coordinateTransformations", [])
        if t.get("type") == "scale" and len(t.get("scale", ())) == len(axes)
    ]
    if not scales:
        return facts
    scale = dict(zip(axes, zip(map(math.prod, zip(*scales, strict=True)), units, strict=True), strict=True))
    if "t" in scale and scale["t"][1] in _SECONDS and scale["t"][0] > 0:
        facts["interval_s"] = float(scale["t"][0]) * _SECONDS[scale["t"][1]]
    if "z" in scale and scale["z"][1] in _MICRONS and scale["z"][0] > 0:
        facts["z_step_um"] = float(scale["z"][0]) * _MICRONS[scale["z"][1]]
    if scale["x"][0] == scale["y"][0] and scale["x"][1] in _MICRONS and scale["x"][0] > 0:
        facts["pixel_um"] = float(scale["x"][0]) * _MICRONS[scale["x"][1]]
    return facts
