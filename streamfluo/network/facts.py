"""What a data endpoint says of itself: its introduction, its status, the end of its series."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..core import wire
from .frames import Frames


def introduction(facts: Mapping[str, Any]) -> wire.Hello:
    """Return the hello of these facts, without the user's words on the series where these are too long for it."""
    hello = wire.Hello(**facts)
    if hello.series and not wire.fits(hello):
        hello = msgspec.structs.replace(hello, series={**hello.series, "user": {}})
    return hello


def frame_facts(frames: Frames) -> dict[str, Any]:
    """What a hello says of the frames that are served."""
    return {"series": msgspec.to_builtins(frames.start()), "frames": wire.source_facts(frames.spec)}


def report(facts: Mapping[str, Any], counters: Mapping[str, Any]) -> wire.Status:
    """Return the status of `facts`, whose own counters stand beside, or instead of, `counters`."""
    return wire.Status(**{**facts, "counters": {**counters, **facts.get("counters", {})}})


def end_of(frames: Frames, emitted: int, reason: str) -> wire.End:
    """Return the end of a series of which `emitted` frames were sent, for `reason`."""
    if reason == "finished" or frames.total is not None:
        emitted = frames.total or 0
    return wire.End(
        series_uid=frames.series.uid,
        seq=emitted,
        frames=emitted,
        dropped_camera=frames.dropped_camera,
        reason=reason,  # type: ignore[arg-type]
    )
