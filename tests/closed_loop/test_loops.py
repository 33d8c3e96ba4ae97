"""Whole loops: a run that ends itself, a laser that holds the density of spots."""

import threading
import time

import numpy as np
import pytest
from toys import Movie

from streamfluo import Block, Spec, open_session
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.engine.shipped import shipped_config

SHAPE = (64, 64)


class Blinking(Movie):
    """Blinking pixels, as fast as they are taken, until somebody stops it."""

    def __init__(self):
        super().__init__([])
        self.spec = Spec((16, 16), "uint16", interval_s=0.01)

    def blocks(self, max_frames=32):
        rng = np.random.default_rng(2)
        for n in range(0, 200_000, 16):
            if self.stopped:
                return
            time.sleep(0.002)  # a camera of 8000 frames a second
            pixels = rng.poisson(100 + 400 * (rng.random((16, 16, 16)) < 0.3)).astype(np.uint16)
            yield Block(n, (n + np.arange(16)) * 10_000_000, pixels)

    def interrupt(self):
        self.stopped = True


def test_a_run_stops_when_the_picture_has_converged(tmp_path):
    name = "stop_when_converged.toml"
    config = parse_config(shipped_config(name).read_text(encoding="utf-8"), name, ("converged.level=0.05",))
    engine = Engine(Blinking(), config, tmp_path / "S")
    engine.start()
    assert engine.wait(100)
    assert engine.error is None
    session = open_session(tmp_path / "S")
    fired = np.flatnonzero(session.values("converged")["fired"])
    assert len(fired) == 1
    assert session.actions[0]["became"] == "done"
    assert fired[0] < session.frames < 150_000
    assert session.snapshot("sofi")["change"][0] < 0.06


class Laser:
    """Activates spots, ever fewer of them at the same power; the power is what the loop sets."""

    def __init__(self):
        self.power, self.lock = 1.0, threading.Lock()

    def step(self, by):
        with self.lock:
            self.power *= by


laser = Laser()


def more(decision):
    laser.step(1.1)


def less(decision):
    laser.step(0.9)


class Activated(Movie):
    """Spots in real time, Poisson about 40 · power · what the sample has left; it fades to a third."""

    def __init__(self, frames):
        super().__init__([])
        self.spec = Spec(SHAPE, "uint16", interval_s=0.01)
        self.frames = frames

    def blocks(self, max_frames=32):
        rng, y = np.random.default_rng(4), np.arange(SHAPE[0])
        began = time.monotonic()
        for n in range(self.frames):
            time.sleep(max(0.0, began + n * 0.01 - time.monotonic()))
            left = np.exp(-n / self.frames * np.log(3))
            count = rng.poisson(20 * laser.power * left)
            image = np.full(SHAPE, 20.0)
            for cy, cx in rng.uniform(4, SHAPE[0] - 4, (count, 2)):
                image += 1500 / 10.6 * np.outer(np.exp(-((y - cy) ** 2) / 3.38), np.exp(-((y - cx) ** 2) / 3.38))
            yield Block(n, [n * 10_000_000], rng.poisson(image[None]).astype(np.uint16))


@pytest.mark.slow
def test_a_laser_holds_the_density_while_the_sample_fades(tmp_path):
    changes = ("dense.level=19", "sparse.level=13", "dense.refractory_s=0.1", "sparse.refractory_s=0.1")
    text = shipped_config("density_control.toml").read_text(encoding="utf-8")
    text = text.replace("pub+tcp://127.0.0.1:5570", f"python:{__name__}:less")
    text = text.replace("pub+tcp://127.0.0.1:5571", f"python:{__name__}:more")
    config = parse_config(text.replace("deadline_ms", "# "), "density_control.toml", changes)
    engine = Engine(Activated(750), config, tmp_path / "S")
    engine.start()
    assert engine.wait(100)
    assert engine.error is None
    counts = open_session(tmp_path / "S").values("spots")["count"]
    thirds = [counts[start : start + 225].mean() for start in (75, 300, 525)]
    assert max(thirds) / min(thirds) < 1.25  # without the loop it would fall by 2.2 from the first to the last
    assert laser.power > 1.8
