"""`streamfluo verify`: whether sessions are what was written, all of it, and come out again."""

from __future__ import annotations

import glob
import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from ..core.errors import SessionError
from ..verify.findings import CODES, Verdict
from ..verify.verifying import Wanted, sessions_in, verify_session
from .console import console, counted, one_line
from .progress import frame_progress

SHOWN = 10  # findings of a session that are printed


def verify(
    sessions: Annotated[
        list[str], typer.Argument(help="session folders, folders of some, patterns", show_default=False)
    ],
    full: Annotated[bool, typer.Option("--full", help="recompute every frame, not a sample")] = False,
    recompute: Annotated[
        bool, typer.Option("--recompute/--no-recompute", help="run frames through the chain again")
    ] = True,
    against: Annotated[
        list[Path] | None, typer.Option(help="a copy of the one session: a folder of an export, a file of it, a movie")
    ] = None,
    elsewhere: Annotated[
        bool, typer.Option("--elsewhere", help="read frames from s3://… or https://… where a session says they are")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON, an object a line")] = False,
) -> None:
    """Check sessions: every byte, every frame accounted for, results recomputed, copies equal."""
    paths = list(dict.fromkeys(found for text in sessions for found in _expanded(text)))
    if against and len(paths) > 1:
        raise SessionError(f"verify: --against compares copies of one session, found {len(paths)}")
    wanted, worst = Wanted(recompute, full, tuple(against or ()), elsewhere), list[Verdict]()
    with frame_progress() as bar:
        task = bar.add_task("sessions", total=len(paths), of=len(paths), note="")
        for path in paths:
            verdict = verify_session(path, wanted, lambda what, n: bar.update(task, note=what))
            bar.advance(task)
            worst.append(verdict)
            if as_json:
                print(json.dumps(_plain(verdict)))
            else:
                _say(verdict)
    codes = {verdict.code for verdict in worst}
    if code := next((code for code in CODES.values() if code in codes), 0):
        raise typer.Exit(code)


def _expanded(text: str) -> list[Path]:
    """The sessions that a folder, or a pattern, names; a folder in which there is none is an error where it is named,
    and passed over where a pattern fits others as well."""
    if not text:
        raise SessionError("verify: a name of no letters; name a session, or a folder of some")
    path = Path(text).expanduser()
    if path.exists():
        return sessions_in(path)
    fitting = [Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if Path(name).is_dir()]
    if not fitting:
        raise SessionError(f"verify: {text}: no such session, and a pattern that fits nothing")
    found = list[Path]()
    for folder in fitting:
        with suppress(SessionError):
            found += sessions_in(folder)
    if not found:
        raise SessionError(f"verify: {text}: fits {counted(len(fitting), 'folder')}, and no session is in them")
    return found


def _plain(verdict: Verdict) -> dict[str, Any]:
    return {
        "session": verdict.path, "verdict": verdict.word, "code": verdict.code, "checked": list(verdict.checked),
        "findings": [finding._asdict() for finding in verdict.findings], "nbytes": verdict.nbytes,
        "seconds": round(verdict.seconds, 3),
    }  # fmt: skip


def _say(verdict: Verdict) -> None:
    more = counted(len(verdict.findings), "finding") if verdict.findings else "; ".join(verdict.checked)
    console.print(one_line(f"{verdict.path}: {verdict.word}: {more}"), soft_wrap=True)
    for finding in verdict.findings[:SHOWN]:
        console.print(one_line(f"  {finding}"), soft_wrap=True)
    if len(verdict.findings) > SHOWN:
        console.print(f"  and {len(verdict.findings) - SHOWN} more; --json has all")
