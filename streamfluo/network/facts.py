"""What a data endpoint says of itself: its introduction, its status, the end of its series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from ..core import wire
from .frames import Frames

FEW = 24  # of what status says of each step, where there are too many

Said = TypeVar("Said")


def introduction(facts: Mapping[str, Any]) -> wire.Hello:
    """Return the hello of these facts within the limits.

    Where it is too much, without live parameters, then without the user's words on the series; then what is the same
    for a step in every plane is said once, and of planes their names alone. `expanded` undoes that.
    """
    hello = wire.Hello(**facts)
    if not wire.fits(hello):
        hello = msgspec.structs.replace(hello, live=msgspec.UNSET)
    if hello.series and not wire.fits(hello):
        hello = msgspec.structs.replace(hello, series={**hello.series, "user": {}})
    if wire.fits(hello):
        return hello
    hello = msgspec.structs.replace(hello, gives=_said_once(hello.gives), frames=_said_once(hello.frames))
    if wire.fits(hello) or not hello.series:
        return hello
    names = [{"channel": plane["channel"], "z": plane["z"]} for plane in hello.series.get("planes") or ()]
    return msgspec.structs.replace(hello, series={**hello.series, "planes": names})


def expanded(hello: wire.Hello) -> wire.Hello:
    """Return a hello that says of each step in each plane what `introduction` may have said once."""
    planes = (hello.series or {}).get("planes")
    if not isinstance(planes, list) or not planes:
        return hello
    steps = [step for step, *_ in hello.steps]
    sources = [f"{p.get('channel')}/{p.get('z')}/{wire.SOURCE}" for p in planes if isinstance(p, dict)]
    return msgspec.structs.replace(
        hello, gives=_said_of_each(hello.gives, steps), frames=_said_of_each(hello.frames, [*sources, *steps])
    )


def _said_once(said: Mapping[str, Said]) -> dict[str, Said]:
    """What is said of steps: what most planes have alike under the name without the plane, the rest of its plane."""
    by_name: dict[str, list[Said]] = {}
    for step, words in said.items():
        by_name.setdefault(step.rpartition("/")[2], []).append(words)
    usual = {name: max(words, key=words.count) for name, words in by_name.items()}
    return usual | {step: words for step, words in said.items() if words != usual[step.rpartition("/")[2]]}


def _said_of_each(said: Mapping[str, Said], steps: Sequence[str]) -> dict[str, Said]:
    once = {step: said[name] for step in steps if (name := step.rpartition("/")[2]) in said and step not in said}
    spread = {step.rpartition("/")[2] for step in once}
    return {step: words for step, words in said.items() if step not in spread} | once


def frame_facts(frames: Frames) -> dict[str, Any]:
    """What a hello says of the frames that are served."""
    return {"series": msgspec.to_builtins(frames.start()), "frames": wire.source_facts(frames.spec)}


def report(facts: Mapping[str, Any], counters: Mapping[str, Any]) -> wire.Status:
    """Return the status of `facts`, whose own counters stand beside, or instead of, `counters`.

    Of very many steps the slowest are told, and the first that are muted or doubtful.
    """
    counted = {**counters, **facts.get("counters", {})}
    status = wire.Status(**{**facts, "counters": counted})
    if wire.fits(status):
        return status
    slowest = sorted(counted.get("steps_ms", {}).items(), key=lambda item: -item[1].get("p99", 0.0))
    counted["steps_ms"] = dict(slowest[:FEW])
    for name in ("muted", "doubtful"):
        counted[name] = dict(list(counted.get(name, {}).items())[:FEW])
    return wire.Status(**{**facts, "counters": counted})


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
