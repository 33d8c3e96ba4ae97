"""Spec and camera: any numpy spelling is taken, nothing impossible is, and both survive file and header."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamfluo import Camera, FrameError, Spec
from streamfluo.core.spec import FRAME_DTYPES, frame_dtype

SPELLINGS = [
    ("u1", "uint8"),
    ("|u1", "uint8"),
    (">u2", "uint16"),
    (np.uint16, "uint16"),
    (np.dtype(">i4"), "int32"),
    (float, "float64"),
    ("single", "float32"),
]


@pytest.mark.parametrize(("spelling", "name"), SPELLINGS)
def test_any_numpy_spelling_of_a_dtype_becomes_its_native_name(spelling, name):
    assert Spec((4, 4), spelling).dtype == name
    assert frame_dtype(spelling).isnative


@pytest.mark.parametrize(
    "spelling", ["float16", "int64", "complex64", "bool", "S4", "object", "nonsense", "M8[ns]", "1u<", "u(", "(2,"]
)
def test_a_dtype_no_stream_can_have_is_refused_with_those_there_are(spelling):
    with pytest.raises(FrameError, match=r"frames cannot be of type .*use one of uint8, uint16"):
        Spec((4, 4), spelling)


@pytest.mark.parametrize("shape", [(0, 4), (4, 65537), (-1, 4)])
def test_sides_beyond_the_limits_are_refused(shape):
    with pytest.raises(FrameError, match="sides are 1 to 65536 pixels, found"):
        Spec(shape, "u1")


@pytest.mark.parametrize("shape", [4, (4,), (4, 4, 4), "ab", None])
def test_a_shape_that_is_not_y_x_is_refused(shape):
    with pytest.raises(FrameError, match=r"a frame's shape is \(y, x\), found"):
        Spec(shape, "u1")


@pytest.mark.parametrize("name", ["interval_s", "pixel_um"])
@pytest.mark.parametrize("value", [0, -1.0, np.nan, np.inf])
def test_an_interval_or_pixel_size_is_positive_or_unknown(name, value):
    with pytest.raises(FrameError, match=f"spec: {name} must be positive or None"):
        Spec((4, 4), "u1", **{name: value})


def test_a_list_of_numpy_ints_is_a_shape_and_ints_become_floats():
    spec = Spec(np.array([3, 5]), "u2", interval_s=1, pixel_um=np.float32(0.5))
    assert spec.shape == (3, 5)
    assert isinstance(spec.interval_s, float)
    assert isinstance(spec.pixel_um, float)
    assert spec.frame_nbytes == 30


def test_a_changed_copy_leaves_the_spec_alone():
    spec = Spec((3, 5), "u2", channel="green")
    assert spec.with_(shape=(1, 1)) == Spec((1, 1), "u2", channel="green")
    assert spec.shape == (3, 5)


sizes = st.floats(1e-6, 1e6) | st.none()


@given(
    shape=st.tuples(st.integers(1, 65536), st.integers(1, 65536)),
    dtype=st.sampled_from(FRAME_DTYPES),
    interval_s=sizes,
    pixel_um=sizes,
    channel=st.text(max_size=10),
    offset=st.floats(0, 1000) | st.none(),
)
def test_a_spec_survives_its_header_as_json(shape, dtype, interval_s, pixel_um, channel, offset):
    camera = None if offset is None else Camera(offset_adu=offset)
    spec = Spec(shape, dtype, interval_s, pixel_um, channel, camera)
    assert Spec.from_header(json.loads(json.dumps(spec.to_header()))) == spec


def test_keys_of_other_producers_in_a_header_are_ignored():
    header = {"shape": [2, 3], "dtype": ">u2", "vendor": "x", "camera": {"model": "y", "offset_adu": 5, "qe": None}}
    assert Spec.from_header(header) == Spec((2, 3), "uint16", camera=Camera(offset_adu=5))


# The camera

GAIN = np.linspace(0.5, 2, 12).reshape(3, 4)


def test_a_camera_survives_its_file_with_numbers_maps_and_unknowns(tmp_path):
    camera = Camera(offset_adu=100, gain_e_per_adu=GAIN, read_noise_e=1.6)
    assert Camera.load(camera.save(tmp_path / "camera")) == camera


def test_cameras_with_other_maps_differ():
    assert Camera(gain_e_per_adu=GAIN) == Camera(gain_e_per_adu=GAIN.copy())
    assert Camera(gain_e_per_adu=GAIN) != Camera(gain_e_per_adu=GAIN + 1)
    assert Camera(gain_e_per_adu=1.0) != Camera()
    assert Camera() != "a camera"


REFUSED_CAMERAS = [
    ({"offset_adu": "high"}, "offset_adu must be a number or a"),
    ({"offset_adu": [1, 2]}, r"offset_adu .* found an array of shape \(2,\)"),
    ({"gain_e_per_adu": 0}, "gain_e_per_adu must be positive, found 0.0"),
    ({"qe": np.array([[0.5, -1]])}, "qe must be positive, found -1.0"),
    ({"read_noise_e": -0.1}, "read_noise_e must not be negative, found -0.1"),
    ({"saturation_adu": np.nan}, "saturation_adu must be positive"),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED_CAMERAS)
def test_impossible_cameras_are_refused(fields, message):
    with pytest.raises(FrameError, match=message):
        Camera(**fields)


def test_a_map_of_another_shape_than_the_frames_is_refused():
    with pytest.raises(FrameError, match=r"camera: gain_e_per_adu is \(3, 4\), the frames are \(4, 4\)"):
        Spec((4, 4), "u1", camera=Camera(gain_e_per_adu=GAIN))


BROKEN_FILES = {"text.npz": b"not an archive", "empty.npz": b"", "pickle.npz": None, "cut.npz": b"PK\x03\x04torn"}


@pytest.mark.parametrize("name", BROKEN_FILES)
def test_a_file_that_is_no_calibration_is_named(tmp_path, name):
    path = tmp_path / name
    if BROKEN_FILES[name] is None:
        np.savez(path, offset_adu=np.array([{"a": 1}], object))
    else:
        path.write_bytes(BROKEN_FILES[name])
    with pytest.raises(FrameError, match=f"{name}: not a camera calibration"):
        Camera.load(path)


def test_a_calibration_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FrameError, match=r"gone\.npz: not a camera calibration"):
        Camera.load(tmp_path / "gone.npz")
