"""The config that is proposed, as TOML with its reasons in comments."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from .finding import Finding

WIDTH = 118


def config_text(steps: Sequence[Mapping[str, Any]], findings: Sequence[Finding], source: str) -> str:
    """Return a config of these steps, {kind: …, params: …}, below what was found of the source."""
    lines = [f"# Proposed by `streamfluo advise {one_line(source)}`.", "#"]
    lines += [line for finding in findings for line in comment(finding)]
    for step in steps:
        lines += ["", "[[step]]", f'kind = "{step["kind"]}"']
        if params := step.get("params"):
            lines.append(f"params = {{ {', '.join(f'{name} = {_spelled(v)}' for name, v in params.items())} }}")
        if planes := step.get("planes"):
            lines.append(f"planes = [{', '.join(_spelled(p) for p in planes)}]")
    return "\n".join(lines) + "\n"


def comment(finding: Finding) -> list[str]:
    """Return a finding as lines of comment."""
    text = f"{finding.name}: {'' if finding.known else 'undetermined: '}{one_line(finding.sentence)}"
    return [f"# {line}" for line in textwrap.wrap(text, WIDTH, subsequent_indent="    ", break_on_hyphens=False)]


def one_line(text: str) -> str:
    """Return text without what would end a comment."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _spelled(value: Any) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.4g}" if "e" not in f"{value:.4g}" else repr(value)
    return str(value)
