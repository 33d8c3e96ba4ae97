"""What a session says happened: changes of live parameters and decisions are made again at their frames, by a rerun and
by a run that resumes, and events of these are not noted again."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from ..core.control import Change
from ..core.decision import Decision
from ..core.errors import ConfigError
from ..session.events import changes_in
from ..session.reader import open_session
from .parts import Parts
from .told_before import ToldBefore

log = logging.getLogger("streamfluo")


def plan_recorded(parts: Parts, changes: Sequence[Change | Decision], resume: bool) -> None:
    """Have the chain make these changes, and of a session that is resumed those that it made; its events are not noted
    twice.

    What --set states now is not changed again. A change that the chain does not take is said and left out.
    """
    events = open_session(parts.session.folder).events if resume and parts.session else ()
    own = changes_in(events)
    theirs = [c for c in changes if c not in own and not _is_stated(c, parts.config.changed)]
    reached = {step.id: parts.position.reached[step.plane] for step in parts.chain.steps}
    parts.told_before = ToldBefore(events, reached)
    for change in sorted([*own, *theirs], key=lambda change: change.frame):
        if change.frame < reached.get(change.step, 0):
            continue  # the checkpoint has it
        try:
            parts.chain.changes.plan_recorded(change, told=change in own)
        except ConfigError as error:
            log.warning("frame %d: a recorded change is left out: %s", change.frame, error)


def _is_stated(change: Change | Decision, stated: Collection[str]) -> bool:
    """Whether --set states the parameter that was changed."""
    return isinstance(change, Change) and f"{change.step}.{change.param}" in stated
