"""A sender that goes on with a series says it in images alone: the rest is known from the session."""

import pytest
from pushing import END, START, image, pushed

from streamfluo import Plane, open_session
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine

MOMENTS = parse_config('[[step]]\nkind = "moments"\n', "c.toml")
PLANES = [Plane("red", 0), Plane("green", 0)]


def recorded(source, folder, resume):
    engine = Engine(source, MOMENTS, folder, resume=resume, max_frames=None if resume else 8)
    engine.start()
    assert engine.wait(60)
    assert engine.error is None, engine.error
    return open_session(folder)


@pytest.mark.parametrize("planes", [(), PLANES], ids=["one plane", "two planes"])
def test_interval_planes_and_words_of_the_sender_outlive_the_receiver(tmp_path, planes):
    start = {**START[0], "t0_ns": 5, "user": {"mouse": "m3"}, "pixel_um": 0.5}
    start |= {"planes": [plane.to_header() for plane in planes]} if planes else {}
    of = [{"channel": plane.channel, "z": 0} for plane in planes] or [{}]
    images = [image(n, n // len(of), **of[n % len(of)]) for n in range(20)]
    with pushed([start], *images[:8]) as source:
        before = recorded(source, tmp_path / "S", resume=False)
    with pushed(*images[8:], END) as source:
        session = recorded(source, tmp_path / "S", resume=True)
    assert session.spec == before.spec
    assert session.series == before.series
    assert (session.spec.interval_s, session.spec.pixel_um, session.series["user"]) == (0.02, 0.5, {"mouse": "m3"})
    assert session.spec.planes == tuple(planes)
    assert (session.frames, session.lost) == (20, 0)
