"""A catalogue as a folder of HTML: a page to look through, and one for each session; nothing from the data is run.

Every word of a session is text there. The only script is ours, named by its hash; the pages load nothing but their own
small pictures and links lead to files alone.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from ..core.findings import counted, spelled
from ..report.html import Markup, document, element, escaped, joined, style_text
from .columns import COLUMNS
from .database import CatalogueError, opened
from .details import details_of
from .find import Query, Row, Rows, found_in
from .page_rows import STATES, rows_text, state_of, with_unit

MARK = ".streamfluo-catalogue"  # in a folder that may be written anew
SESSIONS, PREVIEWS = "sessions", "previews"
PLAIN = ("frames", "lost", "duration_s")
HIDDEN = ("lost_share", "interval_s", "height_px", "width_px", "pixel_um", "nbytes", "doubts")
_HERE = Path(__file__).parent


def policy(script: str = "") -> str:
    """Return what a page may do: show its own pictures and style and, where it has a script, run that one alone."""
    said = "img-src 'self'; style-src 'unsafe-inline'"
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        said += f"; script-src 'sha256-{digest}'"
    return said


def write_page(file: Path, out: Path) -> int:
    """Write a catalogue as pages into the folder `out`, whole or not at all; return how many sessions they show.

    A folder that was written so before is replaced. Raises CatalogueError for one that holds anything else, or cannot
    be written.
    """
    try:
        if out.exists() and not (out / MARK).is_file() and (not out.is_dir() or any(out.iterdir())):
            raise CatalogueError(f"{out}: exists and is no page of a catalogue; name another folder with --to")
        part, old = out.with_name(f"{out.name}.part"), out.with_name(f"{out.name}.old")
        for each in (part, old):
            shutil.rmtree(each, ignore_errors=True)  # of one that was killed
        try:
            count = _write(file, part, out)
            if out.exists():
                out.rename(old)
            part.rename(out)
        finally:
            if old.exists() and not out.exists():  # the new one could not be put there
                old.rename(out)
            shutil.rmtree(part, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise CatalogueError(f"{out}: the page cannot be written: {error.strerror or error}") from None
    return count


def _write(file: Path, part: Path, out: Path) -> int:
    style = style_text() + (_HERE / "page.css").read_text(encoding="utf-8")
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    with opened(file) as connection:
        found = found_in(connection, Query(gone=True))
        (part / SESSIONS).mkdir(parents=True)
        (part / PREVIEWS).mkdir()
        (part / MARK).touch()
        pictured = _write_previews(connection, part / PREVIEWS)
        for row in found.rows:
            config, details = connection.execute(
                "SELECT config, details FROM texts WHERE session = ?", (row.id,)
            ).fetchone() or ("", "{}")
            picture = f"../{PREVIEWS}/{row.id}.png" if row.id in pictured else ""
            body = details_of(row, config, details, picture, _links(row, out / SESSIONS))
            page = document(f"{row.fields['name']} · streamfluo catalogue", body, style, policy())
            (part / SESSIONS / f"{row.id}.html").write_text(page, encoding="utf-8")
        body = joined([_head(found, connection), _table(found, pictured)])
        page = document("streamfluo catalogue", body, style, policy(script), script)
        (part / "index.html").write_text(page, encoding="utf-8")
    return len(found.rows)


def _write_previews(connection: sqlite3.Connection, folder: Path) -> set[int]:
    found = set()
    for number, png in connection.execute("SELECT session, png FROM previews"):
        if isinstance(png, bytes) and png.startswith(b"\x89PNG\r\n\x1a\n"):
            (folder / f"{int(number)}.png").write_bytes(png)
            found.add(int(number))
    return found


def _links(row: Row, folder: Path) -> list[tuple[str, str]]:
    """Links from a session's page to its folder and report, as paths, so that they hold on another machine too."""
    path = Path(row.fields["path"])
    found = [("session folder", path)] if not row.fields["gone"] else []
    if path.name:
        report = path.with_name(f"{path.name}-report.html")
        found += [("report", report)] if os.path.isfile(report) else []
    return [(said, url) for said, to in found if (url := link(to, folder))]


def link(to: Path, folder: Path) -> str:
    """Return a path as a URL from a page in `folder`; each character that means something in a URL is spelled."""
    try:
        return quote(Path(os.path.relpath(to, folder.resolve())).as_posix(), safe="/")
    except ValueError:  # another drive
        return to.resolve().as_uri()
    except UnicodeError:
        return ""


def _head(found: Rows, connection: sqlite3.Connection) -> Markup:
    roots = [str(path) for (path,) in connection.execute("SELECT path FROM roots ORDER BY path")]
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    total = sum(row.fields["frames"] or 0 for row in found.rows)
    nbytes = sum(row.fields["nbytes"] or 0 for row in found.rows)
    kinds = sorted({kind for row in found.rows for kind in str(row.fields["steps"] or "").split()})
    rigs = sorted({str(row.fields["rig"]) for row in found.rows if row.fields["rig"]})
    states = [state for state in STATES if any(state_of(row) == state for row in found.rows)]
    said = f"{counted(total, 'frame')}, {spelled(nbytes / 1e9)} GB, looked at {made}"
    return element(
        "header",
        element("div", element("h1", "Catalogue"), element("p", f"{counted(len(found.rows), 'session')} · {said}"),
                element("p", ", ".join(roots[:4]), class_="note"), element("output", "", id="count"), class_="title"),
        element("div",
                _void("input", id="words", type="search", placeholder="words, or cells>50 lost=0",
                      aria_label="search", autocomplete="off", spellcheck="false"),
                _choice("state", states), _choice("step", kinds), _choice("rig", rigs), _sorting(found.names.measures),
                element("label", "from ", _void("input", id="since", type="date")),
                element("label", "to ", _void("input", id="until", type="date")),
                element("button", "gallery", id="gallery", type="button"),
                
                class_="tools"),
    )  # fmt: skip


def _void(name: str, **attributes: str) -> Markup:
    said = "".join(f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"' for key, value in attributes.items())
    return Markup(f"<{name}{said}>")


def _choice(name: str, words: Sequence[str]) -> Markup:
    options = [element("option", f"any {name}", value="")]
    options += [element("option", word, value=word) for word in words]
    return element("select", *options, id=name, aria_label=name)


def _sorting(measures: Sequence[str]) -> Markup:
    options = [element("option", "sort by …", value="")]
    options += [element("option", " ".join(with_unit(name)).strip(), value=name) for name in (*HIDDEN, *measures)]
    return element("select", *options, id="sorting", aria_label="sort by")


def _table(found: Rows, pictured: set[int]) -> Markup:
    rest = [*HIDDEN, *found.names.measures]
    heads = [element("th", "", class_="picture"), _title("began", False), _title("session", False, "name")]
    heads += [_title("state", False), element("th", "results", scope="col"), *(_title(name, True) for name in PLAIN)]
    heads += [_title(name, True, extra="more") for name in rest]
    table = element("table", element("thead", element("tr", *heads)), element("tbody"), id="sessions")
    more = element("button", "more", id="more", type="button", hidden="hidden")
    none = element("p", "No session fits.", id="none", hidden="hidden")
    without = element("noscript", "The sessions are shown by the script of this page, which may not run here.")
    rows = rows_text(found.rows, pictured, [*PLAIN, *rest])
    return element("div", table, more, none, without, element("pre", rows, id="rows", hidden="hidden"), class_="sheet")


def _title(name: str, number: bool, key: str = "", extra: str = "") -> Markup:
    said, unit = with_unit(name)
    button = element("button", said, element("span", f" {unit}", class_="unit") if unit else "", type="button")
    words = " ".join(word for word in ("number" if number else "", extra) if word)
    return element("th", button, scope="col", class_=words or None, data_name=key or name,
                   title=COLUMNS[name][1] if name in COLUMNS else None)  # fmt: skip
