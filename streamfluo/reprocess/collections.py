"""Collections of recordings: a folder of many, a list of them, a DANDI folder, an OME-Zarr store of several images."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import SourceError
from ..sources.nwb_series import image_series
from ..sources.opening import file_reader, reads_folder
from ..sources.selection import path_and_query

MAX_LIST_BYTES, MAX_IMAGES = 16 << 20, 100_000
DANDISET = "dandiset.yaml"
LEDGER = "reprocess"  # the folder of what became of each recording, beside the sessions
_URI = re.compile(r"[a-z][a-z0-9+]+:")  # a Windows drive has one letter


class Found(NamedTuple):
    """A recording of a collection: its URI, and what it is called there; "" where its own name says enough."""

    uri: str
    name: str = ""


def is_uri(text: str) -> bool:
    """Return whether a source is no path."""
    return _URI.match(text) is not None


def listed(path: Path) -> list[str]:
    """Return the sources in a list file, a line each, paths from the list's own folder on; # begins a remark.

    Raises SourceError for a file that cannot be read, and for a list in a list.
    """
    try:
        if path.stat().st_size > MAX_LIST_BYTES:
            raise SourceError(
                f"reprocess: @{path}: longer than {MAX_LIST_BYTES >> 20} MiB; is it a list of recordings?"
            )
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except OSError as error:
        raise SourceError(f"reprocess: @{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SourceError(f"reprocess: @{path}: not utf-8 text; is it a list of recordings?") from None
    found = [line for line in lines if line and not line.startswith("#")]
    if nested := next((line for line in found if line.startswith("@")), None):
        raise SourceError(f"reprocess: @{path}: {nested}: a list in a list is not read")
    if not found:
        raise SourceError(f"reprocess: @{path}: names no recording")
    return [line if is_uri(line) else str(path.parent / Path(line).expanduser()) for line in found]


def collected(path: Path, query: str) -> list[Found]:
    """Return the recordings in a file or folder that is there; itself, where it is one.

    An NWB of a DANDI folder gives each of its series of images, an OME-Zarr store each of its images; a folder that is
    no recording those in it and in folders of it, in the order of their names. Raises SourceError for a folder in
    which there is none.
    """
    selected = f"?{query}" if query else ""
    try:
        whole = f"{path.resolve()}{selected}"
    except (RuntimeError, OSError):
        raise SourceError(f"reprocess: {path}: a link that leads to itself; name what it should lead to") from None
    if path.is_file():
        return [Found(whole)]
    if images := _zarr_images(path):
        return [
            Found(f"{(path / inner).resolve()}{'?' if query else ''}{query}", f"{_stem(path)}_{_flat(inner)}")
            for inner in images
        ]
    if reads_folder(path) or path.suffix.lower() == ".zarr":
        return [Found(whole)]
    found = list(_dandi(path) if (path / DANDISET).is_file() else _within(path, path))
    if not found:
        what = "no NWB with images of one or two photons" if (path / DANDISET).is_file() else "no recording"
        raise SourceError(f"reprocess: {path}: {what} in it; name the recordings")
    if query:
        found = [one._replace(uri=f"{one.uri}{'&' if path_and_query(one.uri)[1] else '?'}{query}") for one in found]
    return found


def _within(folder: Path, root: Path) -> Iterator[Found]:
    """The recordings below a folder; what is hidden, links to folders, and what a reprocessing left, are left alone."""
    if (folder / LEDGER).is_dir() and folder != root:
        return
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if path.name.startswith(".") or (path.is_dir() and path.is_symlink()):
            continue
        name = _flat(path.relative_to(root).with_name(_stem(path)).as_posix())
        if path.is_dir():
            if images := _zarr_images(path):
                yield from (Found(str((path / inner).resolve()), f"{name}_{_flat(inner)}") for inner in images)
            elif reads_folder(path) or path.suffix.lower() == ".zarr":
                yield Found(str(path.resolve()), name)
            else:
                yield from _within(path, root)
        elif path.is_file() and file_reader(path) is not None:
            yield Found(str(path.resolve()), name)


def _dandi(folder: Path) -> Iterator[Found]:
    """Each series of images of one or two photons in the NWB files of a DANDI folder; the file names tell subject and
    session."""
    for path in sorted(folder.rglob("*.nwb")):
        if not path.is_file() or any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        stem = path.name.removesuffix(".nwb")
        if not stem.startswith("sub-"):  # else the folder says whose it is
            stem = _flat(path.relative_to(folder).as_posix().removesuffix(".nwb"))
        series = image_series(path)
        if series is None:  # it cannot be read: its outcome says why
            yield Found(str(path.resolve()), stem)
            continue
        for dataset in series:
            name = stem if len(series) == 1 else f"{stem}_{dataset.removesuffix('/data').rpartition('/')[2]}"
            yield Found(f"{path.resolve()}?dataset={dataset}", name)


def _zarr_images(store: Path) -> list[str]:
    """The images in an OME-Zarr store of several, as paths in it; none of a store that is one image, or no store."""
    if not _is_group(store) or (store / "session.json").exists():
        return []
    about = _attributes(store)
    if isinstance(plate := about.get("plate"), dict):
        wells = [str(well.get("path", "")) for well in plate.get("wells", []) if isinstance(well, dict)]
        fields = [f"{well}/{inner}" for well in wells if _inside(store, well) for inner in _fields(store / well)]
        return [inner for inner in fields if _inside(store, inner)][:MAX_IMAGES]
    if about.get("multiscales"):
        return []
    stated = _attributes(store / "OME").get("series") if about.get("bioformats2raw.layout") is not None else None
    if isinstance(stated, list):
        return [str(inner) for inner in stated if _inside(store, str(inner))][:MAX_IMAGES]
    inner = sorted(
        (p.name for p in store.iterdir() if p.is_dir()), key=lambda name: (not name.isdigit(), len(name), name)
    )
    return [name for name in inner if _is_group(store / name) and _attributes(store / name).get("multiscales")]


def _fields(well: Path) -> list[str]:
    images = _attributes(well).get("well", {})
    listed = images.get("images", []) if isinstance(images, dict) else []
    return [str(image["path"]) for image in listed if isinstance(image, dict) and "path" in image]


def _inside(store: Path, inner: str) -> bool:
    try:
        return bool(inner) and (store / inner).resolve().is_relative_to(store.resolve()) and _is_group(store / inner)
    except (OSError, ValueError, RuntimeError):
        return False


def _is_group(folder: Path) -> bool:
    return (folder / ".zgroup").is_file() or (folder / "zarr.json").is_file()


def _attributes(folder: Path) -> Mapping[str, Any]:
    """The attributes of a group of Zarr, those of OME where they stand apart; none that can be read are none."""
    for name in ("zarr.json", ".zattrs"):
        try:
            held = json.loads((folder / name).read_bytes()[:MAX_LIST_BYTES])
        except (OSError, ValueError, RecursionError):
            continue
        found = held.get("attributes", {}) if name == "zarr.json" and isinstance(held, dict) else held
        if isinstance(found, dict):
            ome = found.get("ome", found)
            return ome if isinstance(ome, dict) else {}
    return {}


def _stem(path: Path) -> str:
    return path.name.split(".")[0] or path.name


def _flat(inner: str) -> str:
    return inner.strip("/").replace("/", "_")
