"""Sessions whose JSON somebody made up: each is read, or answered with one line; never a raw exception."""

import contextlib
import json
import random
import shutil

import pytest
from toys import LEVEL, ONES, Movie, config, toys  # noqa: F401

from streamfluo import StreamfluoError, open_session, open_source
from streamfluo.cli.console import console
from streamfluo.cli.inspect import inspect
from streamfluo.core.source import Gap
from streamfluo.engine.engine import Engine
from streamfluo.session.schema import sealed

ODD = [
    *(None, True, -1, 0, 1, 2**31, 2**63, 10**40, 0.5, float("nan"), float("inf"), 1e308),
    *("", "x", "source", "uint16", "<u2", "../x", "\0", "\x1b[2J", "é" * 300, "table", "by_id", "per_frame"),
    *([], [1], [0, 0], [65536, 65536], [[]], {}, {"x": 1}, {"name": "level"}),
]


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


@pytest.mark.parametrize("count", [120, pytest.param(5000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_a_forged_session_is_read_or_refused_in_one_line(whole, tmp_path, count):
    folder = tmp_path / "S"
    shutil.copytree(whole, folder)
    facts = json.loads((whole / "session.json").read_text())
    lines = (whole / "events.jsonl").read_text().splitlines()
    facts.pop("crc32")
    chance = random.Random(count)
    for _ in range(count):
        made = forged(facts, chance)
        for name in ("session.json", "session.copy.json"):
            (folder / name).write_text(json.dumps(sealed(made)))
        events = [json.loads(line) for line in lines]
        at = chance.randrange(len(events))
        events[at] = forged({k: v for k, v in events[at].items() if k != "crc32"}, chance)
        (folder / "events.jsonl").write_text("".join(json.dumps(sealed(e)) + "\n" for e in events))
        try:
            with contextlib.suppress(StreamfluoError):
                read_all(folder)
        except Exception as error:
            raise AssertionError(f"{made}\n{events[at]}") from error


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
