"""What reads bytes of strangers, as targets for a fuzzer: each takes any bytes and lets out nothing but our own errors.

`seeds` are whole inputs of our own writers to begin with; `run` reads one, in a folder of its own.
"""

import contextlib
import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import small_recordings as files
from fuzz_wire import PIXELS, ours, run_wire, some_values, wire_seeds
from toys import LEVEL, ONES, Movie, config

from streamfluo import Gives, open_session, open_source, register
from streamfluo.cli.console import console
from streamfluo.cli.inspect import inspect
from streamfluo.core import records, results, wire
from streamfluo.core.block import Block
from streamfluo.core.registry import operators
from streamfluo.core.source import Gap
from streamfluo.core.spec import Camera
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.session.checkpoint import Checkpoint
from streamfluo.session.export import export_session
from streamfluo.session.record_file import Damage, scan_records
from streamfluo.session.schema import sealed
from streamfluo.session.values import StepRecords, read_values, values_message


class Target(NamedTuple):
    """Whole inputs to begin with, and what reads one in a folder."""

    seeds: Callable[[Path], list[bytes]]
    run: Callable[[bytes, Path], None]


# Records: checksums are made to agree where the first byte is odd, so that what is behind them is reached.


GIVES = (
    Gives("level", "per_frame", ("t",), "", ""),
    Gives("ids", "by_id", ("K",), "", ""),
    Gives("traces", "by_id", ("t", "K"), "", ""),
    Gives("found", "table", (), "", ""),
)


def mended(data):
    """The same with the checksums, of header and all, of each record that is whole but for them."""
    data = bytearray(data)
    at = data.find(records.MAGIC_STEM)
    while at >= 0:
        new = data[at + 7 : at + 8] == b"2"
        prefix = records._PREFIX if new else records._PREFIX_1
        if at + prefix.size > len(data):
            break
        _, length, *_ = prefix.unpack_from(data, at)
        body = at + prefix.size
        header = bytes(data[body : body + length])
        crc = records.zlib_ng.crc32(header)
        if new:
            data[at + 12 : at + 16] = crc.to_bytes(4, "little")
        with ours:
            end = body + length + records._announced(header)[1]
            if end + 4 <= len(data):
                crc = records.zlib_ng.crc32(bytes(data[body + length : end]), crc)
                data[end : end + 4] = crc.to_bytes(4, "little")
        at = data.find(records.MAGIC_STEM, at + 1)
    return bytes(data)


def run_records(data, folder):
    data = mended(data[1:]) if data[:1] and data[0] % 2 else data[1:]
    with ours:
        records.decode_frame(data)
    for found in scan_records(Path("m.sfv"), data):
        str(found)
        if not isinstance(found, Damage):
            with ours:
                payload = records.record_payload(data, found)
                results.arrays_in(found.fields, payload)
    path = folder / "m.sfv"
    path.write_bytes(data)
    found = StepRecords(path, "movie")
    with contextlib.suppress(KeyError, ValueError, IndexError, TypeError):  # those that Session.values tells
        read_values(found, GIVES)


def record_seeds(folder):
    def record(message, arrays, version=2):
        return b"".join(bytes(part) for part in records.encode_record(wire.encode(message), arrays, version))

    image = wire.image_of("movie", Block(4, np.array([7]), PIXELS[None]), 0, 4)
    values = [record(*values_message("movie", some_values(n, 3))) for n in (0, 3, 6)]
    whole = [record(image, [PIXELS], 1), record(image, [PIXELS]) * 2, b"".join(values), values[0] + values[1][:90]]
    return [bytes([n]) + data for data in whole for n in (0, 1)]


# Sessions: the first byte says which file holds the rest, whether its checksums are made to agree, and who reads it.

SESSION_FILES = (
    "session.json", "events.jsonl", "health.json", "journal/000000.sfj", "values/level.sfv", "snapshots/level.npz",
    "checkpoint.npz", "truth.npz", "camera.npz", "values/moments.sfv", "config.toml",
)  # fmt: skip
MENDED, RESUMED, EXPORTED = 16, 32, 64
CHAIN = parse_config("", "run.toml")


@cache
def whole_session(folder):
    """A session of twenty frames and a gap, with every file that a session may have."""
    operators()
    from toys import TOYS

    for toy in TOYS:
        with ours:
            register(f"toy-{toy.__name__.lower()}")(toy)
    whole = folder / "whole"
    engine = Engine(recorded(), chain(), whole, truth={"positions_px": np.ones((2, 2))})
    engine.start()
    assert engine.wait(60)
    saved = {"moments": {"sum": np.ones(3), "frames": 3}, "level": {"sum": 1.0}}
    facts = json.loads((whole / "session.json").read_text())["steps"]
    steps = {step: {**{k: v for k, v in facts[step].items() if k != "gives"}, "state": saved[step]} for step in facts}
    Checkpoint("movie", 9, 9, steps, {"level": 64, "moments": 0}).save(whole / "checkpoint.npz")
    return whole


def chain():
    return config(LEVEL, 'kind = "moments"\nafter = "source"')


def recorded():
    movie = Movie([*ONES[:9], Gap(9, 2, "camera"), *ONES[11:20]])
    movie.spec = movie.spec.with_(camera=Camera(offset_adu=np.ones((4, 4)), gain_e_per_adu=2.0))
    return movie


def sealed_json(text):
    """JSON with the checksum that belongs to it, where it is a map."""
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(text)
        if isinstance(value, dict):
            value.pop("crc32", None)
            return json.dumps(sealed(value)).encode()
    return text


def run_session(data, folder):
    mode = data[0] if data else 0
    name, data = SESSION_FILES[mode % 16 % len(SESSION_FILES)], data[1:]
    whole, path = whole_session(folder), folder / "S"
    if not path.exists():
        shutil.copytree(whole, path)
    if mode & MENDED:
        if name.startswith(("journal", "values")):
            data = mended(data)
        elif name.endswith(("json", "jsonl")):
            lines = data.splitlines() if name.endswith("jsonl") else [data]
            data = b"\n".join(sealed_json(line) for line in lines) + b"\n"
    (path / name).write_bytes(data)
    if name == "session.json":
        (path / "session.copy.json").write_bytes(data)
    try:
        with ours:
            if mode & RESUMED:
                engine = Engine(recorded(), chain(), path, resume=True)
                engine.session.abandon()
            else:
                read_session(path, folder if mode & EXPORTED else None)
    finally:
        if mode & RESUMED:
            shutil.rmtree(path)
        else:
            shutil.copy(whole / name, path / name)
            shutil.copy(whole / "session.copy.json", path)


def read_session(path, exported=None):
    """Ask a session for everything it has."""
    session = open_session(path)
    for step in session.steps:
        for read in (session.values, session.index, session.snapshot):
            with ours:
                read(step)
    for ask in ("spec", "series", "state", "frames", "gaps", "lost", "events", "health", "truth", "damaged"):
        with ours:
            getattr(session, ask)
    with ours:
        session.read_frames(0, 5)
    with ours, open_source(path) as source:
        for block in source.blocks():
            assert isinstance(block, Gap) or block.pixels.nbytes < 1 << 20
    if exported:
        with ours, console.capture():
            inspect(path)
    for to in ("npy", "csv") if exported else ():
        with ours:
            export_session(session, to, exported / to)
        shutil.rmtree(exported / to, ignore_errors=True)


def session_seeds(folder):
    whole, seeds = whole_session(folder), []
    for n, name in enumerate(SESSION_FILES):
        data = (whole / name).read_bytes()
        seeds += [bytes([n + mode]) + data for mode in (0, MENDED, MENDED + EXPORTED, MENDED + RESUMED)]
    return seeds


# Recordings: whole files of their formats; of NDTiff the first byte says which file the rest is.


def reads(name):
    """A target that writes the bytes into a file of that kind and reads it."""

    def run(data, folder):
        path = folder / files.FILES[name][1]
        path.write_bytes(data)
        read_file(path)

    return run


def read_file(path):
    said = files.read(path)
    assert said is None or "\n" not in said


def run_ndtiff(data, folder):
    files.original("NDTiff, index", folder)
    name = ("NDTiff.index", "NDTiffStack.tif")[data[0] % 2 if data else 0]
    before = (folder / "m" / name).read_bytes()
    try:
        (folder / "m" / name).write_bytes(data[1:])
        read_file(folder / "m")
    finally:
        (folder / "m" / name).write_bytes(before)


def run_folder(data, folder):
    files.original("folder, OME", folder)
    before = (folder / "o" / "0.tif").read_bytes()
    try:
        (folder / "o" / "0.tif").write_bytes(data)
        read_file(folder / "o?channel=1")
    finally:
        (folder / "o" / "0.tif").write_bytes(before)


def file_seeds(*names):
    def seeds(folder):
        made = []
        for name in names:
            inside = folder / f"{name.lower().replace(', ', '-')}-seed"
            inside.mkdir(exist_ok=True)
            made.append(files.original.__wrapped__(name, inside))
        return made

    return seeds


def ndtiff_seeds(folder):
    index, images = file_seeds("NDTiff, index", "NDTiff, images")(folder)
    return [b"\0" + index, b"\1" + images]


TIFFS = [name for name in files.FILES if name.startswith(("TIFF", "BigTIFF", "ImageJ", "OME", "ScanImage"))]
TARGETS = {
    "wire": Target(wire_seeds, run_wire),
    "records": Target(record_seeds, run_records),
    "session": Target(session_seeds, run_session),
    "tiff": Target(file_seeds(*TIFFS), reads("TIFF")),
    "folder": Target(file_seeds("folder, OME"), run_folder),
    "avi": Target(file_seeds("AVI"), reads("AVI")),
    "ndtiff": Target(ndtiff_seeds, run_ndtiff),
    "hdf5": Target(file_seeds("HDF5", "HDF5, chunks", "HDF5, checksums", "NWB"), reads("HDF5")),
}  # fmt: skip
