"""Names of sessions after a pattern, `{source}/{date}T{time}Z`: nothing that a sender says leads out of the folder."""

from __future__ import annotations

import re
import string
import time
from pathlib import Path

from ..core.errors import ConfigError, did_you_mean
from ..core.source import Series
from ..core.spec import Spec

FIELDS = ("source", "date", "time", "uid", "channel")
MAX_FIELD = 64  # characters
_PLAIN = re.compile(r"[\w+ -][\w.+ -]*|")


class SessionNames:
    """A pattern of folders with fields in braces, parts by /. Raises ConfigError for one that cannot tell series apart
    or leads elsewhere."""

    def __init__(self, pattern: str) -> None:
        try:
            self._parts = [[piece[:2] for piece in string.Formatter().parse(part)] for part in pattern.split("/")]
        except ValueError as error:
            raise ConfigError(f"name {pattern!r}: {error}") from None
        fields = [field for part in self._parts for _, field in part if field is not None]
        for part in self._parts:
            text = "".join(text if field is None else f"{text}x" for text, field in part)
            if not text or not _PLAIN.fullmatch(text):
                raise ConfigError(f"name {pattern!r}: each part between / is a plain file name")
        for field in fields:
            if field not in FIELDS and not field.startswith("user."):
                raise ConfigError(f"name {pattern!r}: no field {field!r}{did_you_mean(field, [*FIELDS, 'user.KEY'])}")
        if not {"time", "uid"} & set(fields):
            raise ConfigError(f"name {pattern!r}: every series would have one folder; put {{time}} or {{uid}} into it")

    @property
    def depth(self) -> int:
        """How many folders a session lies below the one that sessions are written into."""
        return len(self._parts)

    def new_folder(self, within: Path, source: str, spec: Spec, series: Series) -> Path:
        """Return a folder for a series' session that is not there yet; what nobody said is `unknown`."""
        began = time.gmtime(series.t0_ns / 1e9 if series.t0_ns else None)
        known = {f"user.{key}": value for key, value in series.user.items()} | {
            "source": source,
            "date": time.strftime("%Y-%m-%d", began),
            "time": time.strftime("%H%M%S", began),
            "uid": series.uid,
            "channel": spec.channel or "-".join(dict.fromkeys(plane.channel for plane in spec.planes)),
        }
        names = [
            "".join(text if field is None else text + _as_name(known.get(field)) for text, field in part)
            for part in self._parts
        ]
        wanted, n = within.joinpath(*names), 1
        path = wanted
        while path.exists():
            n += 1
            path = wanted.with_name(f"{wanted.name}-{n}")
        return path


def _as_name(said: object) -> str:
    """What somebody says as a part of a file's name."""
    return re.sub(r"[^\w.+-]+", "_", "" if said is None else str(said))[:MAX_FIELD].strip("._-") or "unknown"
