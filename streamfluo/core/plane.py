"""Planes: a stream of several channels or slices is a sequence of them, each with frames and an index of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from .errors import FrameError, did_you_mean

MAX_PLANES = 64  # 48 bytes and two keys each in a header of 64 KiB and 512 keys
MAX_Z = 65535
MAX_CHANNEL = 64  # characters
ONE_PLANE = ""  # the name of the plane of a stream that lists none


@dataclass(frozen=True)
class Plane:
    """One channel at one depth: `z` is the slice's number, `z_um` its depth.

    `pixel_um` and `exposure_s` where they differ from the stream's, `colour` as #rrggbb; None or "" where unknown.
    Raises FrameError for a channel or a slice that none can be.
    """

    channel: str = ""
    z: int = 0
    z_um: float | None = None
    pixel_um: float | None = None
    exposure_s: float | None = None
    colour: str = ""

    def __post_init__(self) -> None:
        if not is_channel(self.channel):
            raise FrameError(
                f"plane: a channel's name is 1 to {MAX_CHANNEL} printable characters without '/', "
                f"found {str(self.channel)[:80]!r}"
            )
        if type(self.z) is not int or not 0 <= self.z <= MAX_Z:
            raise FrameError(f"plane: z is a slice's number, 0 to {MAX_Z}, found {str(self.z)[:40]}")
        for name in ("z_um", "pixel_um", "exposure_s"):
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, int | float) or not np.isfinite(value) or (name != "z_um" and value <= 0):
                raise FrameError(f"plane {self.name}: {name} must be a number or None, found {str(value)[:40]}")
            object.__setattr__(self, name, float(value))
        if not isinstance(self.colour, str) or len(self.colour) > MAX_CHANNEL:
            raise FrameError(f"plane {self.name}: colour is text like #00ff00, found {str(self.colour)[:40]!r}")

    @property
    def name(self) -> str:
        """Channel and slice, `green/0`."""
        return plane_name(self.channel, self.z)

    def to_header(self) -> dict[str, Any]:
        """What is known of it, in plain values."""
        known = {k: v for k, v in asdict(self).items() if v not in (None, "")}
        return {"name": self.name, **known}

    @classmethod
    def from_header(cls, header: Any) -> Plane:
        """Rebuild a plane from `to_header`; keys of other producers are ignored. Raises FrameError."""
        if not isinstance(header, Mapping):
            raise FrameError(f"plane: a map with channel and z, found {str(header)[:60]!r}")
        known = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in header.items() if k in known and v is not None})


def plane_name(channel: str, z: int) -> str:
    """Return the name of a plane, `green/0`."""
    return f"{channel}/{z}"


def is_channel(name: object) -> bool:
    """Return whether a channel of a stream of planes may be called that."""
    return isinstance(name, str) and 0 < len(name) <= MAX_CHANNEL and name.isprintable() and "/" not in name


def as_channel(name: str, number: int) -> str:
    """Return what a recording calls a channel as a name it may have; its number where it is called nothing."""
    kept = "".join(c if c.isprintable() and c != "/" else "-" for c in name.strip())[:MAX_CHANNEL].strip()
    return kept or str(number)


def checked_planes(planes: Iterable[Plane]) -> tuple[Plane, ...]:
    """Return the planes of a stream. Raises FrameError for too many, or two of one name."""
    found = tuple(planes)
    if len(found) > MAX_PLANES:
        raise FrameError(f"{len(found)} planes in one stream; {MAX_PLANES} is the most, select some of them")
    names = [plane.name for plane in found]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise FrameError(f"two planes are {twice!r}; each channel has each slice once")
    return found


def select_planes(selectors: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return the planes, in the stream's order, that selectors name: `green/0`, or `green` for all of a channel.

    Raises FrameError for one that names none, with the nearest.
    """
    channels = list(dict.fromkeys(name.rpartition("/")[0] for name in names))
    for selector in selectors:
        if selector not in names and selector not in channels:
            hint = did_you_mean(selector, [*names, *channels]) if any(names) else "; the stream has one plane only"
            raise FrameError(f"no plane {selector!r}{hint}")
    return tuple(name for name in names if name in selectors or name.rpartition("/")[0] in selectors)


def in_plane(plane: str, name: str) -> str:
    """Return a step's id in a plane, `green/0/extract`; the name itself in the only plane."""
    return name if plane == ONE_PLANE else f"{plane}/{name}"


def plane_in(names: Sequence[str], plane: str) -> str | None:
    """Return a block's plane among the names of a stream's, None if that has no such plane.

    A stream that lists none has one, whatever its frames say.
    """
    if tuple(names) == (ONE_PLANE,):
        return ONE_PLANE
    return plane if plane in names else None


@dataclass(frozen=True)
class PlaneGrid:
    """Planes laid out along channel and slice, `order` with the channel slowest.

    Planes that do not have each channel at each slice lie along the channel alone, each under its whole name.
    """

    channels: tuple[str, ...]
    slices: tuple[int, ...]
    order: tuple[Plane, ...]

    @classmethod
    def of(cls, planes: Sequence[Plane]) -> PlaneGrid:
        """Lay planes out."""
        channels = tuple(dict.fromkeys(plane.channel for plane in planes))
        slices = tuple(sorted({plane.z for plane in planes}))
        by_name = {plane.name: plane for plane in planes}
        names = [plane_name(channel, z) for channel in channels for z in slices]
        if len(names) == len(planes):
            return cls(channels, slices, tuple(by_name[name] for name in names))
        return cls(tuple(by_name), (0,), tuple(planes))

    @property
    def colours(self) -> tuple[str, ...]:
        """The colour of each channel, "" where it is unknown."""
        return tuple(plane.colour for plane in self.order[:: len(self.slices)])

    @property
    def z_step_um(self) -> float | None:
        """The distance between two slices, if it is the same for all of them."""
        depths = [plane.z_um for plane in self.order[: len(self.slices)]]
        known = [depth for depth in depths if depth is not None]
        steps = np.diff(known) if len(known) == len(depths) > 1 else np.empty(0)
        return float(abs(steps[0])) if len(steps) and steps[0] and np.allclose(steps, steps[0]) else None
