"""Which planes of a recording a selection leaves: one, or several in the order in which they were acquired."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..core.errors import FrameError, SourceError, did_you_mean
from ..core.plane import MAX_PLANES, Plane, as_channel, select_planes
from .declared import positive

PLANE_AXES = ("channel", "z")


@dataclass(frozen=True)
class Stack:
    """What a recording holds: images of `shape` (y, x) along `axes` (name → size, slowest first), and what it says of
    itself. `times_ns` are of the frames along time, or of each image by number, where it has them; of the axes
    `selected` the reader has taken the plane that was selected. `there`: which images, by number, were kept; None: all.
    The others are gaps. `slices` are labels of the slices, `colours` those of the channels, #rrggbb. `grows`: more time
    points may come, so that there is time though there may be one."""

    axes: Mapping[str, int]
    shape: tuple[int, int]
    dtype: str
    interval_s: float | None = None
    pixel_um: float | None = None
    t0_ns: int | None = None
    channels: tuple[str, ...] = ()
    times_ns: np.ndarray | None = None
    user: Mapping[str, object] = field(default_factory=dict)
    selected: frozenset[str] = frozenset()
    there: np.ndarray | None = None
    slices: tuple[str, ...] = ()
    z_step_um: float | None = None
    colours: tuple[str, ...] = ()
    grows: bool = False


class Selected(NamedTuple):
    """The planes that a selection leaves, none where it is one; its channel; the images by number (planes, t)."""

    planes: tuple[Plane, ...]
    channel: str
    numbers: np.ndarray


class SeveralPlanes(SourceError):
    """A recording of several planes, of which nothing is selected, though `planes=all` would take them."""


def selected_images(stack: Stack, selection: Mapping[str, str], path: Path) -> Selected:
    """Return the images that a selection leaves, plane by plane along time.

    Raises SourceError for an axis of several planes that nothing selects, listing what there is, and for a plane,
    channel or slice that is not there.
    """
    axes = {name: size for name, size in stack.axes.items() if size > 1}
    numbers = np.arange(math.prod(stack.axes.values())).reshape(tuple(stack.axes.values()) or (1,))
    names, channel = list(stack.axes) or ["time"], stack.channels[0] if len(stack.channels) == 1 else ""
    kept = {axis: list(range(stack.axes.get(axis, 1))) for axis in PLANE_AXES}
    for axis in PLANE_AXES:
        if axis in selection and axis not in stack.selected:
            n = _number_of(axis, selection[axis], stack, path)
            channel = stack.channels[n] if axis == "channel" and n < len(stack.channels) else channel
            kept[axis] = [n]
            if axis in names:
                numbers = np.take(numbers, [n], names.index(axis))
                axes.pop(axis, None)
    if "planes" not in selection:
        _check_one_plane(axes, stack, selection, path)
        return Selected((), channel, numbers.reshape(1, -1))
    order = [axis for axis in names if axis in PLANE_AXES]
    along = [axis for axis in axes if axis not in PLANE_AXES]
    if len(along) > 1:
        raise SourceError(f"{path}: {_held(stack)}; planes are of one {along[0]}, save each of them as its own file")
    numbers = numbers.transpose([names.index(a) for a in (*order, *(a for a in names if a not in PLANE_AXES))])
    labels = _channel_names(stack)
    found = [dict(zip(order, at, strict=True)) for at in product(*(kept[axis] for axis in order))]
    places = [(at.get("channel", kept["channel"][0]), at.get("z", kept["z"][0])) for at in found]
    chosen = _chosen(selection["planes"], places, labels, stack, path)
    rows = numbers.reshape(len(places), -1)[chosen]
    if len(chosen) == 1:
        c = places[chosen[0]][0]
        return Selected((), stack.channels[c] if c < len(stack.channels) else channel, rows)
    channels = {places[n][0] for n in chosen}
    planes = tuple(_plane(labels, *places[n], stack) for n in chosen)
    return Selected(planes, planes[0].channel if len(channels) == 1 and any(stack.channels) else "", rows)


def _plane(labels: Sequence[str], channel: int, z: int, stack: Stack) -> Plane:
    step_um = positive(stack.z_step_um)
    colour = stack.colours[channel] if channel < len(stack.colours) else ""
    return Plane(labels[channel], z, None if step_um is None else z * step_um, colour=colour)


def _chosen(
    text: str, places: Sequence[tuple[int, int]], labels: Sequence[str], stack: Stack, path: Path
) -> list[int]:  # fmt: skip
    """Return which of the places (channel, z) `planes=` names. Raises SourceError."""
    chosen = list(range(len(places)))
    if text != "all":
        names = [f"{labels[c]}/{z}" for c, z in places]
        selectors = [_selector(part.strip(), labels, stack) for part in text.split(",") if part.strip()]
        if not selectors:
            raise SourceError(f"{path}: planes= names none; planes=all takes all, planes={names[0]} one of them")
        try:
            wanted = set(select_planes(selectors, names))
        except FrameError as error:
            raise SourceError(f"{path}: planes={text}: {error}") from None
        chosen = [n for n, name in enumerate(names) if name in wanted]
    if len(chosen) > MAX_PLANES:
        example = f"{path.name}?planes=all&z=0" if stack.axes.get("z", 1) > 1 else f"{path.name}?planes=0,1"
        raise SourceError(f"{path}: {len(chosen)} planes; {MAX_PLANES} at most are one stream, select some: {example}")
    return chosen


def _selector(text: str, labels: Sequence[str], stack: Stack) -> str:
    """Return a selector with the name that the channel has in the stream: it may be its number, or its own name."""
    channel, slash, z = text.rpartition("/")
    if not slash or text in stack.channels:
        channel, slash, z = text, "", ""
    if channel in labels:
        return text
    if channel in stack.channels:
        return labels[stack.channels.index(channel)] + slash + z
    return labels[int(channel)] + slash + z if channel.isdecimal() and int(channel) < len(labels) else text


def _channel_names(stack: Stack) -> list[str]:
    """Return what the channels are called in a stream of planes; those of one name have their number behind it."""
    count = stack.axes.get("channel", 1)
    own = [stack.channels[n] if n < len(stack.channels) else "" for n in range(count)]
    twice = Counter(own)
    names = [as_channel(f"{name}-{n}" if name and twice[name] > 1 else name, n) for n, name in enumerate(own)]
    return names if len(set(names)) == count else [str(n) for n in range(count)]


def _check_one_plane(axes: Mapping[str, int], stack: Stack, selection: Mapping[str, str], path: Path) -> None:
    time = "time" if "time" in axes or stack.grows else next((name for name in axes if name not in selection), None)
    unselected = [axis for axis in axes if axis != time]
    if not unselected:
        return
    listed = f" ({', '.join(stack.channels)})" if "channel" in unselected and any(stack.channels) else ""
    ways = "&".join(f"{axis}=0" for axis in unselected if axis in PLANE_AXES)
    hint = f"select one: {path.name}?{ways}, or all of them: {path.name}?planes=all"
    if set(unselected) <= set(PLANE_AXES):
        raise SeveralPlanes(f"{path}: {_held(stack)}{listed}; {hint}")
    hint = f"select one: {path.name}?{ways}" if ways else "one plane stream is read; save it as a file of its own"
    raise SourceError(f"{path}: {_held(stack)}{listed}; {hint}")


def _held(stack: Stack) -> str:
    return "several planes: " + ", ".join(f"{axis} {size}" for axis, size in stack.axes.items() if size > 1)


def _number_of(axis: str, text: str, stack: Stack, path: Path) -> int:
    size = stack.axes.get(axis, 1)
    labels = {"channel": stack.channels, "z": stack.slices}[axis]
    if text in labels:
        return labels.index(text)
    if text.isdecimal() and int(text) < size:
        return int(text)
    if any(labels):
        raise SourceError(f"{path}: no {axis} {text!r}{did_you_mean(text, labels)}")
    raise SourceError(f"{path}: {axis}={text} selects nothing; there is {axis}=0 to {size - 1}")
