"""A camera's maps travel as a `calibration`: from a stream's source to whoever subscribes."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from streamfluo import Block, Camera, ConfigError, Source, Spec, WireError, create, open_source
from streamfluo.core import wire
from streamfluo.core.calibration import encode_calibration, with_calibration
from streamfluo.core.source import Series
from streamfluo.engine.chain import Chain
from streamfluo.engine.config import load_config, with_overrides
from streamfluo.network.frames import ReplayedFrames
from streamfluo.network.server import DataServer

SPEC = Spec((3, 4), "uint16", camera=Camera(qe=0.8))
MAPS = {"offset_adu": 100.0 + np.arange(12.0).reshape(3, 4), "gain_e_per_adu": np.full((3, 4), 0.5)}


def travelled(**maps):
    message, parts = encode_calibration("one", Camera(**maps))
    return wire.decode(wire.encode(message)), [part.tobytes() for part in parts]


def test_maps_arrive_and_numbers_stay():
    message, parts = travelled(read_noise_e=1.5, **MAPS)
    assert [h.name for h in message.arrays] == ["offset_adu", "gain_e_per_adu"]
    assert with_calibration(SPEC, message, parts).camera == Camera(qe=0.8, **MAPS)


def test_a_camera_without_maps_sends_none():
    assert encode_calibration("one", Camera(offset_adu=100.0)) is None


BAD = {
    "another shape": lambda m, p: (m, p, Spec((4, 3), "uint16")),
    "an unknown name": lambda m, p: (replace_array(m, name="password"), p, SPEC),
    "integers": lambda m, p: (replace_array(m, dtype="<i8"), p, SPEC),
    "a part too few": lambda m, p: (m, p[:1], SPEC),
    "a part cut short": lambda m, p: (m, [p[0][:-1], p[1]], SPEC),
    "a negative gain": lambda m, p: (m, [p[0], np.full((3, 4), -1.0).tobytes()], SPEC),
}


def replace_array(message, **changes):
    fields = {name: getattr(message.arrays[0], name) for name in message.arrays[0].__struct_fields__}
    return wire.Calibration(series_uid="one", arrays=(wire.ArrayHeader(**fields | changes), *message.arrays[1:]))


@pytest.mark.parametrize("spoil", BAD.values(), ids=BAD)
def test_maps_that_are_none_are_refused(spoil):
    message, parts, spec = spoil(*travelled(**MAPS))
    with pytest.raises(WireError):
        with_calibration(spec, message, parts)


class OneFrame(Source):
    """A camera with maps."""

    def __init__(self):
        self.spec, self.series = SPEC.with_(camera=replace(SPEC.camera, **MAPS)), Series("one", "memory", frames=1)

    def blocks(self, max_frames=32):
        yield Block(0, np.zeros(1), np.zeros((1, 3, 4), np.uint16))

    def seek(self, index):
        pass


def test_a_subscriber_gets_the_maps_before_the_first_frame():
    server = DataServer(ReplayedFrames(OneFrame()), "tcp://127.0.0.1:0")
    thread = threading.Thread(target=server.run)
    thread.start()
    with open_source(server.endpoint) as source:
        assert source.spec.camera == Camera(qe=0.8, **MAPS)
        assert sum(isinstance(item, Block) for item in source.blocks()) == 1
        source.finished()
    thread.join(10)
    server.close()


# In the config


def test_a_calibration_in_the_config_is_what_every_step_knows(tmp_path):
    Camera(**MAPS).save(tmp_path / "calibration.npz")
    config = tmp_path / "chain.toml"
    config.write_text(f'[source]\ncamera = "{tmp_path / "calibration.npz"}"\n[[step]]\nkind = "moments"\n')
    chain = Chain.from_toml(config, SPEC)
    assert chain.steps[0].operator.spec.camera == Camera(qe=0.8, **MAPS)


@pytest.mark.parametrize("name", ["nowhere.npz", "other.npz"])
def test_a_calibration_that_does_not_fit_is_refused(tmp_path, name):
    Camera(offset_adu=np.zeros((5, 5))).save(tmp_path / "other.npz")
    (tmp_path / "c.toml").write_text(f'[source]\ncamera = "{tmp_path / name}"\n')
    with pytest.raises(ConfigError, match=r"c.toml: \[source\] camera: "):
        with_overrides(load_config(tmp_path / "c.toml"), SPEC)


def test_gain_measured_with_maps_from_the_config_knows_its_offsets():
    operator = create("gain", SPEC.with_(camera=Camera(**MAPS)))
    np.testing.assert_array_equal(operator.read(["offset_map"])["offset_map"], MAPS["offset_adu"])
