"""Sources: anything that gives frames, behind one small contract."""

from __future__ import annotations

import hashlib
import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self
from urllib.parse import parse_qsl

import numpy as np

from ..core.block import Block
from ..core.errors import SourceError
from ..core.spec import Spec

MAX_BLOCK_FRAMES = 32


@dataclass(frozen=True)
class Gap:
    """`count` frames from index `first` on that never came; `reason` is who lost them: camera or transport."""

    first: int
    count: int
    reason: str = "transport"


@dataclass(frozen=True)
class Series:
    """Who a stream of frames is: its uid, where it comes from, when it began, how long it is (None: unbounded)."""

    uid: str
    source: str
    t0_ns: int = 0
    frames: int | None = None
    user: Mapping[str, Any] = field(default_factory=dict)


class Source(ABC):
    """Frames in order, as blocks; a jump of `Block.index` is a gap.

    A context manager. `spec` and `series` are known once it is open. `truth` holds what a simulator knows, by name.
    `seekable`: any index can be served again. `path`: the file, where there is one to refer to.
    """

    spec: Spec
    series: Series
    seekable: bool = True
    path: Path | None = None
    refused: Mapping[str, int] = MappingProxyType({})  # messages dropped, by the rule they broke
    ended: str = "finished"  # how the series ended, once it has: finished, aborted or error

    @abstractmethod
    def blocks(self, max_frames: int = MAX_BLOCK_FRAMES) -> Iterator[Block | Gap]:
        """Yield the frames from the present position on, in blocks of at most `max_frames`, to the end."""

    @abstractmethod
    def seek(self, index: int) -> None:
        """Make `index` the next frame. Raises SourceError outside the series."""

    def resume(self, index: int, seq: int) -> None:
        """Go on after a break: `index` is the next frame, `seq` how many were emitted before it."""
        self.seek(index)

    def interrupt(self) -> None:  # noqa: B027 - only a source that waits can be interrupted
        """Make `blocks` end soon; callable from any thread."""

    @property
    def truth(self) -> Mapping[str, np.ndarray]:
        """What is known beforehand about the series, by name; empty for recordings."""
        return {}

    def acknowledge(self, index: int) -> None:  # noqa: B027 - a file does not mind
        """Everything before frame `index` is safe with us; the source may forget it."""

    def keep_alive(self) -> None:  # noqa: B027 - only the network has somebody who waits
        """We are still here, though no frame is taken for now; called by the thread that takes frames."""

    def finished(self) -> None:  # noqa: B027 - only the network has somebody to tell
        """Everything up to the end of the series is safe with us."""

    def close(self) -> None:  # noqa: B027
        """Give files and sockets back."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_SCHEMES = {
    "sim": ("simulate.source", "SimulatedSource"),
    "mm": ("camera", "CameraSource"),
    "tcp": ("network.consumer", "NetworkSource"),
    "ipc": ("network.consumer", "NetworkSource"),
    "ingest+tcp": ("network.ingest", "IngestSource"),
    "ingest+ipc": ("network.ingest", "IngestSource"),
}
_COMMON = ("frames", "channel", "z", "roi")
# suffix → module, class, what its query may say
_SUFFIXES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    **dict.fromkeys((".tif", ".tiff", ".btf"), ("tiff", "TiffSource", (*_COMMON, "follow"))),
    ".npy": ("arrays", "NpySource", _COMMON),
    **dict.fromkeys((".raw", ".bin", ".dat"), ("arrays", "RawSource", ("frames", "roi", "dtype", "shape", "offset"))),
    **dict.fromkeys((".h5", ".hdf5", ".nwb"), ("hdf5", "Hdf5Source", (*_COMMON, "dataset"))),
    ".zarr": ("zarr_store", "ZarrSource", (*_COMMON, "dataset")),
    ".mat": ("matlab", "MatlabSource", (*_COMMON, "dataset")),
    ".avi": ("video", "VideoSource", ("frames", "roi")),
}
# a folder is what one of these in it says
_FOLDERS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "session.json": ("session_files", "SessionSource", ("frames", "roi")),
    **dict.fromkeys(("zarr.json", ".zgroup", ".zarray"), _SUFFIXES[".zarr"]),
    "NDTiff.index": ("ndtiff", "NDTiffSource", _COMMON),
    "*.tif": ("tiff_folder", "TiffFolderSource", _COMMON),
    "*.tiff": ("tiff_folder", "TiffFolderSource", _COMMON),
}


def open_source(uri: str | Path) -> Source:
    """Open frames by URI: `recording.tif`, `recording.tif?frames=100:200`, `sim:calcium?seed=3`, `tcp://host:port`.

    Use it as a context manager. Raises SourceError that names what is wrong with the file, stream or selection.
    """
    text = str(uri)
    scheme = text.split(":", 1)[0]
    if scheme in _SCHEMES and ":" in text:
        return _open(_SCHEMES[scheme], text)
    location, _, query = text.partition("?")
    path = Path(location).expanduser()
    if not path.exists() and (not path.suffix or path.suffix.lower() in _SUFFIXES):
        what = "file" if path.parent.is_dir() else "file, nor its folder"
        raise SourceError(f"{path}: no such {what}; check the name")
    if path.is_dir():
        home = next((home for sign, home in _FOLDERS.items() if any(path.glob(sign))), None)
        home = _SUFFIXES[".zarr"] if home is None and path.suffix == ".zarr" else home
        if home is None:
            raise SourceError(f"{path}: a folder without session, Zarr or TIFF files; name the file to read")
    else:
        home = _SUFFIXES.get(path.suffix.lower())
        if home is None:
            known = ", ".join([*sorted(_SUFFIXES), *(f"{s}:" for s in sorted(_SCHEMES))])
            raise SourceError(f"{text}: no reader for {path.suffix or scheme!r}; there is {known}")
    selection = parse_selection(query, str(path), known=home[2])
    return _open(("tiff_follow", "FollowedTiffSource") if "follow" in selection else home[:2], path, selection)


def _open(home: tuple[str, str], *args: Any) -> Source:
    module = importlib.import_module(f"streamfluo.edges.{home[0]}")
    source: Source = getattr(module, home[1])(*args)
    return source


def parse_selection(query: str, where: str, known: tuple[str, ...]) -> dict[str, str]:
    """Return the `key=value` pairs of a URI's query. Raises SourceError for a key that is not `known`."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise SourceError(f"{where}: '?{query}' is not key=value&key=value") from None
    for key, _ in pairs:
        if key not in known:
            raise SourceError(f"{where}: no setting {key!r}; there is {', '.join(known)}")
    return dict(pairs)


def parse_frames(text: str | None, frames: int, where: str) -> range:
    """Return the frames that `a:b` selects of `frames`. Raises SourceError for an empty or outside selection."""
    if text is None:
        return range(frames)
    start, colon, stop = text.partition(":")
    try:
        selected = range(int(start or 0), int(stop or frames))
    except ValueError:
        colon = ""
    if not colon or not 0 <= selected.start < selected.stop <= frames:
        raise SourceError(f"{where}: frames={text} selects nothing; give start:stop within 0:{frames}")
    return selected


def content_uid(path: Path, selection: Mapping[str, str]) -> str:
    """Return the series uid of a file: a hash of its size, content and selection.

    Up to 64 MiB the whole content counts; of a larger file the first and last 8 MiB and 512 pieces of 64 KiB spread
    evenly between, so that a 100 GB recording opens in well under a second.
    """
    if path.is_dir():
        return _folder_uid(path, selection)
    size = path.stat().st_size
    digest = hashlib.blake2b(repr((size, sorted(selection.items()))).encode(), digest_size=16)
    end, piece = 8 << 20, 64 << 10
    with path.open("rb") as file:
        if size <= 64 << 20:
            digest.update(file.read())
        else:
            digest.update(file.read(end))
            for offset in np.linspace(end, size - end - piece, 512).astype(int):
                file.seek(int(offset))
                digest.update(file.read(piece))
            file.seek(size - end)
            digest.update(file.read(end))
    return digest.hexdigest()


def _folder_uid(path: Path, selection: Mapping[str, str]) -> str:
    """A hash of a folder's file names and sizes, and of the first 64 KiB of at most 64 files spread evenly."""
    files = sorted(p for p in path.rglob("*") if p.is_file())
    names = [(p.relative_to(path).as_posix(), p.stat().st_size) for p in files]
    digest = hashlib.blake2b(repr((names, sorted(selection.items()))).encode(), digest_size=16)
    for n in np.unique(np.linspace(0, len(files) - 1, 64).astype(int)):
        with files[n].open("rb") as file:
            digest.update(file.read(64 << 10))
    return digest.hexdigest()
