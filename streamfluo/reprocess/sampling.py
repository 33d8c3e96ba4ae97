"""The first of two stages: what all parts of a recording share is learned from a sample of its frames."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec.structs import replace

from ..core.errors import ConfigError, StateError
from ..core.freezable import Freezable
from ..core.operator import Mergeable
from ..core.source import Gap, Source
from ..core.step_values import StepValues
from ..engine.building import Step
from ..engine.chain import Chain
from ..engine.config import Config, with_overrides
from ..session.checkpoint import Checkpoint
from .division import learned_by
from .part_values import tables_alone
from .spans import frames_until, refuse_muted


class Learned(NamedTuple):
    """What of a sample's values stands in the session: rows that tell of what was learned. `frames`: sampled, in so
    many `seconds`."""

    values: list[StepValues]
    frames: int
    seconds: float


def learn(config: Config, source: Source, spans: tuple[tuple[int, int], ...], to: Any) -> Learned:
    """Run the steps that learn over the sampled frames, with a gap between spans, and save their state at `to`."""
    spec, began = with_overrides(config, source.spec), time.monotonic()
    wanted = learned_by(Chain(config, spec))
    chain = Chain(replace(config, steps=tuple(step for step in config.steps if step.id in wanted)), spec)
    told = {step.id: step.operator.of_sample for step in chain.steps if isinstance(step.operator, Freezable)}
    kept, frames = list[StepValues](), 0

    def keep(results: Any) -> None:
        for result in results:
            values = result.values
            if values is not None and (rows := tables_alone(values, told.get(result.step, ()))) is not None:
                kept.append(rows)

    for first, stop in spans:
        source.seek(first)
        for item in frames_until(source, stop):
            if isinstance(item, Gap):
                keep(chain.gap(item.first, item.count))
            else:
                frames += len(item)
                keep(chain.run(item))
    Checkpoint(source.series.uid, spans[-1][1], frames, chain.state(), {}).save(to)
    keep(chain.run_end())
    refuse_muted(config, chain)
    return Learned(kept, frames, time.monotonic() - began)


def take_over(config: Config, chain: Chain, learned: Mapping[str, Mapping[str, Any]]) -> None:
    """Have the steps of a part's chain know what was learned, and keep it. Raises ConfigError for a sample that
    taught too little."""
    fresh = chain.state()
    names = [step.id for step in chain.steps if isinstance(step.operator, Freezable)]
    chain.restore(fresh | {name: {**learned[name], "next_index": None} for name in names})
    for step in chain.steps:
        if isinstance(step.operator, Freezable):
            try:
                step.operator.freeze()
            except ConfigError as error:
                said = str(error).removeprefix(f"{step.operator.kind}: ")
                raise ConfigError(
                    f"{config.where}: step {step.id!r}: {said}: state a longer --sample, or reprocess it whole"
                ) from None


def begin_part(step: Step, fresh: Mapping[str, Mapping[str, Any]]) -> None:
    """Let a step begin with the frames of the part itself: one that merges as if there were none before."""
    operator = step.operator
    if isinstance(operator, Freezable):
        operator.begin_part()
    elif isinstance(operator, Mergeable):
        try:
            operator.restore(fresh[step.id]["state"])
        except StateError as error:
            raise StateError(f"step {step.id!r}: {error}") from None
