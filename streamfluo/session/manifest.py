"""The manifest: which files a session consists of, how long each is, and a checksum; written when its run ends.

`session.json` has the manifest's checksum and is sealed itself, so that it stands for every byte of the session. What
is large is summed while it is written, the rest is read once more: the journal's sum is the crc32 of its records'
crc32s, that of a chunk of frames its crc32 (29 GB a second), that of any other file its blake2b (0.9 GB a second).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import msgspec
from zlib_ng import zlib_ng

from ..core.errors import SessionError, WireError
from ..core.records import CRC_BYTES, Record, record_payload
from .files import save_json
from .record_file import Damage, mapped, scan_records
from .schema import Count, read_json, sealed

MANIFEST, NAMED_IN_FACTS = "manifest.json", "manifest_blake2b"
FACTS = ("session.json", "session.copy.json")  # say of themselves whether they are whole
LATER = ("exported.json",)  # written after the end of a run, and sealed
OURS = ("journal", "values", "snapshots", "frames", "inputs", "planes")  # folders in which nobody else writes
JOURNAL, RECORDS = "journal/", (".sfj", ".sfv")
_READ_BYTES = 16 << 20
Progress = Callable[[int], None]  # told how many bytes were read


class _File(msgspec.Struct, frozen=True):
    """A file as it was written; of a journal that was gone on with nothing but its records' own checksums is known."""

    nbytes: Count
    blake2b: str = ""
    crc32: int | None = None
    records_crc32: int | None = None


class _Manifest(msgspec.Struct, frozen=True):
    files: dict[str, _File]


class Checked(NamedTuple):
    """What a check of the files found: what is damaged, what nothing says how it was, how many files and bytes."""

    damaged: list[Damage]
    untold: list[str]
    files: int
    nbytes: int


def write_manifest(folder: Path, journal: Mapping[str, int | None], chunks: Mapping[Path, int]) -> str:
    """Write the manifest of a session whose files are closed, and return its blake2b.

    `journal` has the sum of each of its files by name, `chunks` that of each chunk of frames that was written just now;
    other files are read. Raises OSError.
    """
    files: dict[str, Mapping[str, Any]] = {}
    for path in files_of(folder):
        name, known = path.relative_to(folder).as_posix(), {"nbytes": path.stat().st_size}
        if name.startswith(JOURNAL) and path.name in journal:
            crc = journal[path.name]
            files[name] = known if crc is None else {**known, "records_crc32": crc}
        elif path in chunks:
            files[name] = {**known, "crc32": chunks[path]}
        else:
            files[name] = {**known, "blake2b": blake2b_of(path)}
    save_json(folder / MANIFEST, sealed({"files": files}))
    return blake2b_of(folder / MANIFEST)


def files_of(folder: Path) -> Iterator[Path]:
    """Yield the files that a manifest speaks of, in the order of their names; links are none."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        left_out = name in (*FACTS, *LATER, MANIFEST) or path.name == ".lock" or path.suffix == ".part"
        if path.is_file() and not path.is_symlink() and not left_out and not _is_judgement(path):
            yield path


def check_files(folder: Path, facts: Mapping[str, Any], progress: Progress = lambda nbytes: None) -> Checked:
    """Read every byte of a session and return what is not as it was written.

    Of a session without a manifest (of an earlier version, or whose run was killed) records and arrays have checksums
    of their own; what has none stands in `untold`.
    """
    found = Checked([], [], 0, 0)
    damaged = found.damaged
    for name in FACTS:
        if not (folder / name).exists() and (name == FACTS[0] or NAMED_IN_FACTS in facts):
            damaged.append(Damage(folder / name, 0, None, "the file is missing"))
        elif (folder / name).exists() and (why := _not_as_saved(folder / name)):
            damaged.append(Damage(folder / name, 0, None, why))
    listed = _listed(folder, facts, damaged)
    files, nbytes = len(FACTS), 0
    there = {path.relative_to(folder).as_posix(): path for path in files_of(folder)}
    for name in sorted(there.keys() | (listed or {}).keys()):
        path, expected = folder / name, None if listed is None else listed.get(name)
        if name not in there:
            damaged.append(Damage(path, 0, None, "a link" if path.is_symlink() else "the file is missing"))
            continue
        files, nbytes = files + 1, nbytes + path.stat().st_size
        if listed is not None and expected is None:
            if name.split("/")[0] in OURS:
                damaged.append(Damage(path, 0, None, "not written by this run: the manifest has no such file"))
            else:
                found.untold.append(name)
        elif (whys := _wrong(path, name, expected, progress)) is None:
            found.untold.append(name)
        else:
            damaged += whys
    for name in LATER:
        if (folder / name).exists() and (why := _not_as_saved(folder / name)):
            damaged.append(Damage(folder / name, 0, None, why))
    return found._replace(files=files, nbytes=nbytes)


def blake2b_of(path: Path, progress: Progress = lambda nbytes: None) -> str:
    """Return the blake2b of a file, 16 bytes in hexadecimal digits. Raises OSError."""
    digest = hashlib.blake2b(digest_size=16)
    for piece in _pieces(path, progress):
        digest.update(piece)
    return digest.hexdigest()


def _crc_of(path: Path, progress: Progress) -> int:
    crc = 0
    for piece in _pieces(path, progress):
        crc = zlib_ng.crc32(piece, crc)
    return crc


def _pieces(path: Path, progress: Progress) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            yield piece
            progress(len(piece))


def _is_within(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _is_judgement(path: Path) -> bool:
    """Whether a file says what a person decided about results afterwards, or a program for curating them noted."""
    return path.name.startswith("judged-") and path.suffix == ".json"


def _listed(folder: Path, facts: Mapping[str, Any], damaged: list[Damage]) -> dict[str, _File] | None:
    """What the manifest lists; None where the session has none, or it is not to be trusted."""
    named, path = facts.get(NAMED_IN_FACTS), folder / MANIFEST
    if named is None:
        return None
    try:
        if not path.exists():
            raise SessionError(f"{path}: the file is missing")
        listed = read_json(path, _Manifest)[1].files
        if blake2b_of(path) != named:
            raise SessionError(f"{path}: not the one that was written with this session.json (blake2b differs)")
        if strange := next((name for name in listed if not _is_within(name)), None):
            raise SessionError(f"{path}: names a file outside of its session: {strange[:80]!r}; do not trust it")
    except SessionError as error:
        damaged.append(Damage(path, 0, None, str(error).removeprefix(f"{path}: ")))
        return None
    return listed


def _wrong(path: Path, name: str, expected: _File | None, progress: Progress) -> list[Damage] | None:
    """What is wrong with a file; None where nothing says how it was."""
    of_records = path.suffix in RECORDS
    size = path.stat().st_size
    if expected is None and not of_records:
        return None
    found, crc = _in_records(path, progress) if of_records and (expected is None or not expected.blake2b) else ([], 0)
    if expected is None:
        return found
    if size != expected.nbytes:
        found = found or _in_records(path, progress)[0] if of_records else []
        return found or [Damage(path, 0, None, f"{size} bytes where {expected.nbytes} were written")]
    same = (
        blake2b_of(path, progress) == expected.blake2b if expected.blake2b
        else _crc_of(path, progress) == expected.crc32 if expected.crc32 is not None
        else expected.records_crc32 in (None, crc) and of_records
    )  # fmt: skip
    if same:
        return found
    found = found or (_in_records(path, progress)[0] if of_records else [])
    return found or [Damage(path, 0, None, "not what was written (checksum differs)")]


def _in_records(path: Path, progress: Progress) -> tuple[list[Damage], int]:
    """Where in a file of records one is damaged, by the records' own checksums, and the crc32 of these."""
    found, crc = list[Damage](), 0
    with mapped(path) as data:
        for record in scan_records(path, data):
            if not isinstance(record, Record):
                found.append(record)
                continue
            index, count = record.fields.get("index"), record.fields.get("count", 1)
            frames = (index, count) if type(index) is int and type(count) is int else None
            try:
                record_payload(data, record).release()
                if any(data[record.end + CRC_BYTES : record.stop]):
                    found.append(Damage(path, record.end + CRC_BYTES, frames, "not zeros between two records"))
            except WireError as error:
                found.append(Damage(path, record.start, frames, str(error)))
            crc = zlib_ng.crc32(data[record.end : record.end + CRC_BYTES], crc)
            progress(record.stop - record.start)
    return found, crc


def _not_as_saved(path: Path) -> str:
    """Why a JSON file of ours is not byte for byte as it was saved, "" if it is."""
    try:
        if os.path.islink(path):
            return "a link"
        held = path.read_bytes()
        value = json.loads(held)
        rest = {name: one for name, one in value.items() if name != "crc32"}
        if value.get("format", 2) == 1:
            return ""
        if sealed(rest) != value or json.dumps(value, indent=1).encode() != held:
            return "not as it was written (crc32 or its layout differs)"
    except (OSError, ValueError, RecursionError, AttributeError) as error:
        return f"cannot be read: {error}"
    return ""
