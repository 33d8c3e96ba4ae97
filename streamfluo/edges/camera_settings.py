"""What a camera URI asks for: `mm:DEVICE?exposure_ms=…&roi=…&Property=value`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

import numpy as np

from ..core.errors import SourceError

BUFFER_MB = 512


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
    buffer_mb: int = BUFFER_MB
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
        elif key == "trigger":
            settings.trigger = text
        elif key == "exposure_ms":
            if not is_number(text) or not 0 < float(text) < 1e7:
                raise SourceError(f"{uri}: exposure_ms must be a positive number, found {text!r}")
            settings.exposure_ms = float(text)
        elif key in ("frames", "binning", "bit_depth", "buffer_mb"):
            if not text.isdecimal() or not 0 < int(text) < 2**31:
                raise SourceError(f"{uri}: {key} must be a whole number from 1 on, found {text!r}")
            setattr(settings, key, int(text))
        else:
            settings.properties[key] = text
    return settings


def is_number(text: str) -> bool:
    """Return whether a text spells a finite number."""
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
