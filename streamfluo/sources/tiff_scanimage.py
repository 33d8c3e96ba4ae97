"""What ScanImage writes into the header of its TIFFs: channels, slices, flyback, rate."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from ..core.errors import SourceError
from .declared import positive

_HEADER_AT, _HEADER, _MAGIC = 16, struct.Struct("<4I"), 117637889  # magic, version, bytes of facts, of regions


def scanimage_facts(tif: Any) -> Mapping[str, Any] | None:
    """Return the `SI.` entries of a file's header.

    Raises SourceError for one that says it is longer than the file: so much would be asked for.
    """
    handle = tif.filehandle
    handle.seek(_HEADER_AT)
    head = handle.read(_HEADER.size)
    if len(head) == _HEADER.size:
        magic, _, frame_nbytes, regions_nbytes = _HEADER.unpack(head)
        if magic == _MAGIC and frame_nbytes + regions_nbytes > handle.size:
            found = f"{frame_nbytes + regions_nbytes} bytes, the file has {handle.size}"
            raise SourceError(f"{handle.path}: its ScanImage header says that it has {found}; copy it again")
    return (tif.scanimage_metadata or {}).get("FrameData")


def scanimage_planes(facts: Mapping[str, Any], tif: Any) -> dict[str, Any]:
    """Return sizes, flyback and interval as About names them, from the `SI.` entries of a header.

    Pages lie channel by channel, frame by frame of a slice, slice by slice, volume by volume (ScanImage, TIFF header
    specification). Flyback frames are in the file if the page behind the last slice carries the next frame's number.
    """
    saved = facts.get("SI.hChannels.channelSave", 1)
    channels = len(saved) if isinstance(saved, list) else 1
    is_stack = any(facts.get(f"SI.{part}.enable") is True for part in ("hStackManager", "hFastZ"))
    slices = _count(facts, "SI.hStackManager.actualNumSlices", "SI.hStackManager.numSlices") if is_stack else 1
    averaged = _count(facts, "SI.hScan2D.logAverageFactor")
    repeats = max(1, _count(facts, "SI.hStackManager.framesPerSlice") // averaged)
    if slices > 1 and repeats > 1:  # a slow stack: many frames of one slice, then the next
        volumes = _count(facts, "SI.hStackManager.actualNumVolumes", "SI.hStackManager.numVolumes")
        sizes = {"volume": volumes, "z": slices, "time": repeats, "channel": channels}
        return {"sizes": sizes, "interval_s": _interval_s(facts, averaged), "z_step_um": _z_step_um(facts)}
    volume = max(
        slices, _count(facts, "SI.hStackManager.numFramesPerVolumeWithFlyback", "SI.hFastZ.numFramesPerVolume")
    )
    volume = volume if slices > 1 else 1
    behind = slices * channels
    saved_flyback = volume > slices and _frame_number(tif, behind) == _frame_number(tif, behind - 1) + 1
    return {
        "sizes": {"z": slices, "channel": channels},
        "open_ended": True,
        "flyback": volume - slices if saved_flyback else 0,
        "interval_s": _interval_s(facts, averaged * volume),
        "z_step_um": _z_step_um(facts),
        "pages_needed": behind + 1 if volume > slices else 0,
    }


def _z_step_um(facts: Mapping[str, Any]) -> float | None:
    """The depth between slices, without its direction."""
    names = ("SI.hStackManager.actualStackZStepSize", "SI.hStackManager.stackZStepSize")
    steps = (facts.get(name) for name in names)
    return next((positive(abs(step)) for step in steps if isinstance(step, int | float) and step), None)


def _interval_s(facts: Mapping[str, Any], frames: int) -> float | None:
    rate_hz = positive(facts.get("SI.hRoiManager.scanFrameRate"))
    return None if rate_hz is None else frames / rate_hz


def _count(facts: Mapping[str, Any], *names: str) -> int:
    """The first of these entries that is a count, 1 where none is."""
    found = (positive(facts.get(name)) for name in names)
    return next((int(n) for n in found if n is not None and n >= 1), 1)


def _frame_number(tif: Any, page: int) -> int:
    """The number of the frame that a page belongs to; 0 where there is no such page, or it does not say."""
    try:
        lines = dict(line.split(" = ", 1) for line in tif.pages[page].description.splitlines() if " = " in line)
        return int(lines["frameNumbers"])
    except (IndexError, KeyError, ValueError):
        return 0
