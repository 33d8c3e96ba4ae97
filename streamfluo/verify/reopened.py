"""What a session was made of, once more: its config, its frames, and the chain as it stood before the first one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from msgspec.structs import replace

from ..core.errors import ConfigError, SessionError
from ..core.params import with_present_names
from ..core.registry import operator_of
from ..core.source import Source
from ..engine.building import named_planes
from ..engine.chain import Chain
from ..engine.config import ChainConfig, Config, PublishConfig, parse_config, with_overrides
from ..session.events import changes_in
from ..session.reader import Session
from ..session.source import SessionSource
from ..sources.opening import is_elsewhere, open_source, stays


class CannotTell(SessionError):
    """There is nothing to recompute from."""


def config_of(session: Session) -> Config:
    """Return the config that a session was made by, with nobody to serve. Raises CannotTell where it is not known."""
    if session.facts.get("refined_from"):
        raise CannotTell("made by refining; refine the first session again to see")
    path = session.path / "config.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CannotTell(f"its config.toml cannot be read: {error}") from None
    config = parse_config(text, str(session.facts.get("config", "config.toml")))
    on_processor = config.stated | {"chain.device"}  # whatever steps say: elsewhere there may be no card
    return replace(config, chain=ChainConfig(threads=1), stated=on_processor, publish=PublishConfig(), actions=())


def reference_of(session: Session, elsewhere: bool) -> str:
    """Return where the frames of a session without a journal are. Raises CannotTell where no such place is named, or
    it is an address and `elsewhere` is not wanted: whoever wrote the session could have any address asked."""
    reference = session.facts.get("reference")
    if isinstance(reference, str) and is_elsewhere(reference):
        if not elsewhere:
            raise CannotTell(f"its frames are at {reference}; --elsewhere has that address asked for them")
    elif not isinstance(reference, str) or not stays(reference):
        raise CannotTell("its frames were not recorded, and no file is named that has them")
    return reference


@contextmanager
def frames_of(session: Session, config: Config, elsewhere: bool) -> Iterator[Source]:
    """Yield the frames as a source: from the journal, else from where the session says, if they are the same still.

    elsewhere: whether an address is asked for them. Raises CannotTell, and SourceError for what cannot be opened.
    """
    planes = bool(named_planes(config.steps))
    if session.has_journal:
        source: Source = SessionSource.open(session.path, {})
    else:
        source = open_source(reference_of(session, elsewhere), planes=planes)
    with source:
        if source.series.uid != session.series["uid"]:
            raise CannotTell(f"{session.facts.get('reference')} has changed since this session")
        source.spec = with_overrides(config, source.spec)
        yield source


def chain_of(session: Session, config: Config, source: Source) -> Chain:
    """Return the session's chain as it stood before its first frame.

    Raises CannotTell where its steps are others by now.
    """
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


def _made_with(session: Session) -> str:
    return str(session.facts.get("versions", {}).get("streamfluo", "of a version that it does not say"))
