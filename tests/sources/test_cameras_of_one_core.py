"""Several cameras behind Micro-Manager's Multi Camera: each a plane with a counter of its own."""

import numpy as np
import pytest

pytest.importorskip("pymmcore_plus", reason="needs pymmcore-plus and mm-test-adapters: the extra [camera]")

from streamfluo import Block, SourceError, open_session, open_source
from streamfluo.core.source import Gap
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.sources.camera_images import Image

TWO = "mm:demo?cameras=2&exposure_ms=2&roi=0:32,0:48"


def test_every_frame_of_two_cameras_came_in_its_plane_or_was_counted_as_lost():
    with open_source(f"{TWO}&frames=100", planes=True) as source:
        assert source.spec.plane_names == ("Camera1/0", "Camera2/0")
        assert source.series.frames == 200
        assert source.series.user["camera"]["cameras"] == {"Camera1": "DCam", "Camera2": "DCam"}
        assert 0.001 < source.spec.interval_s < 0.5
        items = list(source.blocks())
    for plane in ("Camera1/0", "Camera2/0"):
        mine = [item for item in items if item.plane == plane]
        at = 0
        for item in mine:
            assert (item.first if isinstance(item, Gap) else item.index) == at
            at += item.count if isinstance(item, Gap) else len(item)
        assert at == 100
        times_ns = np.concatenate([item.times_ns for item in mine if isinstance(item, Block)])
        assert (np.diff(times_ns) > 0).all()
    assert sum(item.count for item in items if isinstance(item, Gap)) == source.dropped


def test_a_run_on_two_cameras_keeps_them_apart(tmp_path):
    config = parse_config('[[step]]\nkind = "moments"\nplanes = ["Camera2"]\n', "c.toml")
    with open_source(f"{TWO}&frames=40", planes=True) as source:
        engine = Engine(source, config, tmp_path / "S")
        engine.start()
        assert engine.wait(60)
    assert engine.error is None
    session = open_session(tmp_path / "S")
    assert session.frames + session.lost == 80
    assert list(session.steps) == ["Camera2/0/moments"]
    frames = session.plane("Camera2/0").read_frames(0, 40)
    np.testing.assert_allclose(session.snapshot("Camera2/0/moments")["mean"], frames.mean(0), rtol=1e-6)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            [Image("Camera1", 0, 0, np.zeros((32, 40), "u2"))],
            "images of camera .Camera1. are 32 × 40",
        ),
        ([Image("Camera9", 0, 0, np.zeros((32, 48), "u2"))], "an image of 'Camera9', which is none of the cameras"),
        (
            [Image("Camera2", 4, 0, np.zeros((32, 48), "u2")), Image("Camera2", 2, 1, np.zeros((32, 48), "u2"))],
            "frame 2 after frame 4; the counter went back",
        ),
    ],
)
def test_what_a_camera_cannot_give_ends_the_series_with_one_line(monkeypatch, images, message):
    with open_source(TWO, planes=True) as source:
        monkeypatch.setattr(source, "_pop", lambda *_: images)
        with pytest.raises(SourceError, match=message):
            list(source.blocks())


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("mm:demo?cameras=9", "cameras must be a whole number from 1 to 4, found '9'"),
        ("mm:demo?cameras=0", "cameras must be a whole number from 1 to 4, found '0'"),
        ("mm:nothing.cfg?cameras=2", "no such configuration file"),
    ],
)
def test_cameras_that_cannot_be_are_refused_in_one_line(uri, message):
    with pytest.raises(SourceError, match=message) as caught:
        open_source(uri, planes=True)
    assert "\n" not in str(caught.value)
