"""Damage on disk: nothing wrong is read in silence, what is lost is the record that was hit, and the rest is there."""

import random
import shutil

import numpy as np
import pytest
from toys import FRAMES, LEVEL, SPEC, Movie, Toy, block, config, toys  # noqa: F401
from typer.testing import CliRunner

from streamfluo import Camera, Gives, Output, Table, open_session, open_source
from streamfluo.cli.cli import app
from streamfluo.core import registry
from streamfluo.core.source import Gap
from streamfluo.engine.engine import Engine
from streamfluo.session.export import export_session
from streamfluo.session.record_file import scan_records

SEEN = [*range(40), *range(43, 79)]
FOURS = [block(n, n + 4) for n in SEEN[::4]]
ITEMS = [*FOURS[:10], Gap(40, 3, "camera"), *FOURS[10:]]
CAMERA = Camera(offset_adu=np.arange(16.0).reshape(4, 4), gain_e_per_adu=0.5)


class Everything(Toy):
    """Values of every kind, and two snapshots."""

    gives = (
        Gives("mean", "per_frame", ("t",), "ADU", "mean"),
        Gives("ids", "by_id", ("id",), "", "who"),
        Gives("trace", "by_id", ("t", "id"), "ADU", "trace"),
        Gives("spots", "table", ("frame", "x_px"), "", "spots"),
        Gives("image", "snapshot", ("y", "x"), "ADU", "an image"),
        Gives("curve", "snapshot", ("bin",), "ADU", "a curve"),
    )

    def update(self, block, inputs={}):
        t = np.arange(block.index, block.stop)
        ids = np.arange(1 + block.index // 30)
        spots = Table({"frame": t.repeat(2), "x_px": np.arange(2 * len(t)) / 7})
        return Output(
            block.index,
            {"mean": t / 3, "ids": ids, "trace": t[:, None] + ids[None] / 8, "spots": spots},
        )

    def read(self, names=None, inputs={}):
        return {"image": np.arange(16.0).reshape(4, 4), "curve": np.arange(5) / 9}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, toys):  # noqa: F811
    registry.register("toy-everything")(Everything)
    source = Movie(ITEMS)
    source.spec = SPEC.with_(camera=CAMERA)
    folder = tmp_path_factory.mktemp("whole") / "S"
    tables = (LEVEL, "kind = 'toy-everything'\nid = 'everything'\nafter = 'source'")
    engine = Engine(source, config(*tables), folder, truth={"where": np.arange(6.0)})
    engine.start()
    assert engine.wait(20)
    return folder


def content(folder):
    """All that a session says, place → value: of each row of values and each frame on its own."""
    session = open_session(folder)
    found = {("frame", n): (t, pixels.tobytes()) for n, t, pixels in session.each_frame(0, 1 << 62)}
    for step in session.steps:
        values, index = session.values(step), session.index(step).tolist()
        for name, value in values.items():
            if isinstance(value, dict):
                rows = zip(*(value[c].tolist() for c in sorted(value)), strict=True)
                found |= {(step, name, row): True for row in rows}
            elif name == "ids":
                found |= {(step, name, who): True for who in value.tolist()}
            elif value.ndim == 2:
                ids = values["ids"].tolist()
                rows = zip(index, value.tolist(), strict=True)
                found |= {(step, name, n, who): x for n, row in rows for who, x in zip(ids, row, strict=True) if x}
            else:
                found |= {(step, name, n): x for n, x in zip(index, value.tolist(), strict=True)}
        found |= {(step, name): array.tobytes() for name, array in session.snapshot(step).items()}
    found |= {("gap", gap.first): gap for gap in session.gaps}
    found |= {("truth", name): array.tobytes() for name, array in session.truth.items()}
    found |= {("health", name): repr(value) for name, value in session.health.items()}
    found |= {("series", name): repr(value) for name, value in session.series.items()}
    camera = session.spec.camera
    found |= {("camera", n): np.asarray(v).tobytes() for n, v in (camera.items() if camera else ()) if v is not None}
    found |= {("state",): session.state, ("spec",): session.spec.with_(camera=None)}
    return found, session.damaged


def flipped(whole, folder, chance):
    """A copy of a session with one bit of one of its files turned; returns that file."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size)
    path = chance.choice(files)
    data = bytearray(path.read_bytes())
    at = chance.randrange(len(data))
    data[at] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    return path, at


@pytest.mark.parametrize("flips", [100, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_a_bit_that_turns_is_told_and_costs_the_record_it_hit(whole, tmp_path, flips):
    true, damaged = content(whole)
    assert not damaged
    chance = random.Random(flips)
    for _ in range(flips):
        path, at = flipped(whole, tmp_path / "S", chance)
        where = f"{path.relative_to(tmp_path / 'S')}, byte {at}"
        found, damaged = content(tmp_path / "S")
        wrong = {place for place, value in found.items() if true.get(place) != value}
        assert not wrong, where
        lost = true.keys() - found.keys()
        assert damaged or not lost, where
        assert len({place[1] for place in lost if place[0] == "frame"}) <= 1, where
        assert all(damage.file == path for damage in damaged), where


def test_a_step_whose_every_record_is_damaged_has_empty_arrays(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "S")
    path = tmp_path / "S" / "values" / "everything.sfv"
    data = bytearray(path.read_bytes())
    for record in scan_records(path, bytes(data)):
        data[record.payload] ^= 1
    path.write_bytes(data)
    session = open_session(tmp_path / "S")
    values = session.values("everything")
    assert {name: len(value) for name, value in values.items()} == {"mean": 0, "ids": 0, "trace": 0, "spots": 0}
    assert len(session.index("everything")) == 0
    first, *_ = session.damaged
    assert first.frames is not None
    assert first.frames[0] == 0


@pytest.fixture
def hurt(whole, tmp_path):
    """A session with a damaged frame, a damaged snapshot and a damaged line of events."""
    shutil.copytree(whole, tmp_path / "S")
    for name, at in (("journal/000000.sfj", FRAMES[9].tobytes()), ("snapshots/everything.npz", b"NUMPY")):
        path = tmp_path / "S" / name
        data = bytearray(path.read_bytes())
        data[data.index(at) + 12] ^= 1
        path.write_bytes(data)
    return tmp_path / "S"


def test_inspect_tells_the_damage_and_the_rest(hurt):
    done = CliRunner().invoke(app, ["inspect", str(hurt)])
    assert done.exit_code == 0, done.output
    assert "frame 9: damaged (crc differs)" in done.output
    assert "snapshots/everything.npz, byte 0: " in done.output


@pytest.mark.parametrize("to", ["npy", "tiff", "csv"])
def test_an_export_leaves_out_what_is_damaged_and_says_so(hurt, tmp_path, to):
    export_session(open_session(hurt), to, tmp_path / "out")
    told = (tmp_path / "out" / "damaged.csv").read_text()
    assert "000000.sfj" in told
    assert ",9,1,damaged (crc differs)" in told
    if to == "npy":
        assert np.array_equal(np.load(tmp_path / "out" / "frames.npy"), FRAMES[[n for n in SEEN if n != 9]])


def test_a_damaged_frame_is_a_gap_to_who_runs_the_session_again(hurt):
    with open_source(hurt) as source:
        items = list(source.blocks())
    assert [(i.first, i.count) for i in items if isinstance(i, Gap)] == [(9, 1), (40, 3)]
    frames = np.concatenate([i.pixels for i in items if not isinstance(i, Gap)])
    assert np.array_equal(frames, FRAMES[[n for n in SEEN if n != 9]])
