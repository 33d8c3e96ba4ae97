"""Names that become names of files: step ids, names of results, the parts that a recording lists."""

from __future__ import annotations

import re
from pathlib import Path

from .errors import StreamfluoError

STEP_ID_RULE = "a letter, then letters, digits, - or _"
MAX_FILE_NAME_BYTES = 255  # what common file systems take
_STEP_ID = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


def is_step_id(name: object) -> bool:
    """Return whether a step may be called that, in a config and in a session alike."""
    return isinstance(name, str) and _STEP_ID.fullmatch(name) is not None


def file_in(folder: Path, name: str, raises: type[StreamfluoError]) -> Path:
    """Return the file `name` of `folder`; raises `raises` for a name that leads elsewhere, also by a link."""
    path = folder / name
    try:
        one = Path(name).name == name and len(name.encode()) <= MAX_FILE_NAME_BYTES
        inside = one and path.resolve().parent == folder.resolve()
        inside = inside and (path.is_file() or not path.exists())  # a pipe would be waited for
    except (ValueError, OSError, RuntimeError):  # a zero in it, a name that is too long, links in a circle
        inside = False
    if not inside:
        raise raises(f"{folder}: {name[:80]!r} is no file in this folder; do not trust what names it")
    return path
