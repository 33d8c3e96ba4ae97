"""Values and snapshots once more, from the frames and by the session's own config, compared to the bit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from ..core.block import Block
from ..core.errors import ConfigError, SessionError, StreamfluoError
from ..core.params import with_present_names
from ..core.registry import operator_of
from ..core.source import Gap, Source, first_index
from ..engine.building import named_planes
from ..engine.chain import Chain
from ..engine.config import ChainConfig, Config, PublishConfig, parse_config, with_overrides
from ..session.checkpoint import Checkpoint, load_checkpoint
from ..session.events import changes_in
from ..session.reader import Session
from ..session.source import SessionSource
from ..session.writer import CHECKPOINT, versions_here
from ..sources.opening import open_source, stays
from .differing import Values, differing_snapshots, differing_values
from .findings import Finding

HEAD_FRAMES = 512  # from the first frame on, where a sample is recomputed
TAIL_FRAMES = 4096  # behind the last checkpoint at most
SHORT_S = 15.0  # a run that took no longer is recomputed whole
Progress = Callable[[int], None]  # told of each frame


class Again(NamedTuple):
    """What recomputing a session gave: findings, and which frames were recomputed, in words."""

    findings: list[Finding]
    checked: list[str]


class CannotTell(SessionError):
    """There is nothing to recompute from."""


def recomputed(session: Session, full: bool, progress: Progress = lambda frames: None) -> Again:
    """Run frames of a session through its chain again and compare what comes of them with what it has.

    A sample is the first HEAD_FRAMES and what lies behind the last checkpoint, which ends in the snapshots; all of a
    run that took less than SHORT_S. `full` is every frame. What the session cannot be recomputed from is a finding.
    """
    found = Again([], [])
    if not session.steps:
        return found
    try:
        config = _config_of(session)
        with _frames_of(session, config) as source:
            chain = _chain_of(session, config, source)
            full = full or 0 < session.health.get("elapsed_s", 0) < SHORT_S
            checkpoint = None if full else _last(session)
            total = session.next_index - first_index(source)
            stop = session.next_index if full or total <= HEAD_FRAMES else first_index(source) + HEAD_FRAMES
            _run(session, chain, source, stop, found, progress)
            if stop < session.next_index and checkpoint is not None and _is_near(session, checkpoint, stop):
                behind = _chain_of(session, config, source)
                behind.restore(checkpoint.steps)
                source.seek(checkpoint.next_index)
                _run(session, behind, source, session.next_index, found, progress, checkpoint.next_index)
            elif stop < session.next_index:
                found.checked.append("snapshots not recomputed, --full does")
    except (StreamfluoError, OSError) as error:
        found.findings.append(Finding("cannot tell", "recomputing", str(error)))
    return found


def _config_of(session: Session) -> Config:
    if session.facts.get("refined_from"):
        raise CannotTell("made by refining; refine the first session again to see")
    divided = session.facts.get("divided")
    if session.facts.get("parts") and not (isinstance(divided, dict) and divided.get("way") == "planes"):
        raise CannotTell("made of parts, which are equal to a single run within tolerances, not to the bit")
    path = session.path / "config.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CannotTell(f"its config.toml cannot be read: {error}") from None
    config = parse_config(text, str(session.facts.get("config", "config.toml")))
    return replace(config, chain=ChainConfig(threads=1), publish=PublishConfig(), actions=())


@contextmanager
def _frames_of(session: Session, config: Config) -> Iterator[Source]:
    """The frames as a source: from the journal, else from where the session says, if they are the same still."""
    planes = bool(named_planes(config.steps))
    if session.has_journal:
        source: Source = SessionSource.open(session.path, {})
    else:
        reference = session.facts.get("reference")
        if not reference or not stays(str(reference)):
            raise CannotTell("its frames were not recorded, and no file is named that has them")
        source = open_source(str(reference), planes=planes)
    with source:
        if source.series.uid != session.series["uid"]:
            raise CannotTell(f"{session.facts.get('reference')} has changed since this session")
        source.spec = with_overrides(config, source.spec)
        yield source


def _chain_of(session: Session, config: Config, source: Source) -> Chain:
    """The session's chain as it stood before its first frame. Raises CannotTell where its steps are others by now."""
    chain = Chain(config, source.spec)
    facts = chain.facts()
    if facts.keys() != session.steps.keys():
        raise CannotTell(f"its config.toml has the steps {', '.join(facts)}, the session {', '.join(session.steps)}")
    for step, one in facts.items():
        was = session.steps[step]
        if (one["kind"], one["version"]) != (was.kind, was.version):
            raise CannotTell(
                f"step {step!r} was made by {was.kind} version {was.version}, here is {one['kind']} version "
                f"{one['version']}; recompute it with streamfluo {_made_with(session)}"
            )
        kind = operator_of(was.kind)
        params = with_present_names(kind.Params, dict(was.params)) if kind is not None else dict(was.params)
        now = one["params"]
        if other := {name for name in now.keys() & params.keys() if _plain(now[name]) != _plain(params[name])}:
            raise CannotTell(f"step {step!r}: config.toml has other {', '.join(sorted(other))} than the run had")
    for change in changes_in(session.events):
        try:
            chain.changes.plan_recorded(change, told=True)
        except ConfigError as error:
            raise CannotTell(f"a change at frame {change.frame} is not taken: {error}") from None
    return chain


def _plain(value: Any) -> str:
    """A parameter as session.json has it: tuples are lists there."""
    return json.dumps(value, sort_keys=True)


def _last(session: Session) -> Checkpoint | None:
    """The last checkpoint, where frames of one plane follow it and nothing was changed while they came."""
    checkpoint = load_checkpoint(session.path / CHECKPOINT)
    if checkpoint is None or checkpoint.series_uid != session.series["uid"] or checkpoint.reached.keys() - {""}:
        return None
    return None if changes_in(session.events) else checkpoint


def _is_near(session: Session, checkpoint: Checkpoint, stop: int) -> bool:
    return stop <= checkpoint.next_index and session.next_index - checkpoint.next_index <= TAIL_FRAMES


def _run(
    session: Session, chain: Chain, source: Source, stop: int, found: Again, progress: Progress, first: int = -1
) -> None:
    """Run frames up to `stop`, all that is left if it is the session's end, and compare what came of them."""
    begin = first_index(source) if first < 0 else first
    ends = stop >= session.next_index and session.state == "finished"
    values: dict[str, Values] = {step.id: Values() for step in chain.steps}
    count, reached = 0, dict.fromkeys(source.spec.plane_names, begin)
    for item in _until(source, stop):
        if isinstance(item, Gap):
            results = chain.gap(item.first, item.count, item.plane)
            reached[item.plane] = item.first + item.count
        else:
            results = chain.run(item)
            count += len(item)
            reached[item.plane if source.spec.planes else ""] = item.stop
            progress(count)
        _keep(values, results)
    if ends:
        _keep(values, chain.run_end(reached))
    said = f"frames {begin} to {stop - 1} recomputed" if begin < stop else "no frame lies behind the last checkpoint"
    wrong = list(differing_values(session, values, first >= 0))
    if ends:
        said += ", with the snapshots"
        wrong += differing_snapshots(session, {step.id: chain.read(step.id) for step in chain.steps})
    muted_then = {event["step"] for event in session.events if event["event"] == "muted"}
    wrong += [
        Finding("not reproducible", step.id, f"muted here: {step.muted}")
        for step in chain.steps
        if step.muted and step.id not in muted_then
    ]
    found.findings.extend(one._replace(what=one.what + _versions(session)) for one in wrong)
    found.checked.append(said)


def _keep(values: Mapping[str, Values], results: Any) -> None:
    for result in results:
        if result.values is not None:
            kept = values[result.step]
            kept.arrays.append({name: np.array(array) for name, array in result.values.arrays.items()})
            kept.index.append(np.arange(result.values.index, result.values.index + result.values.frames))


def _until(source: Source, stop: int) -> Iterator[Block | Gap]:
    """Yield what a source gives of the frames before `stop`, of every plane."""
    left = set(source.spec.plane_names)
    for item in source.blocks():
        at, plane = (item.first, item.plane) if isinstance(item, Gap) else (item.index, item.plane)
        end = item.first + item.count if isinstance(item, Gap) else item.stop
        if at < stop:
            yield item if isinstance(item, Gap) or end <= stop else item.cut(at, stop)
        if end >= stop:
            left.discard(plane if source.spec.planes else "")
            if not left:
                return


def _made_with(session: Session) -> str:
    return str(session.facts.get("versions", {}).get("streamfluo", "of a version that it does not say"))


def _versions(session: Session) -> str:
    """Say which versions made it and which are here, where they differ; "" where they do not."""
    then, now = dict(session.facts.get("versions", {})), versions_here()
    other = [f"{name} {then.get(name)} then, {now[name]} now" for name in now if then.get(name) != now[name]]
    return f" ({'; '.join(other)})" if other else ""
