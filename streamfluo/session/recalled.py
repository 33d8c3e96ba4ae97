"""What a session knows of its series, and the sender that goes on with it does not say again."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields, replace
from pathlib import Path
from typing import Any

from ..core.errors import StreamfluoError
from ..core.source import Series, Source
from .reader import open_session


def recall(folder: Path, source: Source) -> None:
    """Give a source what the session in `folder` knows of the same series and it does not say itself.

    A pushed stream whose receiver was started again comes in with an image, which says no interval, no planes, no time.
    """
    try:
        session = open_session(folder)
        spec, known = session.spec, session.series
    except StreamfluoError:
        return  # what is wrong with it is said where it is opened to be written
    if known["uid"] != source.series.uid or (spec.shape, spec.dtype) != (source.spec.shape, source.spec.dtype):
        return
    series = Series(**{f.name: known[f.name] for f in fields(Series)})
    said = _said(source.series, series)
    if said.source == getattr(source, "uri", None):  # called so for want of a name
        said = replace(said, source=series.source)
    recalled = _said(source.spec, spec), said
    if recalled != (source.spec, source.series):
        source.recall(*recalled)


def _said(here: Any, before: Any) -> Any:
    """What is said here, and where nothing is, what was said before."""
    unsaid = [f.name for f in fields(here) if getattr(here, f.name) == _nothing(f)]
    return replace(here, **{name: getattr(before, name) for name in unsaid})


def _nothing(field: Field[Any]) -> Any:
    """A field's value where nobody says one."""
    return field.default if field.default_factory is MISSING else field.default_factory()
