"""The page: one file with its style and pictures in it, without scripts, that asks for nothing from anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..core.findings import Figure, Findings, Rows, counted, spelled
from ..session.reader import Session
from . import summary
from .course import course_of, told_events, warnings_of
from .html import (
    Markup,
    bullets,
    document,
    element,
    facts_table,
    figure_of,
    figures,
    joined,
    rows_table,
    section,
    style_text,
)
from .recorded import Part, ReadStep, parts_of
from .steps import findings_of, in_a_sentence, section_of, spelled_params

MAX_PICTURES_BYTES = 3_500_000  # in base64 they are a third more
PLANES = 6  # of which each gets its sections; what all have is counted for every one
# The page loads nothing and runs nothing, whatever a session holds.
POLICY = "img-src data:; style-src 'unsafe-inline'"
Found = list[tuple[str, ReadStep, Findings]]
Progress = Callable[[str, int, int], None]


def page_of(session: Session, progress: Progress = lambda step, done, of: None) -> str:
    """Return the report of a session as HTML; `progress` hears which step is read, how many are done, of how many."""
    parts = parts_of(session, PLANES)
    room, found = _Room(), Found()
    steps = [(part.name, step) for part in parts for step in reversed(part.steps)]
    for done, (plane, step) in enumerate(steps):
        progress(step.id, done, len(steps))
        found.append((plane, step, room.kept(findings_of(step))))
    name = session.path.resolve().name
    pictured = any(figure.kind == "picture" and figure.data for _, _, f in found for figure in f.figures)
    body = joined(
        [
            _head(session, name, found),
            _warnings(session),
            _results(session, found),
            _frames(parts, pictured, room),
            _run(session, parts),
            _chain(session),
            section("Speed and health", *summary.health_tables(session)) if session.health else _no_health(session),
            _provenance(session),
        ]
    )
    return document(f"{name} · streamfluo report", element("main", body), style_text(), POLICY)


class _Room:
    """How much of a page pictures may still take: of many planes the last ones are left out."""

    def __init__(self) -> None:
        self._left = MAX_PICTURES_BYTES

    def kept(self, found: Findings) -> Findings:
        """Return findings whose figures have room."""
        figures = []
        for figure in found.figures:
            self._left -= len(figure.data)
            if self._left < 0 and figure.data:
                figure = replace(figure, data=b"", caption=f"Left out, as the page is large enough: {figure.caption}")
            figures.append(figure)
        return replace(found, figures=figures) if figures else found


def write_page(session: Session, out: Path, progress: Progress = lambda step, done, of: None) -> Path:
    """Write the report of a session as one HTML file, whole or not at all; return its path. Raises OSError.

    `progress` is that of `page_of`.
    """
    part = out.with_name(f"{out.name}.part")
    part.touch()  # before the work
    try:
        part.write_text(page_of(session, progress), encoding="utf-8")
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return out


def _head(session: Session, name: str, found: Found) -> Markup:
    word, sentence = summary.state_of(session)
    lost = f"{counted(session.lost, 'frame')} lost" if session.lost else "none lost"
    said = f"{counted(session.frames, 'frame')}, {lost}"
    if lasted := summary.duration(session.frames, session.spec.interval_s):
        said += f", {lasted}"
    cards = [("frames", spelled(session.frames), lost)]
    cards += [(_title(plane, step), f.headline, "") for plane, step, f in found if f.headline]
    return element(
        "header",
        element("p", "streamfluo report", class_="kind"),
        element("h1", name, " ", element("span", word, class_=f"state {word if word in summary.STATES else 'failed'}")),
        element("p", f"{said}; {sentence}. ", element("b", session.series["source"]), " ",
                summary.utc(session.facts.get("started"))),
        element("div", *(element("div", element("small", a), element("strong", b), element("small", c), class_="card")
                         for a, b, c in cards[:6]), class_="cards"),
    )  # fmt: skip


def _warnings(session: Session) -> Markup:
    found = list(warnings_of(session))
    if session.state == "interrupted":
        found.insert(0, "The run did not end by itself: snapshots and health were not written, values and frames "
                     "are whole up to the last that reached the disk.")  # fmt: skip
    if session.state == "running":
        found.insert(0, "The run goes on: this is what it had written when the page was made.")
    if not found:
        return element("p", "No frame was lost, no step failed or doubts its results.", class_="fine")
    return element("div", element("h2", "What limits these results"), bullets(found), class_="warnings")


def _title(plane: str, step: ReadStep) -> str:
    of = f"{plane}: " if plane else ""
    return f"{of}{step.id}" + (f" ({step.kind})" if step.kind != step.id else "")


def _results(session: Session, found: Found) -> Markup:
    if not found:
        return Markup("")
    more = len(session.planes) - PLANES
    said = f"{counted(more, 'more plane')} in the session." if more > 0 else ""
    return section(
        "Results",
        *(section_of(step, f, _title(plane, step)) for plane, step, f in found if f != Findings()),
        element("p", said, class_="note") if said else "",
    )


def _frames(parts: Sequence[Part], pictured: bool, room: _Room) -> Markup:
    shown: list[Figure] = []
    for part in parts:
        for figure in summary.frame_pictures(part.session, not pictured):
            title = f"{part.name}: {figure.title}" if part.name else figure.title
            shown.append(Figure(title, figure.caption, figure.data, figure.kind, figure.media, figure.wide))
    return section("Frames", figures(room.kept(Findings(figures=shown)).figures)) if shown else Markup("")


def _run(session: Session, parts: Sequence[Part]) -> Markup:
    charts = []
    for part in parts:
        if (chart := course_of(part)) is not None:
            charts.append(
                Figure(f"{chart.title} {part.name}".strip(), chart.caption, chart.data, "chart", chart.media, True)
            )
    events, rest = told_events(session)
    told = rows_table(Rows("Events", ("UTC", "frame", "what"), events, rest)) if events else ""
    left, right = facts_table(summary.frame_facts(session, parts)), facts_table(summary.source_facts(session))
    return section("The run", element("div", left, right, class_="columns"), joined(map(figure_of, charts)), told)


def _chain(session: Session) -> Markup:
    if not session.steps:
        return section("Chain", element("p", "No steps: the frames were recorded and nothing else."))
    rows: summary.Facts = []
    for name, facts in session.steps.items():
        changed = [f"{a} = {b}" for a, b, other in spelled_params(facts.params, facts.kind) if other]
        same = [f"{a} = {b}" for a, b, other in spelled_params(facts.params, facts.kind) if not other]
        params = joined([element("b", ", ".join(changed)), "; as by default: " if changed and same else "",
                         "" if changed or not same else "as by default: ", ", ".join(same)])  # fmt: skip
        takes = ", ".join(f"{need} from {value}" for need, value in facts.inputs.items())
        what = element("p", in_a_sentence(facts.kind), f" Takes {takes}." if takes else "")
        head = element("div", element("b", name), f" {facts.kind}, version {facts.version}, after {facts.after}")
        rows.append((head, joined([what, element("p", params, class_="note")])))
    return section("Chain and parameters", facts_table(rows, "chain"))


def _no_health(session: Session) -> Markup:
    why = "written when a run ends" if session.state == "running" else "the run did not live to write it"
    return section("Speed and health", element("p", f"Not there: {why}.", class_="note"))


def _provenance(session: Session) -> Markup:
    config = summary.config_text(session)
    return section(
        "Provenance",
        element("div", facts_table(summary.machine_facts(session)), class_="columns"),
        facts_table(summary.provenance(session)),
        element("h4", "Config as it ran"),
        element("pre", config) if config else element("p", "Not there.", class_="note"),
        element("h4", "Open it again"),
        summary.opening(session),
        element("p", "Pictures on this page are for looking: levels are stretched as their captions say, and they are "
                "compressed. Numbers are computed from the pixels and values in the session.", class_="note"),
    )  # fmt: skip
