"""A session's own page in a catalogue: what came, what steps measured, parameters, the config, how to open it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ..core.findings import counted, spelled
from ..report.html import Markup, bullets, element, facts_table, joined, section
from ..report.steps import in_a_sentence, short, spelled_params
from ..report.summary import duration, utc
from .entry import mapping
from .find import Row

Facts = list[tuple[object, object]]


def details_of(row: Row, config: str, details: str, picture: str, links: Sequence[tuple[str, str]]) -> Markup:
    """Return the body of a session's page; `picture` and `links` are URLs of ours."""
    facts = mapping(_loaded(details))
    fields = row.fields
    state = "gone" if fields["gone"] else str(fields["state"])
    image = Markup(f'<img class="large" alt="" src="{picture}">') if picture else ""
    head = element(
        "header",
        element("p", element("a", "Catalogue", href="../index.html"), class_="kind"),
        element("h1", fields["name"] or "(no name)", " ", element("span", state, class_=f"state {_word(state)}")),
        element("p", _in_short(fields)),
        element("p", *(element("a", said, href=url, class_="link") for said, url in links)),
    )
    warned = [str(said) for said in facts.get("warnings") or []] + ([fields["reason"]] if fields["reason"] else [])
    parts = [
        element("div", element("div", head), image, class_="top"),
        element("div", element("h2", "What limits these results"), bullets(warned), class_="warnings")
        if warned else "",
        section("Figures", element("div", *_figures(row), class_="measured")) if row.measures else "",
        section("The run", element("div", facts_table(_came(fields, facts)), facts_table(_ran(fields, facts)),
                                   class_="columns")),
        section("The sender said", facts_table([(k.removeprefix("user."), v) for k, v in row.words.items()]))
        if row.words else "",
        section("Chain and parameters", *_chain(facts)) if facts.get("steps") else "",
        section("Config as it ran", element("pre", config)) if config else "",
        section("Open it again", element("pre", _opening(str(fields["path"])))),
    ]  # fmt: skip
    return element("main", joined(parts))


def _in_short(fields: Mapping[str, Any]) -> str:
    if fields["frames"] is None:
        return "It cannot be read."
    said = counted(int(fields["frames"]), "frame") + (f", {spelled(fields['lost'])} lost" if fields["lost"] else "")
    lasted = duration(int(fields["frames"]), fields["interval_s"])
    return said + (f", {lasted}" if lasted else "") + f" · {utc(fields['began'])}"


def _figures(row: Row) -> list[Markup]:
    return [
        element(
            "div", element("h3", step, element("span", f" {row.kinds[step]}" if row.kinds[step] != step else "",
                                               class_="note")),
            facts_table([(name, spelled(value, 4)) for name, value in measures.items()], "facts"),
            class_="step",
        )
        for step, measures in row.measures.items()
    ]  # fmt: skip


def _came(fields: Mapping[str, Any], facts: Mapping[str, Any]) -> Facts:
    rows: Facts = [("source", fields["source"]), ("series uid", fields["uid"]), ("rig", fields["rig"])]
    rows += [("camera", fields["camera"])]
    if fields["width_px"]:
        rows.append(
            ("frames", f"{fields['width_px']} × {fields['height_px']} pixels (x × y), {facts.get('dtype', '')}")
        )
    if fields["interval_s"]:
        rows.append(("rate", f"{spelled(1 / fields['interval_s'])} frames/s"))
    if fields["pixel_um"]:
        rows.append(("pixel", f"{spelled(fields['pixel_um'])} µm"))
    if facts.get("planes"):
        rows.append(("planes", ", ".join(map(str, facts["planes"]))))
    rows += [("frames at", facts["reference"])] if facts.get("reference") else []
    rows += [("lost", f"{count} at frame {first}: {reason}") for first, count, reason in _gaps(facts)[:8]]
    return [(a, b) for a, b in rows if b]


def _ran(fields: Mapping[str, Any], facts: Mapping[str, Any]) -> Facts:
    versions = ", ".join(f"{name} {version}" for name, version in mapping(facts.get("versions")).items())
    before = mapping(facts.get("refined_from")).get("session")
    rows: Facts = [
        ("folder", fields["path"]), ("started", utc(facts.get("started"))), ("last written", utc(facts.get("written"))),
        ("machine", fields["host"]), ("streamfluo", fields["version"]), ("with", versions), ("refined from", before),
        ("size", f"{spelled(fields['nbytes'] / 1e6)} MB" if fields["nbytes"] else ""),
        ("sha256 of session.json", fields["sha256"]), ("sha256 of config.toml", fields["config_sha256"]),
        ("not there since", utc(fields["gone"]) if fields["gone"] else ""),
    ]  # fmt: skip
    return [(a, b) for a, b in rows if b]


def _chain(facts: Mapping[str, Any]) -> list[Markup]:
    rows: Facts = []
    for name, step in mapping(facts.get("steps")).items():
        step = mapping(step)
        kind = str(step.get("kind", ""))
        try:
            params = spelled_params(mapping(step.get("params")), kind)
        except Exception:  # of an operator's parameters that this version does not know
            params = [(str(key), short(value), False) for key, value in mapping(step.get("params")).items()]
        changed = ", ".join(f"{key} = {value}" for key, value, other in params if other)
        same = ", ".join(f"{key} = {value}" for key, value, other in params if not other)
        said = joined([element("b", changed), "; as by default: " if changed and same else "", same])
        head = element("div", element("b", name), f" {kind}, version {step.get('version')}, after {step.get('after')}")
        rows.append((head, joined([element("p", in_a_sentence(kind)), element("p", said, class_="note")])))
    return [facts_table(rows, "chain")]


def _opening(path: str) -> str:
    quoted = shlex.quote(path)
    return f"streamfluo inspect {quoted}\nstreamfluo view {quoted}\nstreamfluo report {quoted}"


def _gaps(facts: Mapping[str, Any]) -> list[Sequence[Any]]:
    found = facts.get("gaps")
    return [gap for gap in found if isinstance(gap, list) and len(gap) == 3] if isinstance(found, list) else []


def _word(state: str) -> str:
    return state if state.isalpha() else "failed"


def _loaded(details: str) -> Any:
    try:
        return json.loads(details)
    except (ValueError, RecursionError):
        return {}
