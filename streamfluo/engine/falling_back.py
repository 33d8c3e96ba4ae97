"""What a run does when its card is lost: it goes on on the processor, as of its last checkpoint, and makes up for the
frames since from the journal."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from ..core.block import Block
from ..core.card import CardLost
from ..core.errors import StreamfluoError
from ..session.events import changes_in
from ..session.reader import open_session
from .parts import Parts

log = logging.getLogger("streamfluo")
T = TypeVar("T")
WRITTEN_S = 30.0  # that it waits for the journal to have what the chain has seen


def surely(parts: Parts, call: Callable[[], T]) -> T:
    """Return what a call of the chain gives; where the card is lost meanwhile, from the processor."""
    try:
        return call()
    except CardLost as fault:
        fall_back(parts, fault)
        return call()


def fall_back(parts: Parts, fault: CardLost) -> None:
    """Build the chain's steps anew on the processor, as they were when they had seen what they have seen.

    Frames that are not recorded are missing in what they find: an event says which.
    """
    chain, kept, reached = parts.chain, parts.kept, dict(parts.position.reached)
    since = {plane: kept.reached.get(plane, kept.next_index) if kept else 0 for plane in reached}
    lost = {step.id: step.card for step in chain.steps if step.card}
    chain.to_processor(kept.steps if kept is not None else None)
    listeners, waiting = dict(chain.listeners), chain.changes.put_aside()
    chain.listeners.clear()  # they were told
    seen, whole = dict(since), False
    try:
        _plan_again(parts, since)
        for block in _recorded_again(parts, since, reached):
            chain.run(block)
            seen[parts.plane(block)] = block.stop
        chain.change_now(reached)
        whole = parts.has_journal and all(parts.position.written[plane] >= stop for plane, stop in reached.items())
    except (StreamfluoError, OSError) as error:
        log.warning("the journal cannot be read again: %s", error)
    finally:
        chain.events.clear()  # they were told
        chain.changes.put_back(waiting)
        chain.listeners.update(listeners)
    at = min(reached.values(), default=0)
    missing = [f"{seen[plane]} to {stop - 1}" for plane, stop in reached.items() if seen[plane] < stop and not whole]
    behind = f"; frames are missing in what it found, as they are not recorded: {', '.join(missing)}" if missing else ""
    for step, card in lost.items():
        said = f"goes on on the processor from frame {at} on: {fault or card}{behind}"
        parts.tell({"event": "noted", "step": step, "frame": at, "said": said})


def _plan_again(parts: Parts, since: dict[str, int]) -> None:
    """Have the chain make again what was changed since these frames."""
    if parts.session is None:
        return
    for change in changes_in(open_session(parts.session.folder).events):
        if since.get(parts.chain.step(change.step).plane, 0) <= change.frame:
            parts.chain.changes.plan_recorded(change, told=True)


def _recorded_again(parts: Parts, since: dict[str, int], reached: dict[str, int]) -> Iterator[Block]:
    """Yield the recorded frames between two places of each plane, of a disk that hangs those that it has."""
    if parts.session is None or not parts.has_journal:
        return
    until_s = time.monotonic() + WRITTEN_S
    while any(parts.position.written[plane] < stop for plane, stop in reached.items()):
        if time.monotonic() > until_s:
            break
        time.sleep(0.01)
    for block in open_session(parts.session.folder).journal.blocks(min(since.values())):
        plane = parts.plane(block)
        start, stop = max(block.index, since[plane]), min(block.stop, reached[plane])
        if start < stop:
            yield block.cut(start, stop)
