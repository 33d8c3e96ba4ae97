"""10⁵ frames over 8 parts: what merges equals the single run within 1e-12 of each array's scale."""

import numpy as np
import pytest
import tifffile
from merged_law import furthest

from streamfluo import Spec, Table, create, open_session
from streamfluo.core.block import Block
from streamfluo.core.operator import Gives
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.reprocess.one_recording import Task
from streamfluo.reprocess.recordings import recordings
from streamfluo.reprocess.reprocessing import Cluster, reprocess
from streamfluo.sources.opening import open_source

FRAMES, SIDE, PARTS, CHUNK = 100_000, 64, 8, 4000
CONFIG = """
[source]
interval_s = 0.01
[[step]]
kind = "moments"
[[step]]
kind = "sofi"
params = { order = 4 }
after = "source"
[[step]]
kind = "gain"
after = "source"
[[step]]
kind = "summary"
after = "source"
"""


def write_movie(path, frames=FRAMES):
    """Blinking spots that bleach slowly, under shot noise; written piece by piece."""
    rng = np.random.default_rng(41)
    y, x = np.mgrid[:SIDE, :SIDE]
    spots = sum(np.exp(-((y - a) ** 2 + (x - b) ** 2) / 4.5) for a, b in rng.uniform(4, SIDE - 4, (30, 2)))
    noise = rng.poisson(100, (CHUNK, SIDE, SIDE)).astype(np.float32)
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for n in range(frames // CHUNK):
            light = 60 * np.exp(-n / 40) * (rng.random((CHUNK, 1, 1)) < 0.3)
            movie = np.roll(noise, n * 7, axis=2) + (light * spots).astype(np.float32)
            for frame in movie.astype(np.uint16):
                writer.write(frame, contiguous=True)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_what_merges_equals_the_single_run_of_a_long_recording(tmp_path):
    pytest.importorskip("distributed")
    write_movie(tmp_path / "long.tif")
    wanted, on = recordings([str(tmp_path / "long.tif")]), Cluster("local", 2, PARTS)
    tasks = [Task(("long.toml", CONFIG, ()), one, str(tmp_path / "out")) for one in wanted]
    outcomes = list(reprocess(tasks, tmp_path / "out", on))
    assert [(o.became, o.frames, o.lost) for o in outcomes] == [("done", FRAMES, 0)]
    with open_source(tmp_path / "long.tif") as source:
        engine = Engine(source, parse_config(CONFIG), tmp_path / "single")
        engine.start()
        engine.wait()
    whole, single = open_session(tmp_path / "out" / "long"), open_session(tmp_path / "single")
    assert (whole.frames, whole.state, whole.facts["parts"]) == (single.frames, "finished", PARTS)
    print({kind.__name__: f"{apart:.1e}" for kind, apart in furthest(whole, single).items()})


def spots_of(frames):
    """A table of two localisations in each frame."""
    rng = np.random.default_rng(frames.start)
    n = 2 * len(frames)
    return Table(
        {
            "frame": np.repeat(np.arange(frames.start, frames.stop), 2), "y_px": rng.uniform(1, 15, n),
            "x_px": rng.uniform(1, 15, n), "y_error_px": np.full(n, 0.2), "x_error_px": np.full(n, 0.2),
            "sigma_px": np.full(n, 1.3), "flags": np.zeros(n, int),
        }
    )  # fmt: skip


def stimulus_and_cells(frames):
    rng = np.random.default_rng(frames.start + 1)
    label = np.arange(frames.start, frames.stop) // 50 % 4
    traces = rng.gamma(2.0, 1.0, (len(frames), 3)) + label[:, None] * np.array([0.5, 0.0, -0.2])
    return {"traces": traces, "traces.ids": np.array([4, 7, 9]), "label": label.astype(float)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "inputs"), [("render", lambda frames: {"spots": spots_of(frames)}), ("tuning", stimulus_and_cells)]
)
def test_histograms_and_tuning_of_a_long_recording_merge(kind, inputs):
    def fed(start, stop):
        operator = create(kind, Spec((16, 16), "uint16", interval_s=0.01))
        operator.meet({"traces": Gives("traces", "by_id", ("t", "id"), "", "")} if kind == "tuning" else {})
        for first in range(start, stop, 100):
            block = Block(first, np.arange(first, first + 100) * 10_000_000, np.zeros((100, 16, 16), np.uint16))
            operator.update(block, inputs(range(first, first + 100)))
        return operator

    serial, (first, *rest) = fed(0, FRAMES), [fed(n, n + FRAMES // PARTS) for n in range(0, FRAMES, FRAMES // PARTS)]
    for part in rest:
        first.merge(part)
    for name, expected in serial.read().items():
        scale = np.nanmax(np.abs(expected.astype(float)), initial=1e-300)
        np.testing.assert_allclose(first.read()[name], expected, rtol=0, atol=1e-12 * scale, err_msg=name)
