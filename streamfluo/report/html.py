"""Elements of a page: whatever comes from a session is text in it, never markup."""

from __future__ import annotations

import base64
import html
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..core.findings import UNKNOWN, Figure, Number, Rows, superscript

NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'"
MAX_WORD = 4000  # characters of one text; a traceback has less


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def escaped(text: object) -> Markup:
    """Return text as markup; control characters and marks that turn the direction of writing are spelled out."""
    return text if isinstance(text, Markup) else Markup(html.escape(plain(text), quote=True))


def plain(text: object) -> str:
    """Return text that is not too long, its control characters and marks that turn the direction of writing spelled
    out."""
    said = str(text)
    said = said if len(said) <= MAX_WORD else f"{said[:MAX_WORD]} …"
    if not said.isprintable():
        said = "".join(c if c in "\n\t" or not _steers(c) else c.encode("unicode_escape").decode() for c in said)
    return said


def element(name: str, *inside: object, **attributes: object) -> Markup:
    """Return an element with what is inside it; `class_` is the attribute class, None leaves one out."""
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{said}>{joined(inside)}</{name}>")


def joined(parts: Iterable[object]) -> Markup:
    """Return parts one after the other."""
    return Markup("".join(escaped(part) for part in parts))


def document(title: str, body: Markup, style: str, policy: str, script: str = "") -> str:
    """Return a page with its style in it, that may do what `policy` (Content-Security-Policy) adds to nothing.

    A `script` is ours and the page's last words; the policy has to name its hash.
    """
    head = joined(
        [
            Markup('<meta charset="utf-8">'),
            Markup(f'<meta http-equiv="Content-Security-Policy" content="{NOTHING}; {policy}">'),
            Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Markup('<meta name="color-scheme" content="light dark">'),
            element("title", title),
            Markup(f"<style>{style}</style>"),
        ]
    )
    end = f"<script>{script}</script>" if script else ""
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>{body}{end}</body></html>\n'


def style_text() -> str:
    """Return how pages look, on screen and on paper."""
    return (Path(__file__).parent / "style.css").read_text(encoding="utf-8")


def section(title: str, *inside: object, id_: str | None = None) -> Markup:
    """Return a section with its heading."""
    return element("section", element("h2", title), *inside, id=id_)


def facts_table(rows: Sequence[tuple[object, object]], class_: str = "facts") -> Markup:
    """Return a table of names and what they are."""
    return element("table", *(element("tr", element("th", a, scope="row"), element("td", b)) for a, b in rows),
                   class_=class_)  # fmt: skip


def numbers_table(numbers: Sequence[Number]) -> Markup:
    """Return the main numbers of a step, with units and notes."""
    rows = (
        element(
            "tr",
            element("th", number.name, scope="row"),
            element("td", element("b", *_with_unit(number)), element("div", number.note, class_="note")),
        )
        for number in numbers
    )
    return element("table", *rows, class_="numbers")


def _with_unit(number: Number) -> tuple[object, ...]:
    if number.value == UNKNOWN:
        return ("not known",)
    return number.value, element("span", f" {superscript(number.unit)}", class_="unit") if number.unit else ""


def rows_table(table: Rows) -> Markup:
    """Return a table with a line of titles."""
    head = element("tr", *(element("th", title, scope="col") for title in table.columns))
    body = (element("tr", *(element("td", cell) for cell in row)) for row in table.rows)
    return element(
        "div",
        element("h4", table.title) if table.title else "",
        element("div", element("table", element("thead", head), element("tbody", *body)), class_="scroll"),
        element("p", table.caption, class_="caption") if table.caption else "",
        class_="rows",
    )


def figure_of(figure: Figure) -> Markup:
    """Return a figure with its caption; the picture is part of the page."""
    said = element("figcaption", element("b", figure.title), " ", figure.caption)
    if not figure.data:
        return element("figure", said, class_="nothing")
    data = f"data:{figure.media};base64,{base64.b64encode(figure.data).decode()}"
    alt = escaped(f"{figure.title}. {figure.caption}")
    image = Markup(f'<img alt="{alt}" src="{data}">')
    return element("figure", image, said, class_=figure.kind + (" wide" if figure.wide else ""))


def figures(shown: Sequence[Figure]) -> Markup:
    """Return figures side by side: two, or three where there are no more."""
    if not shown:
        return Markup("")
    narrow = sum(not figure.wide for figure in shown)
    return element("div", *map(figure_of, shown), class_="figures three" if narrow == 3 else "figures")


def bullets(sentences: Sequence[object], class_: str | None = None) -> Markup:
    """Return sentences as a list."""
    return element("ul", *(element("li", said) for said in sentences), class_=class_) if sentences else Markup("")


def _steers(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] == "C" or category in ("Zl", "Zp")
