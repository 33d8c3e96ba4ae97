"""Planes: what may be one, how they are named, selected, and carried by spec, block and header."""

import msgspec
import numpy as np
import pytest

from streamfluo import Block, Camera, Plane, Spec
from streamfluo.core import wire
from streamfluo.core.errors import FrameError
from streamfluo.core.plane import MAX_PLANES, as_channel, select_planes

PLANES = (Plane("red", 0), Plane("red", 1, z_um=5.0), Plane("green", 0, colour="#00ff00"), Plane("green", 1))


def test_a_spec_lists_its_planes_and_gives_each_as_a_stream_of_its_own():
    spec = Spec(
        (4, 6), "uint16", 0.1, 0.5, camera=Camera(offset_adu=100), planes=(*PLANES, Plane("blue", 3, None, 2.0))
    )
    assert spec.plane_names == ("red/0", "red/1", "green/0", "green/1", "blue/3")
    red = spec.plane("red/1")
    assert (red.channel, red.planes, red.pixel_um, red.camera) == ("red", (), 0.5, spec.camera)
    assert spec.plane("blue/3").pixel_um == 2.0
    with pytest.raises(FrameError, match=r"no plane 'gren/0'; did you mean 'green/0'\?"):
        spec.plane("gren/0")


def test_a_stream_without_planes_has_one_without_a_name():
    spec = Spec((4, 6), "uint16", channel="green")
    assert spec.plane_names == ("",)
    assert spec.plane("") is spec


def test_planes_come_back_from_headers_and_from_the_wire():
    spec = Spec((4, 6), "uint16", 0.1, 0.5, planes=PLANES)
    assert Spec.from_header(msgspec.json.decode(msgspec.json.encode(spec.to_header()))) == spec
    start = wire.decode(wire.encode(wire.Start(series_uid="a", **spec.to_header())))
    assert isinstance(start, wire.Start)
    assert Spec.from_header(msgspec.structs.asdict(start)) == spec
    assert "planes" not in Spec((4, 6), "uint16").to_header()


def test_as_many_planes_as_there_may_be_fit_into_a_header():
    planes = tuple(Plane("c" * 64, z, z * 2.5, 0.5, 0.01, "#00ff00") for z in range(MAX_PLANES))
    start = wire.fitting(wire.Start(series_uid="a", **Spec((4, 6), "uint16", planes=planes).to_header()))
    found = Spec.from_header(msgspec.structs.asdict(wire.decode(wire.encode(start))))
    assert [(p.channel, p.z) for p in found.planes] == [(p.channel, p.z) for p in planes]


@pytest.mark.parametrize(
    ("planes", "message"),
    [
        ([{"channel": ""}], "a channel's name is 1 to 64"),
        ([{"channel": "a/b"}], "without '/'"),
        ([{"channel": "a\x1b[31m"}], "printable"),
        ([{"channel": 7}], "a channel's name"),
        ([{"channel": "a", "z": -1}], "z is a slice's number"),
        ([{"channel": "a", "z": True}], "z is a slice's number"),
        ([{"channel": "a", "z_um": float("nan")}], "z_um must be a number"),
        ([{"channel": "a", "pixel_um": 0}], "pixel_um must be a number"),
        ([{"channel": "a", "colour": 3}], "colour is text"),
        ([{"channel": "a"}, {"channel": "a", "z": 0}], "two planes are 'a/0'"),
        (["red"], "a map with channel and z"),
        ([{"channel": "a", "z": n} for n in range(65)], "65 planes in one stream; 64 is the most"),
    ],
)
def test_what_is_no_list_of_planes_is_refused(planes, message):
    with pytest.raises(FrameError, match=message):
        Spec.from_header({"shape": (4, 6), "dtype": "<u2", "planes": planes})


def test_a_block_knows_its_plane_and_parts_of_it_too():
    block = Block(3, np.arange(4), np.zeros((4, 2, 2), np.uint16), "red", 1)
    assert block.plane == "red/1"
    assert block.cut(4, 6).plane == "red/1"
    assert block.of(np.zeros((4, 3, 3), np.float32)).plane == "red/1"
    image = wire.image_of("a", block, 0, 9)
    assert (image.channel, image.z) == ("red", 1)


@pytest.mark.parametrize(
    ("selectors", "found"),
    [
        (["green"], ("green/0", "green/1")),
        (["green/1", "red/0"], ("red/0", "green/1")),
        (["red/0", "red"], ("red/0", "red/1")),
        ([], ()),
    ],
)
def test_planes_are_selected_by_channel_or_by_name_in_the_order_of_the_stream(selectors, found):
    assert select_planes(selectors, [plane.name for plane in PLANES]) == found


def test_a_plane_that_is_not_there_is_named_with_the_nearest():
    with pytest.raises(FrameError, match=r"no plane 'grene'; did you mean 'green'\?"):
        select_planes(["grene"], [plane.name for plane in PLANES])
    with pytest.raises(FrameError, match="no plane 'green'; the stream has one plane only"):
        select_planes(["green"], [""])


@pytest.mark.parametrize(("said", "name"), [("GFP 488", "GFP 488"), ("", "2"), (" a/b\n", "a-b"), ("x" * 90, "x" * 64)])
def test_what_a_recording_calls_a_channel_becomes_a_name(said, name):
    assert as_channel(said, 2) == name
