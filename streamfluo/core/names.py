"""Names that become names of files: step ids, planes, names of results, the parts that a recording lists."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from .errors import StreamfluoError

STEP_ID_RULE = "a letter, then letters, digits, - or _"
MAX_FILE_NAME_BYTES = 255  # what common file systems take
_STEP_ID = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


def is_step_id(name: object) -> bool:
    """Return whether a step may be called that, in a config and in a session alike."""
    return isinstance(name, str) and _STEP_ID.fullmatch(name) is not None


def as_file_name(name: str) -> str:
    """Return a name without what file systems may not take."""
    return "".join(c if c.isalnum() and c.isascii() else "-" for c in name)


def plane_file_names(planes: Sequence[str]) -> dict[str, str]:
    """Return for each plane a name that files may have, `green-0`, with its number in front where two are alike."""
    plain = {name: as_file_name(name) for name in planes}
    unique = len({name.casefold() for name in plain.values()}) == len(planes)
    return plain if unique else {name: f"{n}-{plain[name]}" for n, name in enumerate(planes)}


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
