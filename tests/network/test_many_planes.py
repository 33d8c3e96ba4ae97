"""What a program says of itself stays within the limits of a header, however many planes and steps it has."""

import numpy as np
import pytest

from streamfluo import Block, Plane, Source, Spec
from streamfluo.client import ask
from streamfluo.core import wire
from streamfluo.core.source import Series
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.network.facts import expanded, introduction, report

GIVES = [
    (f"value{n}", "per_frame", ("t",), "ADU", "what it means, in a sentence of some length " * 3) for n in range(8)
]
FACTS = ((512, 512), "<u2", 0.5, 0.033)


def hello_of(planes, user="x" * 30_000):
    names = [(c, z) for z in range(planes // 2) for c in ("red", "green")]
    steps, gives, frames = [], {}, {f"{c}/{z}/source": FACTS for c, z in names}
    for c, z in names:
        for n, kind in enumerate(("motion", "extract", "moments")):
            step = f"{c}/{z}/{kind}"
            steps.append((step, kind, f"{c}/{z}/{('source', 'motion', 'extract')[n]}"))
            gives[step], frames[step] = (GIVES, FACTS) if kind != "extract" or c == "green" else (GIVES[:3], FACTS)
    listed = [Plane(c, z, z * 5.0, colour="#00ff00").to_header() for c, z in names]
    series = {"series_uid": "a", "planes": listed, "user": {"note": user}}
    return {"program": "run", "series": series, "steps": steps, "gives": gives, "frames": frames, "endpoints": {}}


@pytest.mark.parametrize("planes", [2, 8, 30, 64])
def test_an_introduction_fits_and_says_all_of_each_step(planes):
    facts = hello_of(planes)
    hello = introduction(facts)
    assert wire.fits(hello)
    heard = wire.decode(wire.encode(hello))
    assert isinstance(heard, wire.Hello)
    found = expanded(heard)
    assert found.gives == {step: [tuple(g) for g in gives] for step, gives in facts["gives"].items()}
    assert found.frames == facts["frames"]
    assert [(p["channel"], p["z"]) for p in found.series["planes"]] == [
        (p["channel"], p["z"]) for p in facts["series"]["planes"]
    ]


def test_a_stream_of_one_plane_is_introduced_as_before():
    hello = introduction(
        {"steps": [("motion", "motion", "source")], "gives": {"motion": GIVES}, "frames": {"source": FACTS}}
    )
    assert list(hello.gives) == ["motion"]
    assert expanded(hello) == hello


@pytest.mark.parametrize("planes", ["no", [7, None], [{"z": "x"}], {}])
def test_planes_of_a_stranger_are_left_as_they_are(planes):
    hello = wire.Hello(series={"planes": planes}, gives={"motion": GIVES}, frames={"source": FACTS})
    assert "motion" in expanded(hello).gives


def test_a_status_of_very_many_steps_tells_the_slowest():
    steps = {f"green/{n}/extract": {"p50": 1.0, "p99": float(n), "max": 9.0} for n in range(192)}
    muted = {f"green/{n}/extract": "why " * 200 for n in range(192)}
    status = report({"counters": {"steps_ms": steps, "muted": muted}}, {"frames": 3})
    assert wire.fits(status)
    assert set(status.counters["steps_ms"]) == {f"green/{n}/extract" for n in range(168, 192)}
    few = report({"counters": {"steps_ms": {"a": {"p50": 1.0}}}}, {})
    assert few.counters == {"steps_ms": {"a": {"p50": 1.0}}}


class Many(Source):
    """Sixty-four planes of small frames."""

    seekable = False

    def __init__(self):
        planes = tuple(Plane(c, z, z * 5.0, colour="#00ff00") for z in range(32) for c in ("red", "green"))
        self.spec, self.series = Spec((8, 8), "uint16", 0.1, planes=planes), Series("many", "many")
        self._over = False

    def blocks(self, max_frames=32):
        index = 0
        while not self._over:
            for plane in self.spec.planes:
                yield Block(index, [index], np.full((1, 8, 8), index % 4000, np.uint16), plane.channel, plane.z)
            index += 1

    def interrupt(self):
        self._over = True

    def seek(self, index):
        raise AssertionError


def test_a_run_of_sixty_four_planes_answers(tmp_path):
    text = '[[step]]\nkind = "moments"\n[[step]]\nid = "finer"\nkind = "bin"\nparams = { bin_px = 2 }\n'
    config = parse_config(f'{text}[publish]\nuri = "tcp://127.0.0.1:0"\n', "c.toml")
    engine = Engine(Many(), config, tmp_path / "S")
    engine.start()
    try:
        hello = ask(engine.publisher.endpoint, wire.Hello(), 20)
        assert len(hello.steps) == len(hello.gives) == 128
        assert "green/31/source" in hello.frames
        assert hello.gives["green/31/moments"] == hello.gives["red/0/moments"]
        status = ask(engine.publisher.endpoint, wire.Status(), 20)
        assert len(status.counters["planes"]) == 64
    finally:
        engine.stop()
        assert engine.wait(60)
    assert engine.error is None
