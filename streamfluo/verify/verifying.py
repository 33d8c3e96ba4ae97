"""One session verified: its files, its completeness, its results once more, its copies."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..core.errors import SessionError, StreamfluoError
from ..session.checkpoint import load_checkpoint
from ..session.exported import KEPT
from ..session.lock import is_held
from ..session.manifest import MANIFEST, check_files
from ..session.reader import Session, open_session
from ..session.record_file import Damage
from ..session.schema import read_facts
from ..session.writer import CHECKPOINT, CHECKPOINT_BEFORE
from .completeness import missing
from .copies import compared
from .findings import Finding, Verdict
from .recomputed import Extent, recomputed

MOST = 200  # findings of one kind in one session
Progress = Callable[[str, int], None]  # told what is done, and how far


class Wanted(NamedTuple):
    """What is checked beside files and completeness: results from frames, a sample or all; copies.

    elsewhere: whether frames are read from an address, as s3://…, that a session names.
    """

    recompute: bool = True
    full: bool = False
    against: Sequence[Path] = ()
    elsewhere: bool = False


def sessions_in(path: Path) -> list[Path]:
    """Return a session, or the sessions in a folder of some, those in folders of it too; a folder that may not be
    looked into is among them, to be said. Raises SessionError."""
    if path.is_file():
        raise SessionError(f"{path}: a file; name the folder of the session, or one that sessions are in")
    if not path.is_dir():
        raise SessionError(f"{path}: no such folder")
    found = sorted(_sessions_below(path))
    if not found:
        raise SessionError(f"{path}: no session, and none in it")
    return found


def _sessions_below(path: Path) -> Iterator[Path]:
    """Folders that are sessions; what lies within one, as in an export of it, is none."""
    closed = list[Path]()
    for name, folders, files in os.walk(path, onerror=lambda error: closed.append(Path(error.filename))):
        folder = Path(name)
        kept = folder.name == KEPT and (folder.parent / "frames.csv").exists()  # of an export, beside its frames
        facts = [folder / file for file in ("session.json", "session.copy.json") if file in files]
        if (folder == path or not kept) and any(folder == path or not file.is_symlink() for file in facts):
            folders.clear()
            yield folder
    yield from closed


def verify_session(path: Path, wanted: Wanted = Wanted(), progress: Progress = lambda what, n: None) -> Verdict:
    """Check a session and return what was found. Nothing in it is changed."""
    began = time.monotonic()
    findings: list[Finding] = []
    checked: list[str] = []
    nbytes = 0
    try:
        if is_held(path):
            findings.append(Finding("incomplete", "session.json", "its run goes on; verify it once that has ended"))
            return Verdict(str(path), findings, (), 0, time.monotonic() - began)
        files = check_files(path, _facts(path), lambda n: progress("files", n))
        nbytes = files.nbytes
        findings += [_damaged(path, damage) for damage in files.damaged]
        checked.append(f"{files.files} files, {nbytes / 1e6:.1f} MB")
        session = open_session(path)
        findings += _unreadable(session, findings)
        findings += _untold(path, session, files.untold)
        findings += missing(session)
        if session.state == "interrupted":  # what a kill tore off was never written
            findings = [f._replace(kind="incomplete") if "torn: " in f.what else f for f in findings]
        if any(finding.kind == "damaged" for finding in findings):
            if wanted.recompute:
                checked.append("not recomputed, as it is damaged")
        elif wanted.recompute:
            extent = Extent(wanted.full, wanted.elsewhere)
            again = recomputed(session, extent, lambda n: progress("frames again", n))
            findings += again.findings
            checked += again.checked
        for copy in wanted.against:
            found = compared(session, copy, lambda n: progress("copies", n))
            findings += found.findings
            checked += found.checked
    except (StreamfluoError, OSError) as error:
        kind = "damaged" if os.access(path / "session.json", os.R_OK) else "cannot tell"
        closed = error.strerror if isinstance(error, PermissionError) else None
        what = f"may not be looked into: {closed}" if closed else str(error).removeprefix(f"{path}/")
        findings.append(Finding(kind, "session", what))  # type: ignore[arg-type]
    return Verdict(str(path), _few(findings), checked, nbytes, time.monotonic() - began)


def _facts(path: Path) -> dict[str, object]:
    try:
        return read_facts(path / "session.json")[0]
    except SessionError:
        try:
            return read_facts(path / "session.copy.json")[0]
        except SessionError:
            return {}


def _unreadable(session: Session, before: Sequence[Finding]) -> Iterator[Finding]:
    """What a reader leaves out and no checksum of a file said: places that it would not take."""
    said = {finding.where.partition(",")[0] for finding in before}
    for damage in session.check():
        finding = _damaged(session.path, damage)
        if finding.where.partition(",")[0] not in said:
            yield finding
    for name in (CHECKPOINT, CHECKPOINT_BEFORE):
        path = session.path / name
        if not path.exists() or name in said:
            continue
        checkpoint = load_checkpoint(path)
        if checkpoint is None:
            yield Finding("damaged", name, "cannot be read")
        elif checkpoint.series_uid != session.series["uid"]:
            yield Finding("damaged", name, f"of another series, {checkpoint.series_uid[:64]!r}")
        elif checkpoint.steps.keys() != session.steps.keys():
            yield Finding("damaged", name, f"of other steps: {', '.join(checkpoint.steps)}")


def _untold(path: Path, session: Session, names: Sequence[str]) -> Iterator[Finding]:
    """Files of which nothing says how they were, and that a reader takes results from."""
    if (path / MANIFEST).exists():
        return
    bare = [name for name in names if "frames" in name.split("/") or name.endswith("zarr.json")]
    if bare and session.state != "interrupted":
        yield Finding("cannot tell", bare[0], f"{len(bare)} files without any checksum: no manifest of this session")


def _damaged(path: Path, damage: Damage) -> Finding:
    try:
        name = damage.file.relative_to(path).as_posix()
    except ValueError:
        name = str(damage.file)
    first, count = damage.frames or (0, 0)
    what = "" if not count else f"frame {first}: " if count == 1 else f"frames {first} to {first + count - 1}: "
    at = f", byte {damage.start}" if damage.start else ""
    return Finding("damaged", f"{name}{at}", f"{what}{damage.reason}")


def _few(findings: Sequence[Finding]) -> list[Finding]:
    """The findings in their order, of each kind so many at most, each once."""
    kept, count = dict[Finding, None](), dict[str, int]()
    for finding in findings:
        if finding not in kept and count.setdefault(finding.kind, 0) < MOST:
            count[finding.kind] += 1
            kept[finding] = None
    return list(kept)
