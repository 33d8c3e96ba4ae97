"""Values and snapshots once more, from the frames and by the session's own config, compared to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import StreamfluoError
from ..core.source import Gap, Source, first_index
from ..engine.chain import Chain
from ..reprocess.spans import frames_until
from ..session.checkpoint import Checkpoint, load_checkpoint
from ..session.events import changes_in
from ..session.reader import Session
from ..session.writer import CHECKPOINT, versions_here
from .differing import Values, differing_snapshots, differing_values
from .findings import Finding
from .parts_again import Made, division_of, parts_again
from .reopened import chain_of, config_of, frames_of, reference_of

HEAD_FRAMES = 512  # from the first frame on, where a sample is recomputed
TAIL_FRAMES = 4096  # behind the last checkpoint at most
SHORT_S = 15.0  # a run that took no longer is recomputed whole
Progress = Callable[[int], None]  # told of each frame


class Again(NamedTuple):
    """What recomputing a session gave: findings, and which frames were recomputed, in words."""

    findings: list[Finding]
    checked: list[str]


class Extent(NamedTuple):
    """How much is recomputed: all frames or a sample of them; of recordings at an address, whether that is asked."""

    full: bool = False
    elsewhere: bool = False


def recomputed(session: Session, extent: Extent, progress: Progress = lambda frames: None) -> Again:
    """Run frames of a session through its chain again and compare what comes of them with what it has.

    A sample is the first HEAD_FRAMES and what lies behind the last checkpoint, which ends in the snapshots; all of a
    run that took less than SHORT_S. What was made in parts is made in the same parts again. What the session cannot be
    recomputed from is a finding.
    """
    found = Again([], [])
    if not session.steps:
        return found
    try:
        config = config_of(session)
        with frames_of(session, config, extent.elsewhere) as source:
            chain = chain_of(session, config, source)
            begin, end = first_index(source), session.next_index
            full = extent.full or 0 < session.health.get("elapsed_s", 0) < SHORT_S or end - begin <= HEAD_FRAMES
            checkpoint = None if full else _last(session)
            head = _Stretch(session, chain, source, begin, end if full else begin + HEAD_FRAMES)
            if (division := division_of(session, source)) is not None:
                uri = str(session.path) if session.has_journal else reference_of(session, extent.elsewhere)
                made = parts_again(Made(session, chain, uri, division), 0 if full else HEAD_FRAMES, progress)
                _add(found, session, *made)
            else:
                _run(head, found, progress)
            if head.stop < end and checkpoint is not None and _is_near(session, checkpoint, head.stop):
                behind = chain_of(session, config, source)
                behind.restore(checkpoint.steps)
                source.seek(checkpoint.next_index)
                _run(_Stretch(session, behind, source, checkpoint.next_index, end, tail=True), found, progress)
            elif head.stop < end:
                found.checked.append("snapshots not recomputed, --full does")
    except (StreamfluoError, OSError) as error:
        found.findings.append(Finding("cannot tell", "recomputing", str(error)))
    return found


def _last(session: Session) -> Checkpoint | None:
    """The last checkpoint, where frames of one plane follow it and nothing was changed while they came."""
    checkpoint = load_checkpoint(session.path / CHECKPOINT)
    if checkpoint is None or checkpoint.series_uid != session.series["uid"] or checkpoint.reached.keys() - {""}:
        return None
    return None if changes_in(session.events) else checkpoint


def _is_near(session: Session, checkpoint: Checkpoint, stop: int) -> bool:
    return stop <= checkpoint.next_index and session.next_index - checkpoint.next_index <= TAIL_FRAMES


class _Stretch(NamedTuple):
    """Frames `first` to `stop` - 1 of a session, which its chain sees once more; `tail`: from a checkpoint on."""

    session: Session
    chain: Chain
    source: Source
    first: int
    stop: int
    tail: bool = False


def _run(stretch: _Stretch, found: Again, progress: Progress) -> None:
    """Run frames, all that is left if they reach the session's end, and compare what came of them."""
    session, chain, source, begin, stop, tail = stretch
    ends = stop >= session.next_index and session.state == "finished"
    values: dict[str, Values] = {step.id: Values() for step in chain.steps}
    count, reached = 0, dict.fromkeys(source.spec.plane_names, begin)
    for item in frames_until(source, stop):
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
    wrong = list(differing_values(session, values, "tail" if tail else "whole" if ends else "head"))
    if ends:
        said += ", with the snapshots"
        wrong += differing_snapshots(session, {step.id: chain.read(step.id) for step in chain.steps})
    muted_then = {event["step"] for event in session.events if event["event"] == "muted"}
    wrong += [
        Finding("not reproducible", step.id, f"muted here: {step.muted}")
        for step in chain.steps
        if step.muted and step.id not in muted_then
    ]
    _add(found, session, wrong, said)


def _add(found: Again, session: Session, wrong: Iterable[Finding], said: str) -> None:
    found.findings.extend(one._replace(what=one.what + _versions(session)) for one in wrong)
    found.checked.append(said)


def _keep(values: Mapping[str, Values], results: Any) -> None:
    for result in results:
        if result.values is not None:
            kept = values[result.step]
            kept.arrays.append({name: np.array(array) for name, array in result.values.arrays.items()})
            kept.index.append(np.arange(result.values.index, result.values.index + result.values.frames))


def _versions(session: Session) -> str:
    """Say which versions made it and which are here, where they differ; "" where they do not."""
    then, now = dict(session.facts.get("versions", {})), versions_here()
    other = [f"{name} {then.get(name)} then, {now[name]} now" for name in now if then.get(name) != now[name]]
    return f" ({'; '.join(other)})" if other else ""
