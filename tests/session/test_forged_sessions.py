"""Sessions whose JSON somebody made up: each is read, or answered with one line; never a raw exception."""

import contextlib
import json
import random
import shutil
import tracemalloc
from pathlib import Path

import msgspec
import numpy as np
import pytest
from toys import LEVEL, ONES, Movie, config, toys  # noqa: F401

from streamfluo import Chain, SessionError, StreamfluoError, open_session, open_source
from streamfluo.cli.console import console
from streamfluo.cli.inspect import inspect
from streamfluo.core import wire
from streamfluo.core.errors import WireError
from streamfluo.core.records import encode_record
from streamfluo.core.source import Gap
from streamfluo.engine.engine import Engine
from streamfluo.session import record_file
from streamfluo.session.schema import sealed

ODD = [
    *(None, True, -1, 0, 1, 2**31, 2**63, 10**40, 0.5, float("nan"), float("inf"), 1e308),
    *("", "x", "source", "uint16", "<u2", "../x", "\0", "\x1b[2J", "é" * 300, "table", "by_id", "per_frame"),
    *([], [1], [0, 0], [65536, 65536], [[]], {}, {"x": 1}, {"name": "level"}),
]
ARRAYS = [np.empty(0), np.ones((4, 4), "i1"), np.full((4, 4), np.nan), np.array("x"), np.array(7), np.ones((4, 4, 4))]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, toys):  # noqa: F811
    folder = tmp_path_factory.mktemp("whole") / "S"
    items = [*ONES[:9], Gap(9, 2, "camera"), *ONES[11:20]]
    engine = Engine(Movie(items), config(LEVEL, 'kind = "moments"\nafter = "source"'), folder)
    engine.start()
    assert engine.wait(20)
    return folder


def forged(value, chance):
    """The same with one place of it replaced, removed, or of another name."""
    places = []

    def walk(node):
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], (dict, list)):
                walk(node[key])

    value = json.loads(json.dumps(value))
    walk(value)
    node, key = chance.choice(places)
    what = chance.random()
    if what < 0.7:
        node[key] = chance.choice(ODD)
    elif what < 0.9 or isinstance(node, list):
        del node[key]
    else:
        node[str(chance.choice(ODD))] = node.pop(key)
    return value


def read_all(folder):
    session = open_session(folder)
    for step in session.steps:
        for read in (session.values, session.index, session.snapshot):
            with contextlib.suppress(StreamfluoError):
                read(step)
    for ask in ("spec", "series", "state", "frames", "gaps", "lost", "events", "health", "truth", "damaged"):
        with contextlib.suppress(StreamfluoError):
            getattr(session, ask)
    with contextlib.suppress(StreamfluoError):
        session.read_frames(0, 5)
    with contextlib.suppress(StreamfluoError), open_source(folder) as source:
        list(source.blocks())
    with contextlib.suppress(StreamfluoError), console.capture():
        inspect(folder)


@pytest.mark.parametrize("count", [60, pytest.param(5000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_a_forged_session_is_read_or_refused_in_one_line(whole, tmp_path, count):
    folder = tmp_path / "S"
    shutil.copytree(whole, folder)
    facts = json.loads((whole / "session.json").read_text())
    lines = (whole / "events.jsonl").read_text().splitlines()
    facts.pop("crc32")
    chance, said = random.Random(count), []
    for _ in range(count):
        made = forged(facts, chance)
        for name in ("session.json", "session.copy.json"):
            (folder / name).write_text(json.dumps(sealed(made)))
        events = [json.loads(line) for line in lines]
        at = chance.randrange(len(events))
        events[at] = forged({k: v for k, v in events[at].items() if k != "crc32"}, chance)
        (folder / "events.jsonl").write_text("".join(json.dumps(sealed(e)) + "\n" for e in events))
        try:
            read_all(folder)
        except StreamfluoError as error:
            said.append(str(error))
        except Exception as error:
            raise AssertionError(f"{made}\n{events[at]}") from error
    assert [line for line in said if "\n" in line] == []


@pytest.mark.parametrize("count", [20, pytest.param(2000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_a_forged_checkpoint_is_gone_on_from_or_refused_in_one_line(whole, tmp_path, count):
    steps = config(LEVEL, 'kind = "moments"\nafter = "source"')
    chain = Chain(steps, Movie([]).spec)
    saved = json.loads(json.dumps(chain.state(), default=lambda array: None))
    arrays = {
        f"{step}/{name}": value
        for step, facts in chain.state().items()
        for name, value in facts["state"].items()
        if isinstance(value, np.ndarray)
    }
    for name in arrays:
        step, _, part = name.partition("/")
        del saved[step]["state"][part]
    facts = {"series_uid": "movie", "next_index": 5, "frames": 5, "steps": saved, "format": 1}
    facts["values_nbytes"] = dict.fromkeys(saved, 0)
    chance, resumed = random.Random(count), 0
    for n in range(count):
        folder = tmp_path / str(n)
        shutil.copytree(whole, folder)
        made = forged(facts, chance) if n else facts
        others = {k: v if chance.random() < 0.9 else chance.choice(ARRAYS) for k, v in arrays.items()} if n else arrays
        np.savez(folder / "checkpoint.npz", manifest=np.frombuffer(json.dumps(made).encode(), np.uint8), **others)
        try:
            with contextlib.suppress(StreamfluoError):
                engine = Engine(Movie([]), steps, folder, resume=True)
                resumed += engine._parts.position.next_index == 5
                engine.session.abandon()
        except Exception as error:
            raise AssertionError(f"{made}\n{others}") from error
        shutil.rmtree(folder)
    assert 0 < resumed < count


@pytest.mark.parametrize("text", ["[" * 100_000, "{" * 9, '{"a":' * 50_000, "null", "1e999", "", "\0", "\xff"])
@pytest.mark.parametrize("name", ["session.json", "events.jsonl", "health.json"])
def test_json_that_is_none_is_told(whole, tmp_path, name, text):
    shutil.copytree(whole, tmp_path / "S")
    (tmp_path / "S" / "session.copy.json").unlink()
    (tmp_path / "S" / name).write_text(text)
    with contextlib.suppress(StreamfluoError):
        read_all(tmp_path / "S")
        assert [damage.file.name for damage in open_session(tmp_path / "S").damaged] == [name] * (
            text != "" or name == "health.json"
        )


# Numbers and names that nobody has checksums against


def record_of(message, *arrays, version=2):
    return b"".join(bytes(part) for part in encode_record(wire.encode(message), arrays, version))


def forged_result(count=1, index=0, shape=(1,), text=None):
    array = np.zeros(shape) if text is None else np.frombuffer(text, np.uint8)
    header = wire.ArrayHeader("level", "<f8" if text is None else "utf-8", shape, array.nbytes)
    return record_of(wire.Result(series_uid="movie", step="level", index=index, count=count, arrays=(header,)), array)


@pytest.mark.parametrize(
    "facts",
    [{"count": 1 << 40}, {"count": -1}, {"index": 1 << 63}, {"index": -5}, {"text": b"x" * 30_000 + 29_999 * b"\0"}],
    ids=str,
)
def test_values_that_speak_of_more_than_a_file_can_hold_are_damaged(whole, tmp_path, facts):
    folder = shutil.copytree(whole, tmp_path / "S")
    facts = {**facts, "shape": (30_000,)} if "text" in facts else facts
    with (folder / "values" / "level.sfv").open("ab") as file:
        file.write(forged_result(**facts))
    session = open_session(folder)
    assert np.array_equal(session.values("level")["level"], open_session(whole).values("level")["level"])
    assert [damage.file.name for damage in session.damaged] == ["level.sfv"]


def resealed(path, **facts):
    """Write a file of a session with other facts and their checksum."""
    value = json.loads(path.read_text())
    value.pop("crc32")
    path.write_text(json.dumps(sealed({**value, **facts})))


@pytest.mark.parametrize("claimed", [1 << 25, 1 << 40, (1 << 62) - 1])
def test_frames_that_no_file_here_can_hold_are_refused_before_anything_is_allocated(whole, tmp_path, claimed):
    folder = shutil.copytree(whole, tmp_path / "S")
    shutil.rmtree(folder / "journal")
    assert open_session(folder).indices().tolist() == [*range(9), *range(11, 20)]
    resealed(folder / "health.json", next_index=claimed)
    tracemalloc.start()
    with pytest.raises(SessionError, match=rf"speaks of {claimed - 2:,} frames, more than its files can hold"):
        open_session(folder).indices()
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("count", [1 << 40, 1 << 62, -5])
def test_a_gap_of_any_length_leaves_the_frames_that_came_or_is_damaged(whole, tmp_path, count):
    folder = shutil.copytree(whole, tmp_path / "S")
    shutil.rmtree(folder / "journal")
    with (folder / "events.jsonl").open("a") as file:
        file.write(
            json.dumps(sealed({"event": "gap", "utc": "", "first": 20, "count": count, "reason": "camera"})) + "\n"
        )
    session = open_session(folder)
    assert session.indices().tolist() == [*range(9), *range(11, 20)]
    assert [damage.file.name for damage in session.damaged_so_far] == ["events.jsonl"] * (not 0 <= count < 1 << 62)
    with (folder / "events.jsonl").open("a") as file:
        for first in (30, 40, 50):
            gap = {"event": "gap", "utc": "", "first": first, "count": (1 << 62) - 1, "reason": "camera"}
            file.write(json.dumps(sealed(gap)) + "\n")
    with pytest.raises(SessionError, match=r"speaks of frames up to [0-9,]+, more than its files can hold"):
        open_session(folder).indices()


@pytest.mark.parametrize("index", [1 << 63, (1 << 64) - 1, -1, True])
def test_frames_of_an_index_that_no_camera_has_are_damaged(whole, tmp_path, index):
    folder = shutil.copytree(whole, tmp_path / "S")
    header = {"type": "image", "series_uid": "movie", "index": index, "nbytes": 0}
    with (folder / "journal" / "000000.sfj").open("ab") as file:
        file.write(b"".join(bytes(part) for part in encode_record(msgspec.msgpack.encode(header), [])))
    session = open_session(folder)
    assert [damage.reason for damage in session.damaged] == ["no frame"]
    assert session.frames == open_session(whole).frames


@pytest.mark.parametrize(
    ("name", "damages"), [("abc", 0), ("²", 0), ("-1", 0), ("000003", 1), ("999999999", 1), ("9" * 30, 0)]
)
def test_a_file_in_the_journal_of_any_name_is_no_hang_and_no_error(whole, tmp_path, name, damages):
    folder = shutil.copytree(whole, tmp_path / "S")
    (folder / "journal" / f"{name}.sfj").write_bytes(b"")
    session = open_session(folder)
    assert len(session.damaged) == damages
    assert session.frames == open_session(whole).frames


def test_a_file_made_of_headers_that_each_claim_the_rest_of_it_is_read_soon(monkeypatch):
    monkeypatch.setattr(record_file, "SEARCH_BYTES", 0)
    read = []
    monkeypatch.setattr(record_file, "record_payload", lambda data, record: read.append(len(data)) or damage())

    def damage():
        raise WireError("record", "damaged (crc differs)")

    data, size = b"", 64 * 2000
    for at in range(0, size, 64):
        header = msgspec.msgpack.encode({"type": "image", "nbytes": size - at - 64})
        data += (b"SFLUORC1" + len(header).to_bytes(4, "little") + header).ljust(64, b"\0")
    found = list(record_file.scan_records(Path("m.sfj"), data))
    assert len(found) == 1
    assert len(read) < 10
