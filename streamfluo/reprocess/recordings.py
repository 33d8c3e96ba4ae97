"""Which recordings are reprocessed, and under which name the session of each stands."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..core.errors import SourceError
from ..sources.selection import path_and_query, without_file_scheme
from .collections import LEDGER, Found, collected, is_uri, listed

MAX_NAME = 120
UNSAFE = re.compile(r"[^\w.+=,@-]+")
_OURS = {LEDGER}


class Recording(NamedTuple):
    """A recording by its URI, and the name of the folder that its session is."""

    name: str
    uri: str


def recordings(sources: Sequence[str], out: Path | None = None) -> list[Recording]:
    """Return the recordings that files, sessions, collections, patterns (`day1/*.tif`), lists (`@list.txt`) and URIs
    name, each once, in their order.

    Files are named by absolute paths, as workers may run elsewhere. Raises SourceError for a pattern that fits nothing,
    and for two recordings whose sessions would have one name. What a list names and is not there is a recording that
    fails. Sessions that stand in `out` from before are none where that folder itself is named.
    """
    found: dict[str, str] = {}
    names: dict[str, str] = {}
    for source in sources:
        for one in _expanded(source):
            if out is not None and _is_made_here(one.uri, source, out):
                continue
            names.setdefault(one.uri, safe_name(one.name) if one.name else name_of(one.uri))
    if not names:
        raise SourceError(f"reprocess: {', '.join(sources)}: only sessions that were made there; name the recordings")
    for uri, name in names.items():
        if name in _OURS or name.startswith("."):
            raise SourceError(f"reprocess: {uri}: no session can be called {name!r}; rename the recording")
        if (other := found.get(name.casefold())) is not None:  # some disks do not tell a from A
            raise SourceError(f"reprocess: {other} and {uri} would both be {name!r}; reprocess them apart")
        found[name.casefold()] = uri
    return [Recording(name, uri) for uri, name in names.items()]


def _is_made_here(uri: str, source: str, out: Path) -> bool:
    """Whether a recording found in the folder `out` is a session that a reprocessing made there."""
    path = Path(uri)
    made = (out / LEDGER / f"{path.name}.json").is_file()
    return made and path.parent == out.resolve() == Path(source).expanduser().resolve()


def name_of(uri: str) -> str:
    """Return the name of a recording's session: of a file its name without suffixes, of a URI all of it."""
    location, query = uri.partition("?")[::2] if is_uri(uri) else path_and_query(uri)
    path = Path(location)
    stem = path.name.split(".")[0] if path.is_absolute() else location
    named = "_".join(filter(None, [stem or path.name, query]))
    return safe_name(named)


def safe_name(name: str) -> str:
    """Return a name without what folders may not be called."""
    return UNSAFE.sub("_", name).strip("_.")[:MAX_NAME] or "recording"


def _expanded(source: str) -> Iterator[Found]:
    if not source:
        raise SourceError("reprocess: a recording's name has no letters; name a file, a folder, a pattern or a URI")
    if source.startswith("@") and not Path(source).exists():
        for one in listed(Path(source[1:]).expanduser()):
            try:
                yield from _expanded(one)
            except SourceError:  # thousands of others go on
                yield Found(one)
        return
    source = without_file_scheme(source)
    if is_uri(source):
        yield Found(source)
        return
    location, query = path_and_query(source)
    path = Path(location).expanduser()
    if path.exists() or path.is_symlink():
        yield from collected(path, query)
        return
    if not (names := sorted(glob.glob(str(path), recursive=True))):
        raise SourceError(f"reprocess: {source}: no such recording, and a pattern that fits nothing")
    found, refused = list[Found](), ""
    for name in names:
        try:
            found += collected(Path(name), query)
        except SourceError as error:  # a folder without recordings, as a pattern fits many
            refused = str(error)
    if not found:
        raise SourceError(refused)
    yield from found
