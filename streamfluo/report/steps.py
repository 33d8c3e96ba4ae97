"""A section for each step: what its operator says of its results, or what it declares."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..core.errors import ConfigError
from ..core.findings import Figure, Findings
from ..core.operator import Operator
from ..core.registry import operator_of
from .declared import declared_findings
from .html import Markup, bullets, element, figures, joined, numbers_table, rows_table
from .recorded import ReadStep

log = logging.getLogger(__name__)


def operator_or_none(kind: str) -> type[Operator] | None:
    """Return the operator of a kind; None where it belongs to a package that is not here."""
    try:
        return operator_of(kind)
    except (ConfigError, ImportError):
        return None


def in_a_sentence(kind: str) -> str:
    """Return what an operator does, as it says itself."""
    operator = operator_or_none(kind)
    first = inspect.cleandoc(operator.__doc__ or "").partition("\n\n")[0] if operator is not None else ""
    return " ".join(first.replace("`", "").split()) or "an operator of a package that is not installed here"


def findings_of(step: ReadStep) -> Findings:
    """Return what a step comes to; what cannot be made of it is a sentence, and the rest of the page goes on."""
    facts = step.session.steps[step.id]
    operator = operator_or_none(facts.kind)
    try:
        if operator is not None and (found := operator.report(step)) is not None:
            return found
    except Exception as error:  # a package's report, or a session that another version wrote
        log.warning("report: step %r: %s: %s", step.id, type(error).__name__, error)
        why = f"Its own report could not be made ({type(error).__name__}: {error}); this is what it declares."
        return _with(why, _declared(step, operator))
    return _declared(step, operator)


def _declared(step: ReadStep, operator: type[Operator] | None) -> Findings:
    try:
        presents = operator.presents if operator is not None else None
        return declared_findings(step, step.session.steps[step.id].gives, presents)
    except Exception as error:  # arrays of shapes and types that it did not declare
        log.warning("report: step %r: %s: %s", step.id, type(error).__name__, error)
        return Findings(sentences=[f"What it left cannot be shown: {error}"])


def _with(sentence: str, found: Findings) -> Findings:
    return Findings(found.headline, found.numbers, found.figures, found.tables, [sentence, *found.sentences])


def section_of(step: ReadStep, found: Findings, title: str) -> Markup:
    """Return a step's section."""
    what = in_a_sentence(step.kind)
    lead = _lead(found.figures) if found.numbers else []
    said = (numbers_table(found.numbers) if found.numbers else "", bullets(found.sentences))
    empty = not (found.numbers or found.figures or found.tables or found.sentences)
    return element(
        "section",
        element("h3", title, element("span", f" {found.headline}", class_="headline") if found.headline else ""),
        element("p", what, class_="caption"),
        element("div", figures(lead), element("div", *said), class_="lead") if lead else joined(said),
        figures([figure for figure in found.figures if figure not in lead]),
        joined(map(rows_table, found.tables)),
        element("p", "It left nothing to show.", class_="note") if empty else "",
        class_="step",
    )


def _lead(shown: Sequence[Figure]) -> Sequence[Figure]:
    """The figure that stands beside the numbers, so that the others make whole lines."""
    narrow = [figure for figure in shown if not figure.wide]
    charts = [figure for figure in narrow if figure.kind == "chart"]
    if len(narrow) == 1 or (len(narrow) % 2 and charts):
        return (charts or narrow)[:1]
    return []


def spelled_params(params: Mapping[str, Any], kind: str) -> Sequence[tuple[str, str, bool]]:
    """Return name, value and whether it is another than the default of each parameter."""
    operator = operator_or_none(kind)
    fields = msgspec.structs.fields(operator.Params) if operator is not None else ()
    defaults = {field.name: _default(field) for field in fields}
    return [
        (name, short(value), name not in defaults or _plain(defaults[name]) != _plain(value))
        for name, value in params.items()
    ]


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def short(value: Any) -> str:
    """Return a value in so many words as a cell of a table takes."""
    if value is None:
        return "not set"
    said = str(value) if not isinstance(value, list) or len(value) <= 8 else f"{value[:4]} … ({len(value)})"
    return said if len(said) <= 160 else f"{said[:150]} …"


def _plain(value: Any) -> Any:
    return list(map(_plain, value)) if isinstance(value, list | tuple) else value
