"""`streamfluo advise`: what a recording is, and a config for it with its reasons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.errors import ConfigError, SessionError, SourceError
from ..engine.config import parse_config, with_overrides
from ..sources.opening import open_source, stays
from .console import console, one_line

if TYPE_CHECKING:
    from ..advise.advise import Advice


def advise(
    uri: Annotated[str, typer.Argument(metavar="FILE", help="a recording, or sim:…", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="write the config here as well")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="what the source does not state: source.interval_s=0.033")
    ] = None,
) -> None:
    """Look at a recording, and propose a config with its reasons."""
    found = look_at(uri, changes or [])
    if not found.config:
        for line in reasons(found):
            console.print(line, soft_wrap=True)
        raise SourceError(f"advise: {uri}: no config to propose, as the job cannot be told: {found.job.why}")
    console.print(found.config, soft_wrap=True, end="")
    if out is not None:
        try:
            out.write_text(found.config, encoding="utf-8")
        except OSError as error:
            raise SessionError(f"advise: {out} cannot be written: {error.strerror}") from None


def look_at(uri: str, changes: Sequence[str]) -> Advice:
    """Return the advice on a recording; of the changes those of `source` are what is known of it."""
    from ..advise.advise import advise as advice_on  # numba, which other commands need not wait for

    if not stays(uri):
        raise ConfigError(f"advise: {uri} is a stream that goes by; record some of it, and give that")
    known = parse_config("", "advise", [change for change in changes if change.startswith("source.")])
    with console.status(f"looking at {uri}"), open_source(uri, planes=True) as source:
        return advice_on(source, with_overrides(known, source.spec))


def reasons(found: Advice) -> list[str]:
    """Return what was found, a line each."""
    return [
        f"{finding.name}: {'' if finding.known else 'undetermined: '}{one_line(finding.sentence)}"
        for finding in found.findings
    ]
