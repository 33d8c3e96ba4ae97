"""What a camera URI asks for: `mm:DEVICE?exposure_ms=…&roi=…&Property=value`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from ..core.errors import SourceError, did_you_mean
from ..core.input import INPUTS

BUFFER_MB = 512
MAX_BUFFER_MB = 16_384  # MMCore touches all of it at once
MAX_CAMERAS = 4  # of Micro-Manager's Multi Camera
MAX_TAGS, MAX_TAG = 16, 120  # of what an image says of itself, and characters of one: a frame carries 4 KiB
CHANGED = "changed"  # in the `user` of a sequence's frame: device settings since the one before
FLOAT, INTEGER = 2, 3  # MMCore's property types


@dataclass
class Settings:
    """What a camera URI asks for; `properties` of the camera, or of another device as `Device.Property`."""

    device: str
    exposure_ms: float | None = None
    frames: int | None = None
    roi: tuple[int, int, int, int] | None = None  # y0, y1, x0, x1 in pixels of the image as it is binned
    binning: int | None = None
    bit_depth: int | None = None
    trigger: str | None = None
    sequence: str | None = None  # a useq file
    tags: tuple[str, ...] = ()  # of an image's metadata, that stand with its frame
    buffer_mb: int = BUFFER_MB
    cameras: int = 1  # of the demo
    properties: dict[str, str] = field(default_factory=dict)


def parse_camera_uri(uri: str) -> Settings:
    """Return what `mm:DEVICE?key=value&…` asks for. Raises SourceError that names the key and what was found."""
    device, _, query = uri.removeprefix("mm:").partition("?")
    if not device:
        raise SourceError(f"{uri}: names no camera; write mm:demo or mm:/path/to/config.cfg")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise SourceError(f"{uri}: '?{query}' is not key=value&key=value") from None
    twice = {key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1}
    if twice:
        raise SourceError(f"{uri}: {min(twice)} is given twice")
    settings = Settings(device)
    for key, text in pairs:
        if key == "roi":
            found = re.fullmatch(r"(\d+):(\d+),(\d+):(\d+)", text)
            if found is None:
                raise SourceError(f"{uri}: roi is y0:y1,x0:x1 in pixels, found {text!r}")
            y0, y1, x0, x1 = map(int, found.groups())
            settings.roi = (y0, y1, x0, x1)
        elif key == "tags":
            settings.tags = _tags(uri, text)
        elif key in ("trigger", "sequence"):
            setattr(settings, key, text)
        elif key == "exposure_ms":
            if not is_number(text) or not 0 < float(text) < 1e7:
                raise SourceError(f"{uri}: exposure_ms must be a positive number, found {text!r}")
            settings.exposure_ms = float(text)
        elif key in ("frames", "binning", "bit_depth", "buffer_mb") or (key, device) == ("cameras", "demo"):
            most = {"buffer_mb": MAX_BUFFER_MB, "cameras": MAX_CAMERAS}.get(key, 2**31 - 1)
            if not text.isdecimal() or not 1 <= int(text) <= most:
                raise SourceError(f"{uri}: {key} must be a whole number from 1 to {most}, found {text!r}")
            setattr(settings, key, int(text))
        else:
            settings.properties[key] = text
    return settings


def _tags(uri: str, text: str) -> tuple[str, ...]:
    tags = tuple(tag.strip() for tag in text.split(","))
    if not 0 < len(tags) <= MAX_TAGS or not all(0 < len(t) <= 80 for t in tags) or {INPUTS, CHANGED} & {*tags}:
        what = f"up to {MAX_TAGS} names of an image's metadata, tags=A,B"
        raise SourceError(f"{uri}: tags are {what}, found {text[:80]!r}")
    return tags


def load_demo(core: Any, cameras: int) -> None:
    """Load Micro-Manager's demo camera, or several of them behind a Multi Camera."""
    names = ["Camera"] if cameras == 1 else [f"Camera{n + 1}" for n in range(cameras)]
    for name in names:
        core.loadDevice(name, "DemoCamera", "DCam")
        core.initializeDevice(name)
        core.setProperty(name, "PixelType", "16bit")
        core.setProperty(name, "BitDepth", "16")
    if cameras > 1:
        core.loadDevice("Cameras", "Utilities", "Multi Camera")
        core.initializeDevice("Cameras")
        for n, name in enumerate(names):
            core.setProperty("Cameras", f"Physical Camera {n + 1}", name)
    core.setCameraDevice("Camera" if cameras == 1 else "Cameras")


def is_number(text: str) -> bool:
    """Return whether a text spells a finite number."""
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def set_property(core: Any, uri: str, device: str, name: str, value: str) -> None:
    """Set a property of a device. Raises SourceError that says why it cannot be set so."""
    check_property(core, uri, device, name)
    check_value(core, uri, device, name, value)
    try:
        core.setProperty(device, name, value)
    except RuntimeError as error:
        raise SourceError(f"{uri}: {device}: {name}={value} was refused: {one_line(error)}") from None


def check_property(core: Any, uri: str, device: str, name: str) -> None:
    """Raises SourceError for a property that a device has not, or that cannot be set while it runs."""
    where, known = f"{uri}: {device}", core.getDevicePropertyNames(device)
    if name not in known:
        raise SourceError(f"{where} has no property {name!r}{did_you_mean(name, known)}")
    if core.isPropertyReadOnly(device, name):
        raise SourceError(f"{where}: property {name!r} can only be read; it is {core.getProperty(device, name)!r}")
    if core.isPropertyPreInit(device, name):
        raise SourceError(f"{where}: {name} is set before the device starts; put it into a configuration file")


def check_value(core: Any, uri: str, device: str, name: str, value: str) -> None:
    """Raises SourceError for a value that a property does not take."""
    where = f"{uri}: {device}"
    allowed = core.getAllowedPropertyValues(device, name)
    if allowed and value not in allowed:
        raise SourceError(f"{where}: {name} must be one of {', '.join(sorted(allowed, key=_natural))}, found {value!r}")
    if core.hasPropertyLimits(device, name):
        low, high = core.getPropertyLowerLimit(device, name), core.getPropertyUpperLimit(device, name)
        if not is_number(value) or not low <= float(value) <= high:
            raise SourceError(f"{where}: {name} must be a number from {low:g} to {high:g}, found {value!r}")
    kind = core.getPropertyType(device, name)
    if (kind == FLOAT and not is_number(value)) or (kind == INTEGER and not re.fullmatch(r"[+-]?\d+", value)):
        what = "whole number" if kind == INTEGER else "number"  # MMCore takes 'abc' as 0 and 1.7 as 1
        raise SourceError(f"{where}: {name} must be a {what}, found {value!r}")


def _natural(text: str) -> tuple[bool, float, str]:
    return (True, float(text), "") if is_number(text) else (False, 0.0, text)


def one_line(error: Exception) -> str:
    """Return an error's text in one line."""
    return " ".join(str(error).split())
