"""Exports that are verified: written aside, read back against the session, renamed, noted in the session.

`exported.json` in a session says where its export is and what its files' checksum is. Beside the frames an export
holds `session/`, every other file of the session as it is, so that nothing is lost with the session.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from zlib_ng import zlib_ng

from ..core.errors import SessionError
from .export import export_session
from .files import save_json, sync_folder
from .nwb_metadata import NwbMetadata
from .read_back import Pause, compare, write_user
from .reader import Session, open_session
from .schema import FORMAT, read_json, sealed
from .writer import now

NOTE = "exported.json"
KEPT = "session"  # the folder of an export with everything of the session but raw frames
VERIFIABLE = ("ome-zarr", "tiff", "npy", "nwb")  # formats that hold every frame bit by bit
_LEFT_OUT = {NOTE, ".lock", "checkpoint.npz", "checkpoint.before.npz", "journal"}
_READ_BYTES = 1 << 20
SYNC_BYTES = 64 << 20


class Exported(msgspec.Struct, frozen=True):
    """exported.json: format, place and checksum of an export; of which state of the session; `why` it is not
    verified, empty if it is."""

    to: str
    place: str
    utc: str
    frames: int
    nbytes: int
    blake2b: str
    facts_crc32: int
    journal_nbytes: int
    why: str = ""


def export_verified(
    session: Session, to: str, place: Path, aside: Path, pause: Pause, metadata: NwbMetadata | None = None
) -> Exported:
    """Export a session that is over into the new folder `place`, by way of `aside` on the same disk, and note it.

    What a killed export left in `aside` is removed; one that was renamed and not noted is read back and noted. A
    session that is damaged is exported, and noted as not verified. Raises SessionError for an export that cannot be
    read back to the same bits, OSError.
    """
    pause(0)
    facts_crc32, journal_nbytes = _identity(session.path)  # before anything is read: who goes on with it changes that
    place = _own_place(session, place)
    if not place.exists():
        shutil.rmtree(aside, ignore_errors=True)
        aside.parent.mkdir(parents=True, exist_ok=True)
        progress = _syncing(aside, session.spec.frame_nbytes, pause)
        export_session(session, to, aside, progress, metadata=metadata)
        aside.mkdir(exist_ok=True)  # a session without frames
        write_user(session, aside, pause)
        _copy_rest(session.path, aside / KEPT)
        _settle(aside)
    written = place if place.exists() else aside
    why = f"damaged: {session.damaged[0]}" if session.damaged else ""
    frames = 0 if why else compare(session, to, written, pause)
    _compare_rest(session.path, written / KEPT)
    nbytes, checksum = checksum_of(written, pause)
    if written == aside:
        place.parent.mkdir(parents=True, exist_ok=True)
        os.rename(aside, place)
        sync_folder(place.parent)
    note = Exported(to, str(place.resolve()), now(), frames, nbytes, checksum, facts_crc32, journal_nbytes, why)
    save_json(session.path / NOTE, sealed(msgspec.to_builtins(note)))
    _drop_cached(session.path)  # memory for those who record
    _drop_cached(place)
    return note


def note_of(folder: Path) -> Exported | None:
    """Return what a session says of its export; None without one, with a damaged note, or where the session went on."""
    try:
        note = read_json(folder / NOTE, Exported, FORMAT)[1]
        return note if _identity(folder) == (note.facts_crc32, note.journal_nbytes) else None
    except (SessionError, OSError):
        return None


def differences(folder: Path, pause: Pause) -> str:
    """Read a session and its export back and return why the session may not be deleted, "" if it may."""
    note = note_of(folder)
    if note is None:
        return "not exported, or it went on since"
    if note.why:
        return f"its export is not verified: {note.why}"
    try:
        session = open_session(folder)
        if session.state == "running":
            return "it runs"
        for block in session.blocks():
            pause(block.nbytes)
        if session.damaged:
            return f"damaged: {session.damaged[0]}"
        _compare_rest(folder, Path(note.place) / KEPT)
        _drop_cached(Path(note.place))
        if checksum_of(Path(note.place), pause) != (note.nbytes, note.blake2b):
            return f"its export at {note.place} has changed since it was verified"
    except (SessionError, OSError) as error:
        return str(error)
    return ""


def checksum_of(folder: Path, pause: Pause) -> tuple[int, str]:
    """Return the bytes of all files in a folder and the checksum of their names and contents. Raises OSError."""
    total, digest = 0, hashlib.blake2b(digest_size=16)
    for path in _files(folder):
        digest.update(f"{path.relative_to(folder).as_posix()}\n{path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            while piece := file.read(_READ_BYTES):
                digest.update(piece)
                total += len(piece)
                pause(len(piece))
    return total, digest.hexdigest()


def _own_place(session: Session, place: Path) -> Path:
    """The place itself, or a numbered one beside it where another session's export is."""
    wanted, n = place, 1
    while place.exists() and not _is_of(session, place):
        n += 1
        place = wanted.with_name(f"{wanted.name}-{n}")
    return place


def _is_of(session: Session, place: Path) -> bool:
    with contextlib.suppress(OSError):
        return (place / KEPT / "session.json").read_bytes() == (session.path / "session.json").read_bytes()
    return False


def _identity(folder: Path) -> tuple[int, int]:
    """What of a session changes when it goes on."""
    journal = folder / "journal"
    nbytes = sum(path.stat().st_size for path in journal.glob("*.sfj")) if journal.is_dir() else 0
    return zlib_ng.crc32((folder / "session.json").read_bytes()), nbytes


def _rest_of(folder: Path) -> Iterator[Path]:
    """The files of a session beside its raw frames and what only a run that goes on needs."""
    for path in _files(folder):
        relative = path.relative_to(folder)
        if relative.parts[0] not in _LEFT_OUT and path.suffix != ".part":
            yield relative


def _copy_rest(folder: Path, copy: Path) -> None:
    for relative in _rest_of(folder):
        (copy / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / relative, copy / relative, follow_symlinks=False)


def _compare_rest(folder: Path, copy: Path) -> None:
    """Raises SessionError where a file of a session is not in its export as it is."""
    for relative in _rest_of(folder):
        if not (copy / relative).is_file() or (folder / relative).read_bytes() != (copy / relative).read_bytes():
            raise SessionError(f"{copy / relative}: is not what {folder / relative} is")


def _files(folder: Path) -> list[Path]:
    """The files in a folder, in the order of their names. Raises SessionError for a link."""
    found = sorted(folder.rglob("*"))
    for path in found:
        if path.is_symlink():
            raise SessionError(f"{path}: a link; neither a session nor an export of ours has one")
    return [path for path in found if path.is_file()]


def _syncing(aside: Path, frame_nbytes: int, pause: Pause) -> Callable[[int], None]:
    """Return what is told of each frame, and syncs the stack now and then: all of it at once would hold up whoever else
    syncs a file."""
    unsynced = 0

    def exported(frames: int) -> None:
        nonlocal unsynced
        unsynced += frame_nbytes
        if unsynced >= SYNC_BYTES:
            unsynced = 0
            for path in aside.glob("frames*"):
                if path.is_file():
                    _fsync(path)
        pause(frame_nbytes)

    return exported


def _fsync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _settle(folder: Path) -> None:
    """Wait until the disk has everything in a folder, and forget what memory has of it: it is read back from there."""
    for path in _files(folder):
        _fsync(path)
    for path in (folder, *(p for p in folder.rglob("*") if p.is_dir())):
        sync_folder(path)
    _drop_cached(folder)


def _drop_cached(folder: Path) -> None:
    """Forget what memory has of a folder's files, where the system can."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in _files(folder):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
