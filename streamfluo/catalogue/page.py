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
from typing import Any
from urllib.parse import quote

from ..core.findings import counted, spelled
from ..report.html import Markup, document, element, escaped, joined, style_text
from ..report.summary import duration
from .columns import COLUMNS
from .database import CatalogueError, opened
from .details import details_of
from .find import Query, Row, Rows, found_in
from .measures import CAMERA, FRAMES

MARK = ".streamfluo-catalogue"  # in a folder that may be written anew
SESSIONS, PREVIEWS = "sessions", "previews"
PLAIN = ("frames", "lost", "duration_s")
HIDDEN = ("lost_share", "interval_s", "height_px", "width_px", "pixel_um", "nbytes", "doubts")
RESULTS = 3  # figures of a session in words
FIRST = (
    "cells", "emitters", "spots", "resolution_nm", "resolution_px", "spots_a_frame", "photons", "snr", "precision_px",
    "spikes", "gain_e_per_adu", "offset_adu", "read_noise_e", "motion_px", "valid_share",
)  # fmt: skip
STATES = ("finished", "running", "aborted", "interrupted", "failed", "unreadable", "gone")
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


def state_of(row: Row) -> str:
    """Return a session's state in a word: `gone` where it is not there any more."""
    word = "gone" if row.fields["gone"] else str(row.fields["state"])
    return word if word in STATES else "failed"


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
    options += [element("option", " ".join(_with_unit(name)).strip(), value=name) for name in (*HIDDEN, *measures)]
    return element("select", *options, id="sorting", aria_label="sort by")


def _table(found: Rows, pictured: set[int]) -> Markup:
    rest = [*HIDDEN, *found.names.measures]
    heads = [element("th", "", class_="picture"), _title("began", False), _title("session", False, "name")]
    heads += [_title("state", False), element("th", "results", scope="col"), *(_title(name, True) for name in PLAIN)]
    heads += [_title(name, True, extra="more") for name in rest]
    rows = (_row(row, pictured, rest) for row in found.rows)
    table = element("table", element("thead", element("tr", *heads)), element("tbody", joined(rows)), id="sessions")
    return element("div", table, element("p", "No session fits.", id="none", hidden="hidden"), class_="sheet")


def _title(name: str, number: bool, key: str = "", extra: str = "") -> Markup:
    said, unit = _with_unit(name)
    button = element("button", said, element("span", f" {unit}", class_="unit") if unit else "", type="button")
    words = " ".join(word for word in ("number" if number else "", extra) if word)
    return element("th", button, scope="col", class_=words or None, data_name=key or name,
                   title=COLUMNS[name][1] if name in COLUMNS else None)  # fmt: skip


_UNITS = {"e_per_adu": "e⁻/ADU", "px": "px", "um": "µm", "nm": "nm", "s": "s", "adu": "ADU", "e": "e⁻", "min": "/min"}


def _with_unit(name: str) -> tuple[str, str]:
    name = name.replace("snr", "SNR")
    for end, unit in _UNITS.items():
        if name.endswith(f"_{end}") and len(name) > len(end) + 1:
            return name.removesuffix(f"_{end}").removesuffix("_per").replace("_", " "), unit
    return name.replace("_", " "), ""


def _row(row: Row, pictured: set[int], rest: Sequence[str]) -> Markup:
    state, fields, here = state_of(row), row.fields, f"{SESSIONS}/{row.id}.html"
    began = str(fields["began"] or "")
    image = Markup(f'<img loading="lazy" alt="" src="{PREVIEWS}/{row.id}.png">') if row.id in pictured else ""
    name = element(
        "td", element("a", fields["name"] or "(no name)", href=here),
        element("small", element("bdi", fields["source"] or fields["reason"] or "")), class_="name",
    )  # fmt: skip
    cells = [
        element("td", element("a", image, href=here, tabindex="-1", aria_hidden="true"), class_="picture"),
        element("td", began[:10], element("small", began[11:16]), class_="began", data_value=began),
        name,
        element("td", element("span", state, class_=f"state {state}"), data_value=state),
        element("td", *_results(row), class_="results"),
        *(_cell(key, row.value(key)) for key in PLAIN),
        *(_cell(key, row.value(key), "more") for key in rest),
    ]
    words = " ".join([str(fields["path"]), str(fields["rig"] or ""), *row.words.values()])
    return element("tr", *cells, data_steps=fields["steps"] or "", data_rig=fields["rig"] or "", data_words=words)


def _results(row: Row) -> list[Markup]:
    """The main figures of a session in words, those of its last steps before those of the first."""
    found: dict[str, float] = {}
    for step in reversed(row.measures):
        if row.kinds[step] not in (CAMERA, FRAMES):
            found = {**found, **{name: v for name, v in row.measures[step].items() if name not in found}}
    found = {name: v for name, v in found.items() if not (name.endswith("_px") and f"{name[:-3]}_nm" in found)}
    ranked = sorted(found, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))[:RESULTS]
    said = ((_with_unit(name), spelled(found[name])) for name in ranked)
    return [element("span", element("b", value), f" {unit}" if unit else "", f" {name}", class_="result")
            for (name, unit), value in said]  # fmt: skip


def _cell(key: str, value: Any, extra: str = "") -> Markup:
    class_ = " ".join(word for word in ("number", extra, "lost" if key == "lost" and value else "") if word)
    if not isinstance(value, int | float):
        return element("td", "", class_=class_, data_label=_with_unit(key)[0])
    said = duration(1, float(value)) if key == "duration_s" else spelled(value)
    return element("td", said, class_=class_, data_value=repr(value), data_label=_with_unit(key)[0])
