"""The figures of a session are those of its values; what fails, or is not known, is left out."""

from types import SimpleNamespace

import numpy as np
import pytest
from commands import command
from toys import SPEC, Movie, Toy, block, toys  # noqa: F401 - the fixture registers and forgets

from streamfluo import Camera, Gives, open_session
from streamfluo.catalogue.image import preview_of
from streamfluo.catalogue.measures import measured, of_frames
from streamfluo.catalogue.reading import entry_of
from streamfluo.core.registry import register
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.report.recorded import parts_of


def by_step(session):
    found = {}
    for one in measured(session, parts_of(session, 8)):
        found.setdefault(one.step, {})[one.name] = one.value
    return found


def test_a_recording_has_the_figures_of_its_raw_frames(first):
    session = open_session(first)
    found = by_step(session)
    frames = np.stack([frame for _, _, frame in session.each_frame(0, 64)]).astype(float)
    assert found["frames"]["mean_adu"] == pytest.approx(frames.mean(), rel=0.01)
    assert found["frames"]["saturated_share"] == 0
    assert "bleaching" not in found["frames"]  # its offset is not known
    assert found["moments"]["mean_adu"] == pytest.approx(frames.mean(), rel=1e-6)


def test_bleaching_and_saturation_are_seen_in_raw_frames(toys):  # noqa: F811
    frames = np.full((16, 4, 4), 200.0, np.float32)
    frames[8:] = 150.0
    frames[:, 0, 0] = 4095.0
    spec = SPEC.with_(camera=Camera(offset_adu=100.0, saturation_adu=4095.0))
    found = of_frames(SimpleNamespace(spec=spec), list(frames))
    assert found["saturated_share"] == pytest.approx(1 / 16)
    first, last = (float(frames[n].mean()) - 100 for n in (0, -1))
    assert found["bleaching"] == pytest.approx(1 - last / first)
    assert of_frames(SimpleNamespace(spec=SPEC), [np.full((4, 4), np.nan)] * 4) == {}


class Plain(Toy):
    """What a package gives that nobody here has seen."""

    gives = (
        Gives("speed_px", "snapshot", (), "px", "how fast"),
        Gives("unknown", "snapshot", (), "", "not known"),
        Gives("said", "snapshot", (), "", "in words"),
        Gives("mean", "snapshot", ("y", "x"), "ADU", "nothing but NaN"),
    )

    def read(self, names=None, inputs={}):
        known = {"speed_px": np.array(2.5), "unknown": np.array(np.nan), "said": np.array("words"),
                 "mean": np.full((4, 4), np.nan)}  # fmt: skip
        return {name: known[name] for name in self.snapshot_names(names)}


class Failing(Plain):
    """Its figures fail."""

    @staticmethod
    def measures(step):
        raise KeyError("what it never gave")


class Talkative(Plain):
    """It has too many."""

    @staticmethod
    def measures(step):
        return {"nothing": np.inf, **{f"n{n}": n for n in range(100)}}


@pytest.fixture(scope="module")
def foreign(toys, tmp_path_factory):  # noqa: F811
    for operator in (Plain, Failing, Talkative):
        register(f"toy-{operator.__name__.lower()}")(operator)
    chain = "".join(f'[[step]]\nkind = "toy-{kind}"\n' for kind in ("plain", "failing", "talkative"))
    folder = tmp_path_factory.mktemp("foreign") / "S"
    engine = Engine(Movie([block(0, 20)]), parse_config(f"[record]\nraw = true\n{chain}", "c.toml"), folder)
    engine.start()
    assert engine.wait(60)
    return open_session(folder)


def test_an_operator_that_names_no_figures_or_fails_has_the_numbers_that_it_declares(foreign):
    found = by_step(foreign)
    assert found["toy-plain"] == found["toy-failing"] == {"speed_px": 2.5}


def test_only_so_many_finite_numbers_are_taken(foreign):
    found = by_step(foreign)["toy-talkative"]
    assert len(found) == 24
    assert "nothing" not in found


def test_where_no_picture_has_a_known_pixel_raw_frames_are_shown(foreign):
    assert preview_of(foreign, parts_of(foreign, 8)).startswith(b"\x89PNG")


def test_a_session_without_frames_has_a_row_and_no_picture(tmp_path):
    uri = "sim:gain?frames=1&shape=24x32"
    assert command("run", "moments", "--source", uri, "--out", "S", cwd=tmp_path).returncode == 0
    found = entry_of(tmp_path / "S")
    assert found.fields["frames"] == 1
    assert found.preview.startswith(b"\x89PNG")


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_planes_have_their_figures_under_their_names(tmp_path, frames):
    (tmp_path / "chain.toml").write_text('[record]\nraw = true\n[[step]]\nkind = "moments"\n')
    uri = f"sim:calcium?channels=2&z=2&frames={frames}&shape=32x32"
    assert command("run", "chain.toml", "--source", uri, "--out", "S", cwd=tmp_path).returncode == 0
    found = entry_of(tmp_path / "S")
    steps = {one.step for one in found.measured}
    assert {"red/0/moments", "green/1/moments", "red/0/frames"} <= steps
    assert ("camera", "offset_adu", 100.0) in {(one.step, one.name, one.value) for one in found.measured}
    assert found.preview.startswith(b"\x89PNG")
    assert found.fields["steps"] == "moments"
