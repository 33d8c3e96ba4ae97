"""Which recordings are reprocessed, and under which name the session of each stands."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..core.errors import SourceError

MAX_NAME = 120
_UNSAFE = re.compile(r"[^\w.+=,@-]+")
_OURS = {"reprocess"}  # what stands beside the sessions


class Recording(NamedTuple):
    """A recording by its URI, and the name of the folder that its session is."""

    name: str
    uri: str


def recordings(sources: Sequence[str]) -> list[Recording]:
    """Return the recordings that files, sessions, patterns (`day1/*.tif`) and URIs name, each once, in their order.

    Files are named by absolute paths, as workers may run elsewhere. Raises SourceError for a pattern that fits nothing,
    and for two recordings whose sessions would have one name.
    """
    found: dict[str, str] = {}
    uris = list(dict.fromkeys(uri for source in sources for uri in _expanded(source)))
    for uri in uris:
        name = name_of(uri)
        if name in _OURS or name.startswith("."):
            raise SourceError(f"reprocess: {uri}: no session can be called {name!r}; rename the recording")
        if (other := found.get(name.casefold())) is not None:  # some disks do not tell a from A
            raise SourceError(f"reprocess: {other} and {uri} would both be {name!r}; reprocess them apart")
        found[name.casefold()] = uri
    return [Recording(name_of(uri), uri) for uri in uris]


def name_of(uri: str) -> str:
    """Return the name of a recording's session: of a file its name without suffixes, of a URI all of it."""
    location, _, query = uri.partition("?")
    path = Path(location)
    stem = path.name.split(".")[0] if path.is_absolute() else location
    named = "_".join(filter(None, [stem or path.name, query]))
    return _UNSAFE.sub("_", named).strip("_.")[:MAX_NAME] or "recording"


def _expanded(source: str) -> Iterator[str]:
    location, mark, query = source.partition("?")
    if re.match(r"[a-z][a-z0-9+]+:", location):  # a Windows drive has one letter
        yield source
        return
    path = Path(location).expanduser()
    if path.exists():
        yield f"{path.resolve()}{mark}{query}"
        return
    if not (names := sorted(glob.glob(str(path), recursive=True))):
        raise SourceError(f"reprocess: {source}: no such recording, and a pattern that fits nothing")
    yield from (f"{Path(name).resolve()}{mark}{query}" for name in names)
