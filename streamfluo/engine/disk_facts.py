"""What a station tells of its disk, which disk a new series goes to, and what of it a person should hear."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..session.disk_calls import DiskCalls
from .daemon_config import DaemonConfig
from .disk_config import DiskTable


def disk_facts(calls: DiskCalls, limits: DiskTable) -> dict[str, Any]:
    """Return how long calls take, as figures and histograms by call, and in a sentence what is slow or hangs."""
    call, elapsed_s = calls.slowest_lately_s()
    return {
        "disk_ms": calls.summary_ms(),
        "disk_lately_ms": calls.lately_ms(),
        "disk_calls": calls.histograms(),
        "slow": f"{call} took {elapsed_s:.2g} s" if elapsed_s > limits.slow_s else "",
        "blocked": {c: f"has not come back for {s:.0f} s" for c, s in calls.lasting(limits.blocked_s).items()},
    }


def room_facts(root: Path, bytes_per_s: float) -> dict[str, Any]:
    """Return what a folder's disk has left, in bytes and in seconds at that rate."""
    with suppress(OSError):
        free = shutil.disk_usage(existing(root)).free
        return {"disk_free_bytes": free} | ({"disk_left_s": round(free / bytes_per_s)} if bytes_per_s else {})
    return {}


def root_for_new(config: DaemonConfig, bytes_per_s: float) -> tuple[Path, str]:
    """Return the folder that a series which begins now is written into, and in words why it is not the first."""
    first, overflow, limits = config.folder, config.disks.overflow, config.disks.disk
    room = room_facts(first, bytes_per_s)
    left_s, free = room.get("disk_left_s"), room.get("disk_free_bytes", 0)
    if overflow is None or (
        free >= limits.overflow_left_bytes and (left_s is None or left_s >= limits.overflow_left_s)
    ):
        return first, ""
    full = f"{first} has {free / 1e9:.3g} GB left"
    if not overflow.is_dir():
        return first, f"{full}, and there is no folder {overflow}; mount its disk, or create it"
    if room_facts(overflow, 0).get("disk_free_bytes", 0) <= free:
        return first, f"{full}, and {overflow} no more"
    return overflow, f"{full}; this series goes into {overflow}"


def root_of(config: DaemonConfig, session: str) -> Path:
    """Return the folder of those that sessions are written into which a session lies in; the first without one."""
    return next((root for root in config.roots if session and Path(session).is_relative_to(root)), config.folder)


def existing(folder: Path) -> Path:
    """Return a folder, or the nearest above it that is there."""
    return folder if folder.exists() or folder == folder.parent else existing(folder.parent)


def disk_warnings(name: str, facts: Mapping[str, Any], limits: DiskTable) -> list[str]:
    """Return what will become trouble, a sentence each: a disk that is slow or soon full."""
    found = [f"{name}: slow disk: {facts['slow']}; slow_s is {limits.slow_s:g}"] if facts.get("slow") else []
    left_s = facts.get("disk_left_s")
    if isinstance(left_s, int | float) and left_s < limits.warn_left_s:
        found.append(f"{name}: the disk is full in {_spelled(left_s)} at this rate")
    return found


def _spelled(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
