"""What the metadata of a TIFF say about the stack: planes, frame interval, pixel size, start."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from ..core.errors import SourceError
from .declared import MAX_TIME_NS
from .tiff_scanimage import scanimage_facts, scanimage_planes

_SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3, "µs": 1e-6, "min": 60.0}
_MICRONS = {"µm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "nm": 1e-3, "mm": 1e3}
# Formats whose planes only tifffile can name; the others say it in one tag, at no cost for 100 000 pages.
_LISTED_BY_TIFFFILE = ("lsm", "stk", "ndtiff", "mmstack", "fluoview", "scanimage")

_IMAGEJ_AXES = {"time": "frames", "z": "slices", "channel": "channels"}  # slowest first, as ImageJ stores them
_UNNAMED = {1: "T", 2: "TZ", 3: "TCZ"}  # what leading axes without names are taken for, as in arrays
_COUNTS = {"channel": "channels", "z": "slices"}  # keys of a selection that say how many there are
_AXES = {"T": "time", "C": "channel", "Z": "z", "S": "sample", "Y": "height", "X": "width"}


@dataclass
class About:
    """What the metadata say: planes by axis name (slowest first), frame interval, pixel size, start, channel names.

    `one_directory`: the format may describe all planes, one after the other in the file, by their first directory.
    `open_ended`: of time there is as much as there are pages. `flyback`: slices after the last of a volume that are
    no planes. `chunk`: the shape that tifffile wrote at once. `pages_needed`: how many must be there to know all this
    of a file that `grows`. `times_ns`: of each image, in the order of the axes.
    """

    sizes: dict[str, int] = field(default_factory=dict)
    one_directory: bool = False
    interval_s: float | None = None
    pixel_um: float | None = None
    t0_ns: int | None = None
    channels: tuple[str, ...] = ()
    open_ended: bool = False
    flyback: int = 0
    chunk: tuple[int, ...] = ()
    z_step_um: float | None = None
    colours: tuple[str, ...] = ()
    pages_needed: int = 0
    grows: bool = False
    times_ns: np.ndarray | None = None

    def axes_of(self, pages: int) -> dict[str, int]:
        """Return the axes of so many whole pages: those the metadata name, or one of all pages where they disagree."""
        inner = math.prod(size for axis, size in self.sizes.items() if axis != "time")
        if self.open_ended and pages >= inner:
            return {"time": pages // inner} | {axis: size for axis, size in self.sizes.items() if axis != "time"}
        if not self.sizes or len(self.sizes) == 1 or math.prod(self.sizes.values()) > pages:
            if inner > 1 and pages >= inner and next(iter(self.sizes)) == "time":  # cut short: whole time points
                return {**self.sizes, "time": pages // inner}
            return {next(iter(self.sizes), "time"): pages}
        return dict(self.sizes)

    def declared(self) -> int:
        """Return how many planes the metadata name, 0 where they do not."""
        return 0 if self.open_ended else math.prod(self.sizes.values())

    def planes_among(self, pages: int) -> np.ndarray:
        """Return which of so many pages are planes, not flyback, by number."""
        planes = math.prod(size for axis, size in self.sizes.items() if axis != "time")
        volume = planes // self.sizes.get("z", 1) * (self.sizes.get("z", 1) + self.flyback)
        numbers = np.arange(pages)
        return numbers[numbers % min(volume, max(pages, 1)) < planes]  # a damaged header names any number of slices

    def check_pages(self, pages: int, path: Path) -> None:
        """Raise SourceError if the file has more pages than its metadata name planes along several axes."""
        if not self.open_ended and 0 < self.declared() < pages and set(self.sizes) - {"time", "image"}:
            named = ", ".join(f"{axis} {size}" for axis, size in self.sizes.items())
            inner = math.prod(size for axis, size in self.sizes.items() if axis != "time")
            letters = "".join(letter for letter, axis in _AXES.items() if axis in self.sizes and axis != "time")
            counts = "".join(f"&{_COUNTS[a]}={n}" for a, n in self.sizes.items() if a in _COUNTS)
            ways = [f"{path.name}?axes=t{letters.lower()}yx{counts}"] * (pages % inner == 0) + [f"{path.name}?axes=tyx"]
            raise SourceError(
                f"{path}: its metadata name {self.declared()} planes ({named}), it has {pages} pages; "
                f"say what they are: {' or '.join(ways)}"
            )


def several_planes(path: Path, sizes: dict[str, int]) -> SourceError:
    found = ", ".join(f"{axis} {size}" for axis, size in sizes.items())
    return SourceError(f"{path}: several planes: {found}; one plane stream is read, save the plane as its own file")


def stated_axes(about: About, selection: Mapping[str, str], pages: int, path: Path) -> About:
    """Return what `axes=tczyx`, `channels=` and `slices=` say of so many pages, `about` where they say nothing.

    Channels alone lie next to each other, then slices, then time: `channels=2&slices=3` is `axes=tzcyx`. Raises
    SourceError for axes that are none, a size that is missing, and pages that it does not divide.
    """
    if not {"axes", *_COUNTS.values()} & set(selection):
        return about
    counted = "".join(letter for letter, axis in (("z", "z"), ("c", "channel")) if _COUNTS[axis] in selection)
    text = selection.get("axes", f"t{counted}yx").lower()
    letters = text.removesuffix("yx")
    if not text.endswith("yx") or len(set(letters)) != len(letters) or set(letters) - set("tcz") or "t" not in letters:
        raise SourceError(f"{path}: axes={text} are no axes of a stack; tyx, tcyx, tzyx, tzcyx are, slowest first")
    sizes = {}
    for letter in letters:
        axis = _AXES[letter.upper()]
        size = selection.get(_COUNTS.get(axis, ""), str(about.sizes.get(axis, "")))
        if axis != "time" and not (size.isdecimal() and 0 < int(size) <= pages):
            raise SourceError(f"{path}: axes={text} needs {_COUNTS[axis]}=, a number up to {pages}, found {size!r}")
        sizes[axis] = int(size) if axis != "time" else 1
    if rest := pages % math.prod(sizes.values()):
        parts = ", ".join(f"{axis} {size}" for axis, size in sizes.items() if axis != "time")
        raise SourceError(f"{path}: {pages} pages are not whole time points of {parts}: {rest} are left over")
    sizes["time"] = pages // math.prod(sizes.values())
    return replace(about, sizes={a: n for a, n in sizes.items() if n > 1}, open_ended=False, flyback=0)


def about_stack(tif: Any, page: Any, path: Path) -> About:
    try:
        if page.shaped_description is not None:
            about = _about_shaped(json.loads(page.shaped_description), page)
        elif tif.is_ome:
            about = _about_ome(ElementTree.fromstring(tif.ome_metadata))
        elif tif.is_imagej:
            about = _about_imagej(tif.imagej_metadata, page)
        elif tif.is_scanimage and (facts := scanimage_facts(tif)):
            about = About(**scanimage_planes(facts, tif))
        elif any(getattr(tif, f"is_{kind}", False) for kind in _LISTED_BY_TIFFFILE):
            planes = {axis: size for axis, size in axis_sizes(tif.series[0]).items() if axis not in ("height", "width")}
            about = About(planes, one_directory=tif.is_stk)
        else:
            about = About()
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, SyntaxError, OverflowError):
        about = About()  # damaged metadata say nothing; the pages speak for themselves
    about.sizes = {axis: size for axis, size in about.sizes.items() if size > 1}
    return about


def with_appended(about: About, pages: int, path: Path) -> About:
    """Return what a file of several equal movies holds, appended one by one by tifffile: their time points in turn."""
    at = about.declared()
    if not about.chunk or not 0 < at < pages or next(iter(about.sizes), None) != "time":
        return about
    with tifffile.TiffFile(path) as tif:
        while at < pages:
            shape = _shape_written_at(tif, at)
            if shape[1:] != about.chunk[1:]:
                return about
            at += math.prod(shape[:-2])
    return replace(about, open_ended=at == pages)


def _shape_written_at(tif: Any, page: int) -> tuple[int, ...]:
    """The shape that tifffile wrote at once from that page on, () where it does not say."""
    try:
        shape = json.loads(getattr(tif.pages[page], "shaped_description", None) or "{}")["shape"]
        return tuple(shape) if all(type(size) is int and size > 0 for size in shape) else ()
    except (ValueError, TypeError, KeyError, IndexError, tifffile.TiffFileError):
        return ()


def axis_sizes(pages: Any) -> dict[str, int]:
    """Axis names and sizes of a page or series; from tifffile's letters, since its names change with its version."""
    return {_AXES.get(axis, axis): size for axis, size in zip(pages.axes, pages.shape, strict=True)}


def _about_shaped(meta: dict[str, Any], page: Any) -> About:
    """Read what tifffile itself writes: {"shape": [t, y, x], "axes": "TYX"}."""
    *planes, height, width = (int(size) for size in meta["shape"])
    if (height, width) != page.shape:
        return About()
    unnamed = _UNNAMED.get(len(planes), [f"axis {number}" for number in range(len(planes))])
    axes = list(meta.get("axes") or unnamed)
    names = (_AXES.get(axis, axis) for axis in axes)
    return About(dict(zip(names, planes, strict=False)), one_directory=True, chunk=(*planes, height, width))


def _about_ome(root: ElementTree.Element) -> About:
    images = root.findall("{*}Image")
    pixels = images[0].findall("{*}Pixels")[0].attrib
    order = pixels.get("DimensionOrder", "XYZCT")[:1:-1]  # slowest first
    sizes = {"image": len(images)} | {_AXES[axis]: int(pixels[f"Size{axis}"]) for axis in order}
    held = images[0].findall("{*}Pixels/{*}Channel")
    names = [channel.get("Name") for channel in held]
    channels = tuple(name or str(n) for n, name in enumerate(names)) if any(names) else ()
    colours = tuple(_colour(channel.get("Color")) for channel in held)
    x, y, z_step_um = (
        _scaled(pixels.get(f"PhysicalSize{a}"), pixels.get(f"PhysicalSize{a}Unit", "µm"), _MICRONS) for a in "XYZ"
    )
    interval_s = _scaled(pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s"), _SECONDS)
    t0_ns = _utc_ns(images[0].findtext("{*}AcquisitionDate"))
    times_s = _ome_times(images[0], sizes)
    if times_s is not None and interval_s is None:
        interval_s = float(np.median(np.diff(times_s, axis=list(sizes).index("time"))))
    about = About(sizes, False, interval_s, _square(x, y), t0_ns, channels)
    times_ns = None if times_s is None else np.rint(times_s.reshape(-1) * 1e9).astype(np.int64)
    return replace(about, z_step_um=z_step_um, colours=colours, times_ns=times_ns)


def _ome_times(image: ElementTree.Element, sizes: Mapping[str, int]) -> np.ndarray | None:
    """Return the time of each image [s] along the axes of `sizes`, None where not all have one, each later than the one
    before in its plane."""
    planes = image.findall("{*}Pixels/{*}Plane")
    if len(planes) != math.prod(sizes.values()) or sizes.get("time", 1) < 2 or sizes.get("image", 1) > 1:
        return None
    times_s = np.full(tuple(sizes.values()), np.nan)
    try:
        for plane in planes:
            at = {name: int(plane.get(key, 0)) for key, name in (("TheC", "channel"), ("TheZ", "z"), ("TheT", "time"))}
            delta_s = float(plane.get("DeltaT", "nan")) * _SECONDS.get(plane.get("DeltaTUnit", "s"), np.nan)
            times_s[tuple(at.get(axis, 0) for axis in sizes)] = delta_s
    except (ValueError, IndexError):
        return None
    with np.errstate(invalid="ignore"):
        later = np.diff(times_s, axis=list(sizes).index("time")) > 0
    return times_s if later.all() and times_s.min() >= 0 and times_s.max() * 1e9 < MAX_TIME_NS else None


def _colour(text: str | None) -> str:
    """Return #rrggbb of a colour as OME writes it: red, green, blue and alpha in one signed number of 32 bits."""
    number = (text or "").removeprefix("-")
    return f"#{int(text or 0) >> 8 & 0xFFFFFF:06x}" if number.isdecimal() and len(number) < 12 else ""


def _about_imagej(meta: dict[str, Any], page: Any) -> About:
    sizes = {name: int(meta.get(key, 1)) for name, key in _IMAGEJ_AXES.items()}
    if math.prod(sizes.values()) == 1:
        sizes = {"image": int(meta.get("images", 1))}
    interval_s = _scaled(meta.get("finterval"), meta.get("tunit", "s"), _SECONDS)
    fps = _scaled(meta.get("fps"), "s", _SECONDS)
    if interval_s is None and fps is not None and "finterval" not in meta:
        interval_s = 1 / fps
    x, y = (_scaled(_pixel_side(page, f"{axis}Resolution"), meta.get("unit"), _MICRONS) for axis in "XY")
    z_step_um = _scaled(meta.get("spacing"), meta.get("unit"), _MICRONS)
    return About(sizes, True, interval_s, _square(x, y), z_step_um=z_step_um)


def _pixel_side(page: Any, tag: str) -> float | None:
    """Return the side of a pixel in the file's unit; the tag is pixels per unit as a fraction."""
    pixels, units = page.tags[tag].value if tag in page.tags else (0, 1)
    return units / pixels if pixels else None


def _scaled(value: Any, unit: Any, units: dict[str, float]) -> float | None:
    """Return `value` in our unit, None for no value, an unknown unit or what cannot be a length or a duration."""
    factor = units.get(str(unit).strip().lower().replace("\\u00b5", "µ").replace("μ", "µ"))
    if value is None or factor is None:
        return None
    scaled = float(value) * factor
    return scaled if 0 < scaled < math.inf else None


def _square(x: float | None, y: float | None) -> float | None:
    """Return the side of a pixel, None where x and y differ: one number would be wrong for one of them."""
    return x if x is None or y is None or math.isclose(x, y, rel_tol=0.01) else None


def _utc_ns(text: str | None) -> int | None:
    """Return UTC epoch nanoseconds, None where the time zone is not given: hours off is worse than the file's time."""
    date = datetime.fromisoformat(text) if text else None
    if date is None or date.tzinfo is None:
        return None
    since = (date - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1) * 1000
    return since if abs(since) < 1 << 63 else None
