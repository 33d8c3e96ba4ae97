"""A folder into which an acquisition writes series after series, as a source of the daemon: `watch:FOLDER`.

    watch:/data/scope?pattern=*.tif     each file, or folder, of such a name is a series once it begins
    before=leave | take                 what is there when the folder is watched for the first time
    everything else                     as for the file itself, `axes=TCYX`

Files and folders that can be followed while they grow are; others are opened once they have not changed for ten
seconds. What was taken stands in a file that outlives the program.
"""

from __future__ import annotations

import fnmatch
import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ..core.errors import ConfigError, SourceError
from ..core.source import Source
from ..session.files import save_json
from ..sources import following
from ..sources.opening import file_reader, open_source

SCHEME = "watch:"
MAX_ENTRIES = 20_000
MAX_TRIES = 5
AGAIN_S = (1.0, 60.0)  # before what cannot be opened is tried again: at first, and at most
YOUNG_S = 5.0  # what changed so lately may have grown after its series was over

Identity = tuple[int, int, int]  # inode, bytes and time of a file; of a folder the first alone

log = logging.getLogger("streamfluo")


class NothingNewError(SourceError):
    """No series has begun since the last one."""


class WatchedFolder:
    """Gives the series of a folder, the oldest first. Raises ConfigError for a URI that is wrong."""

    def __init__(self, uri: str, memory: Path) -> None:
        location, _, query = uri.removeprefix(SCHEME).partition("?")
        self.uri = uri
        self.grew = False  # whether what was given last had been over, and is not as it was then
        self._folder, self._memory = Path(location).expanduser(), memory
        said = dict(part.partition("=")[::2] for part in query.split("&") if part)
        self._pattern = said.pop("pattern", "*")
        self._before: Literal["leave", "take"] = _before(uri, said.pop("before", "leave"))
        if "/" in self._pattern or not self._pattern or not location:
            raise ConfigError(f"{uri}: watch:FOLDER?pattern=*.tif; the pattern is one of plain names, without /")
        if "follow" in said:
            raise ConfigError(f"{uri}: what can be followed is; take follow= out")
        self._query = "&".join(f"{key}={value}" for key, value in said.items())
        self._taken: dict[str, list[int]] = {}  # by name what it was when it was over
        self._began = False
        self._tries: dict[str, int] = {}
        self._later: dict[str, tuple[float, float]] = {}
        self._still: dict[str, tuple[Identity, float]] = {}  # what cannot be followed, and since when it is as it is
        self._at: str = ""

    def next(self) -> Source:
        """Return the source of the next series, which has begun. Raises NothingNewError where there is none,
        SourceError for one that cannot be opened: the others come before it is tried again."""
        there = self._entries()
        if not self._began:
            self._begin(there)
        for name in list(self._taken):
            if name not in there:
                del self._taken[name]
        for name, identity in there.items():
            if self._taken.get(name) != list(identity) and self._is_due(name, identity):
                self.grew = name in self._taken
                return self._open(name)
        raise NothingNewError(f"{self._folder}: no new {self._pattern}")

    def _begin(self, there: Mapping[str, Identity]) -> None:
        remembered = _read(self._memory)
        if remembered is None:
            remembered = {} if self._before == "take" else {name: list(identity) for name, identity in there.items()}
        self._taken, self._began = remembered, True
        self._save()

    def over(self, whole: bool) -> None:
        """The series that was given last is over: with all of it `whole` it is not given again, unless it changes."""
        name, self._at = self._at, ""
        if not name:
            return
        try:
            entry = (self._folder / name).stat()
        except OSError:
            return
        young = (self._folder / name).is_file() and 0 <= time.time() - entry.st_mtime < YOUNG_S
        if whole and not young:
            self._note(name)
        elif not whole:
            self._failed(name)

    def _open(self, name: str) -> Source:
        path = self._folder / name
        follows = _follows(path)
        if follows is None:
            self._note(name)
            raise SourceError(f"{path}: nothing that is read; left alone")
        query = "&".join(filter(None, ["follow=1" if follows else "", self._query]))
        try:
            source = open_source(f"{path}?{query}" if query else path, planes=True)
        except (SourceError, OSError) as error:
            self._failed(name)
            raise SourceError(str(error)) from None
        self._at = name
        return source

    def _is_due(self, name: str, identity: Identity) -> bool:
        now = time.monotonic()
        if now < self._later.get(name, (0.0, 0.0))[0]:
            return False
        if _follows(self._folder / name) is not False:
            return True
        if self._still.get(name, (None, 0.0))[0] != identity:
            self._still[name] = identity, now
        return now - self._still[name][1] >= following.QUIET_S

    def _failed(self, name: str) -> None:
        """Try it again later, and at last no more."""
        self._tries[name] = self._tries.get(name, 0) + 1
        pause_s = min(2 * self._later.get(name, (0.0, AGAIN_S[0] / 2))[1], AGAIN_S[1])
        self._later[name] = time.monotonic() + pause_s, pause_s
        if self._tries[name] >= MAX_TRIES:
            log.warning("%s: given up after %d times", self._folder / name, MAX_TRIES)
            self._note(name)

    def _note(self, name: str) -> None:
        """Give it no more as it is."""
        self._tries.pop(name, None)
        self._later.pop(name, None)
        self._still.pop(name, None)
        if (identity := self._entries().get(name)) is not None:
            self._taken[name] = list(identity)
        self._save()

    def _save(self) -> None:
        save_json(self._memory, {"folder": str(self._folder), "taken": self._taken})

    def _entries(self) -> dict[str, Identity]:
        """What the pattern names, the oldest first; no links, nothing hidden. Raises SourceError."""
        try:
            with os.scandir(self._folder) as entries:
                found = [
                    (entry.name, entry.is_dir(), entry.stat(follow_symlinks=False))
                    for entry in entries
                    if not entry.name.startswith(".") and not entry.is_symlink()
                    if fnmatch.fnmatchcase(entry.name, self._pattern)
                ]
        except OSError as error:
            raise SourceError(f"{self._folder}: cannot be watched: {error.strerror}") from None
        if len(found) > MAX_ENTRIES:
            raise SourceError(
                f"{self._folder}: {len(found)} files and folders; {MAX_ENTRIES} is the most, move old ones elsewhere"
            )
        found.sort(key=lambda item: (item[2].st_mtime_ns, item[0]))
        return {
            name: (stat.st_ino, 0, 0) if is_dir else (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            for name, is_dir, stat in found
        }


def _follows(path: Path) -> bool | None:
    """Whether a file or a folder can be read while it grows; None where it cannot be read at all."""
    if path.is_dir():
        return True
    reader = file_reader(path)
    return None if reader is None else "follow" in reader.selections


def _before(uri: str, said: str) -> Literal["leave", "take"]:
    if said == "take":
        return "take"
    if said == "leave":
        return "leave"
    raise ConfigError(f"{uri}: before=leave or before=take, found {said[:40]!r}")


def _read(memory: Path) -> dict[str, list[int]] | None:
    try:
        found = json.loads(memory.read_text())["taken"]
        return {str(name): [int(n) for n in identity] for name, identity in found.items()}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        log.warning("%s: cannot be read (%s); what is in the folder now counts as there before", memory, error)
        return None
