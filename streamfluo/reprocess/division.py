"""How a recording is divided among workers: by its planes, by frames into parts that merge, or by frames of which a
sample teaches all parts what they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

import msgspec

from ..core.errors import ConfigError, SessionError
from ..core.freezable import Freezable
from ..core.grid import GRID_FRAMES
from ..core.operator import Mergeable
from ..engine.building import Step
from ..engine.chain import Chain
from ..engine.config import Config
from ..session.reader import Session

Way = Literal["merged", "sampled", "warmed", "planes"]
STRETCH = 512  # frames of a sample on end: what a chain needs to begin, and transients of calcium last up to 60
LEAST_SAMPLE, SAMPLE_SHARE = 4096, 1 / 16  # cells that are silent in the sample are not found
MOST_SAMPLE_SHARE = 0.5  # of a recording: beyond, workers save nothing


@dataclass(frozen=True)
class Division:
    """A way to divide a recording, chosen by the steps of its chain.

    cuts: the first frame of each part, and the one behind the last. sample: spans (first, stop) of frames that teach;
    warm_up, run_out: frames that a part sees before and behind its own. tolerances: by step and measure, how far
    results may lie from those of a single run. planes: those that each part takes.
    """

    way: Way
    cuts: tuple[int, ...] = ()
    sample: tuple[tuple[int, int], ...] = ()
    warm_up: int = 0
    run_out: int = 0
    tolerances: tuple[tuple[str, dict[str, float]], ...] = ()
    planes: tuple[tuple[str, ...], ...] = ()

    def facts(self, parts: int) -> dict[str, Any]:
        """Return what a session says of it."""
        if self.way == "merged":
            bounds = {"all": {"of_scale": 1e-12, "of_float32": 1e-6}}
            return {"parts": parts, "way": self.way, "cuts": self.cuts, "tolerances": bounds}
        if self.way == "planes":
            return {"parts": parts, "way": self.way, "planes": self.planes, "tolerances": {}}
        told = {k: v for k, v in asdict(self).items() if k not in ("planes", "tolerances")}
        return {"parts": parts, **told, "tolerances": dict(self.tolerances)}


def divided(config: Config, chain: Chain, frames: tuple[int, int], sample: int | None) -> Division:
    """Return the way in which frames (first, stop) of a recording are divided, a `sample` of so many to learn from.

    Raises ConfigError, which names the step, where there is none.
    """
    if chain.spec.planes:
        return Division("planes", planes=_planes_apart(config, chain))
    learning = [step for step in chain.steps if isinstance(step.operator, Freezable)]
    for step in chain.steps:
        merges = isinstance(step.operator, Mergeable) and step.operator.merges
        if step.lives_on_frames and not merges and not isinstance(step.operator, Freezable):
            raise ConfigError(
                f"{config.where}: step {step.id!r}: {step.operator.kind} has no merge and learns from all frames, so a "
                "recording cannot be taken in parts; reprocess it whole"
            )
        if isinstance(step.operator, Freezable) and step.axis != chain.steps[0].axis:
            raise ConfigError(
                f"{config.where}: step {step.id!r}: it sees other frames than come from the source, so a recording "
                "cannot be taken in parts; reprocess it whole"
            )
    if not learning:
        return Division("merged")
    operators = [step.operator for step in learning if isinstance(step.operator, Freezable)]
    division = Division(
        "sampled" if any(one.learns for one in operators) else "warmed",
        warm_up=max(one.warm_up_frames for one in operators),
        run_out=max(one.run_out_frames for one in operators),
        tolerances=tuple((step.id, dict(one.tolerances)) for step, one in zip(learning, operators, strict=True)),
    )
    if division.way == "warmed":
        return division
    first, stop = frames
    wanted = sample or max(LEAST_SAMPLE, round(SAMPLE_SHARE * (stop - first)))
    if wanted > MOST_SAMPLE_SHARE * (stop - first):
        raise ConfigError(
            f"{config.where}: step {learning[0].id!r}: {stop - first} frames are too few for parts, which learn from "
            f"{wanted} of them first; reprocess it whole, or state a shorter --sample"
        )
    return replace(division, sample=tuple(sample_spans(first, stop, wanted)))


def stated(session: Session, frames: tuple[int, int]) -> Division:
    """Return how a session of parts says that frames (first, stop) of its recording were divided.

    Sessions of earlier versions say into how many parts, not where they were cut, which follows from it. Raises
    SessionError for one that says no such thing.
    """
    where = f"{session.path}/session.json"
    try:
        said = msgspec.convert(session.facts.get("divided"), _Stated)
    except msgspec.ValidationError as error:
        raise SessionError(f"{where}: how it was divided cannot be read: {error}") from None
    cuts = said.cuts or tuple(cut_evenly(*frames, said.parts))
    spans_in_order = [frame for span in said.sample for frame in span]
    if (cuts[0], cuts[-1]) != frames or len(cuts) != said.parts + 1 or list(cuts) != sorted(set(cuts)):
        raise SessionError(
            f"{where}: {said.parts} parts of frames {frames[0]} to {frames[1] - 1} are not cut like that"
        )
    if spans_in_order != sorted(spans_in_order) or any(not frames[0] <= at <= frames[1] for at in spans_in_order):
        raise SessionError(f"{where}: its sample is of no frames of the recording")
    if said.way == "sampled" and not said.sample:
        raise SessionError(f"{where}: says no sample, of which its parts learned")
    return Division(said.way, cuts, said.sample, said.warm_up, said.run_out)


class _Stated(msgspec.Struct, frozen=True):
    """What is read of `divided` in a session."""

    parts: Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
    way: Literal["merged", "sampled", "warmed"]
    cuts: tuple[int, ...] = ()
    sample: tuple[tuple[int, int], ...] = ()
    warm_up: Annotated[int, msgspec.Meta(ge=0)] = 0
    run_out: Annotated[int, msgspec.Meta(ge=0)] = 0


def cut_evenly(first: int, stop: int, count: int) -> list[int]:
    """Return where frames are cut into about so many parts, on the grid on which steps flush; both ends are among
    them."""
    each = max(GRID_FRAMES, -(-(stop - first) // count // GRID_FRAMES) * GRID_FRAMES)
    return [first, *range(first // GRID_FRAMES * GRID_FRAMES + each, stop, each), stop]


def sample_spans(first: int, stop: int, frames: int) -> list[tuple[int, int]]:
    """Return spans of STRETCH frames, about so many in all, evenly spread over frames `first` to `stop`."""
    count = max(1, round(frames / STRETCH))
    length = min(frames, STRETCH) if count == 1 else STRETCH
    last = stop - length - first
    begins = [first + n * last // max(1, count - 1) // GRID_FRAMES * GRID_FRAMES for n in range(count)]
    return [(begin, begin + length) for begin in begins]


def learned_by(chain: Chain) -> set[str]:
    """Return the steps that learn from a sample, and all whose frames and values they take."""
    by_id, wanted = {step.id: step for step in chain.steps}, set[str]()
    waiting = [step.id for step in chain.steps if isinstance(step.operator, Freezable)]
    while waiting:
        step = by_id.get(waiting.pop())
        if step is not None and step.id not in wanted:
            wanted.add(step.id)
            waiting += [step.after, *step.takes_of]
    return wanted


def _planes_apart(config: Config, chain: Chain) -> tuple[tuple[str, ...], ...]:
    """The planes in groups that take nothing of each other. Raises ConfigError where there is one group."""
    groups = {plane: {plane} for plane in chain.spec.plane_names}
    for step in chain.steps:
        together = set[str]().union(*(groups[plane] for plane in _bound(chain.steps, step)))
        for plane in together:
            groups[plane] = together
    found = list(dict.fromkeys(tuple(sorted(group, key=chain.spec.plane_names.index)) for group in groups.values()))
    if len(found) == 1:
        binds = next((s.id for s in chain.steps if len(_bound(chain.steps, s)) > 1), "")
        why = f"step {binds!r} takes values of other planes" if binds else "it has one plane"
        raise ConfigError(f"{config.where}: {why}, so a recording cannot be divided by planes; reprocess it whole")
    return tuple(found)


def _bound(steps: Sequence[Step], step: Step) -> set[str]:
    return {step.plane, *(other.plane for other in steps if other.id in step.takes_of)}
