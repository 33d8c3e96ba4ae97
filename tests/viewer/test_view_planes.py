"""Streams of several planes without a window: what is one panel, what lies over what, how planes are painted."""

import numpy as np
import pytest
from plane_bytes import GIVES, hello_of_planes, plane_frame, planes_of, with_volume
from wire_bytes import FACTS, HELLO, SHAPE, fed, hello, result

from streamfluo.core import wire
from streamfluo.core.plane import Plane
from streamfluo.viewer.model import Model
from streamfluo.viewer.painting import DEFAULT_COLOURS, at_binning, channel_colours, merged, side_by_side
from streamfluo.viewer.planes import Planes
from streamfluo.viewer.views import PlaneView

RNG = np.random.default_rng(8)
PIXELS = RNG.integers(0, 4000, SHAPE).astype(np.uint16)
RED, GREEN = (255, 0, 0), (0, 255, 0)


def chosen(model, name):
    return getattr(model.here(model.panels[name]), "id", None)


# What is one panel


def test_what_every_plane_has_is_one_panel():
    model = fed(hello_of_planes(slices=3))
    assert set(model.panels) == {
        "frames/source", "frames/motion/frames", "per_frame/motion/shift_px", "per_frame/apply/shift_px",
        "by_id/extract/trace", "snapshot/extract/mean", "snapshot/extract/noise", "numbers/extract",
        "table/extract/cells",
    }  # fmt: skip
    assert {n: p.title for n, p in model.panels.items() if p.frames} == {
        "frames/source": "frames",
        "frames/motion/frames": "frames after motion, apply",
    }
    assert len(model.members(model.panels["frames/source"])) == 6
    assert set(model.members(model.panels["snapshot/extract/mean"])) == {"green/0", "green/1", "green/2"}


def test_a_stream_of_one_plane_has_the_panels_it_had():
    model = Model("tcp://127.0.0.1:9")
    model.take(HELLO)
    assert [p.id for p in model.panels.values()] == list(model.panels)
    assert all(model.here(p) == p for p in model.panels.values())
    assert (model.planes.chosen, len(model.planes)) == ("", 0)


def test_frames_of_two_steps_in_one_plane_stay_apart():
    steps = [(f"green/{z}/{s}", "motion", f"green/{z}/source") for z in (0, 1) for s in ("a", "b")]
    frames = {f"green/{z}/{s}": FACTS for z in (0, 1) for s in ("a", "b", "source")}
    gives = {step: GIVES["motion"] for step, *_ in steps}
    model = fed(hello(series={"series_uid": "one"}, steps=steps, frames=frames, gives=gives))
    assert [p.title for p in model.panels.values() if p.frames] == ["frames", "frames after a", "frames after b"]


def test_the_choice_turns_every_panel_and_falls_back_on_the_channel_that_has_it():
    model = fed(hello_of_planes(extracted=[1]))
    assert chosen(model, "frames/source") == "frames/red/0/source"
    assert chosen(model, "frames/motion/frames") == "frames/red/0/motion/frames"
    assert chosen(model, "snapshot/extract/mean") is None
    model.planes.step_z(1)
    assert chosen(model, "snapshot/extract/mean") == "snapshot/green/1/extract/mean"
    model.planes.next_channel()
    assert chosen(model, "frames/source") == "frames/green/1/source"
    assert chosen(model, "frames/motion/frames") == "frames/green/1/apply/frames"
    assert chosen(model, "per_frame/motion/shift_px") == "per_frame/red/1/motion/shift_px"


def test_slices_end_and_channels_begin_again():
    planes = fed(hello_of_planes(slices=3)).planes
    for _ in range(5):
        planes.step_z(1)
    assert planes.chosen == "red/2"
    planes.step_z(-9)
    planes.next_channel()
    planes.next_channel()
    assert planes.chosen == "red/0"
    planes.choose("blue", 77)
    assert planes.chosen == "red/0"


def test_another_hello_keeps_the_choice_where_it_still_is():
    model = fed(hello_of_planes(slices=3))
    model.planes.choose("green", 2)
    fed(hello_of_planes(slices=4), model=model)
    assert model.planes.chosen == "green/2"
    fed(hello_of_planes(slices=2), model=model)
    assert model.planes.chosen == "green/0"


# What comes in goes to its plane


def test_frames_and_results_go_to_their_plane():
    outlines = np.ones((2, 4, 2))
    model = fed(
        hello_of_planes(),
        plane_frame("green/1", 7, PIXELS),
        plane_frame("red/0", 9, PIXELS + 1),
        result("green/1/extract", 9, kind="snapshot", contours=outlines),
        result("green/1/extract", 9, kind="snapshot", neurons=12),
        result("red/0/motion", 0, 2, shift_px=np.ones((2, 2))),
    )
    assert np.array_equal(model.pictures["frames/green/1/source"].shown(), PIXELS)
    assert model.pictures["frames/red/0/source"].index == 9
    assert model.pictures["frames/green/0/source"].pixels is None
    assert np.array_equal(model.contours["green/1/extract/contours"], outlines)
    assert model.numbers["numbers/green/1/extract"] == {"neurons": "12"}
    assert len(model.traces["per_frame/red/0/motion/shift_px"]) == 2
    assert not model.refused


def test_slices_of_a_channel_share_their_levels_and_channels_do_not():
    pictures = fed(hello_of_planes()).pictures
    assert pictures["frames/green/0/source"].scale is pictures["frames/green/1/source"].scale
    assert pictures["frames/green/0/source"].scale is not pictures["frames/red/0/source"].scale
    assert pictures["frames/green/0/source"].scale is not pictures["frames/green/0/apply/frames"].scale


def test_what_was_found_in_green_lies_over_red_of_the_same_slice():
    model = fed(hello_of_planes())

    def over(group, plane):
        return [o.id for o in model.overlays_over(model.members(model.panels[group])[plane])]

    assert over("frames/motion/frames", "green/1") == ["green/1/extract/contours"]
    assert over("frames/motion/frames", "red/1") == ["green/1/extract/contours"]
    # Raw frames have not moved yet; each has the shift of its own channel.
    assert over("frames/source", "red/0") == ["red/0/motion/shift_px"]
    assert over("frames/source", "green/0") == ["green/0/apply/shift_px"]


def test_frames_of_another_shape_have_no_overlays_of_others():
    frames = {"red/0/source": FACTS, "green/0/source": ((12, 16), "<u2", 0.5, 0.1)}
    steps = [("green/0/extract", "extract", "green/0/source")]
    model = fed(hello(series=None, frames=frames, steps=steps, gives={"green/0/extract": GIVES["extract"]}))
    members = model.members(model.panels["frames/source"])
    assert [o.id for o in model.overlays_over(members["green/0"])] == ["green/0/extract/contours"]
    assert model.overlays_over(members["red/0"]) == []


# What is shown


def view_of(model, group="frames/source", mode="one"):
    view = PlaneView(model.panels[group], model)
    view.mode = mode
    return view


def steps_of(view):
    return [panel.step for panel in view.panels()]


def test_only_what_is_shown_is_asked_for():
    model = fed(hello_of_planes(slices=3))
    model.planes.choose("green", 1)
    assert steps_of(view_of(model)) == ["green/1/source"]
    assert steps_of(view_of(model, mode="composite")) == ["red/1/source", "green/1/source"]
    grid = steps_of(view_of(model, mode="grid"))
    assert grid == [f"{c}/{z}/source" for c in ("red", "green") for z in range(3)]
    assert view_of(model, "snapshot/extract/mean").modes == ["one", "grid"]
    assert view_of(model).modes == ["one", "grid", "composite"]
    single = Model("tcp://127.0.0.1:9")
    single.take(HELLO)
    assert view_of(single).modes == ["one"]


def test_a_grid_is_a_page_round_the_plane_chosen():
    frames = {f"{p['name']}/source": FACTS for p in planes_of(30)}
    model = fed(hello(series=None, frames=frames, steps=[], gives={}))
    model.planes.choose("red", 14)
    view = view_of(model, mode="grid")
    assert steps_of(view) == [f"{c}/{z}/source" for c in ("red", "green") for z in range(12, 18)]
    view.room = 7
    assert steps_of(view) == [f"{c}/{z}/source" for c in ("red", "green") for z in range(12, 15)]


@pytest.mark.parametrize("side", [64, 512, 1024, 2048, 5000])
@pytest.mark.parametrize("mode", ["one", "grid", "composite"])
def test_all_planes_together_have_no_more_pixels_than_one_image_may(side, mode):
    frames = {f"{p['name']}/source": ((side, side), "<u2", 0.5, 0.1) for p in planes_of(3)}
    view = view_of(fed(hello(series=None, frames=frames, steps=[], gives={})), mode=mode)
    bin_px = view.binning(0)
    assert len(view.panels()) * (side // bin_px) ** 2 <= 1024**2
    assert bin_px == 1 or len(view.panels()) * (side / (bin_px - 1)) ** 2 > 1024**2
    assert view.binning(4) == 4


def test_a_plane_that_stops_is_told_and_keeps_its_last_image():
    model = fed(hello_of_planes(), *(plane_frame(p, 5, PIXELS) for p in ("red/0", "green/0", "red/1", "green/1")))
    for index in range(100, 103):
        fed(*(plane_frame(p, index, PIXELS) for p in ("red/0", "green/0", "red/1")), model=model)
    view = view_of(model, mode="grid")
    tiles = view.tiles()
    assert [t.plane for t in tiles if t.stopped] == ["green/1"]
    assert [label.lines[0][0] for label in view.labels(tiles)] == [
        "red · 0 µm", "red · 12 µm", "green · 0 µm", "green · 12 µm, none since 5",
    ]  # fmt: skip
    view.paint(tiles, np.zeros((256, 3), np.uint8))


# Painting


def oracle(images, levels, colours):
    """Pixel by pixel, by the definition."""
    out = np.zeros((*SHAPE, 3), np.uint8)
    for y, x in np.ndindex(SHAPE):
        light = np.zeros(3)
        for image, (low, high), colour in zip(images, levels, colours, strict=True):
            light += min(max((float(image[y, x]) - low) / (high - low), 0.0), 1.0) * np.array(colour)
        out[y, x] = np.floor(np.minimum(light + 0.5, 255))
    return out


@pytest.mark.parametrize("colours", [(RED, GREEN), ((255, 0, 255), GREEN), ((200, 100, 0), (0, 255, 255))])
def test_merged_channels_are_the_sum_of_their_colours(colours):
    images = [PIXELS, RNG.normal(50, 20, SHAPE).astype(np.float32)]
    levels = [(500.0, 3000.0), (30.0, 80.0)]
    expected = oracle(images, levels, colours).astype(int)
    got = merged(images, levels, colours)
    assert got.dtype == np.uint8
    assert np.abs(got.astype(int) - expected).max() <= 1  # float32 at the rounding
    assert (got == expected).mean() > 0.99


def test_merged_channels_by_hand():
    one, other = np.array([[0, 10, 20, 30]]), np.array([[5.0, np.nan, 5.0, 0.0]])
    got = merged([one, other], [(0.0, 20.0), (0.0, 5.0)], [RED, GREEN])
    assert got[0].tolist() == [[0, 255, 0], [128, 0, 0], [255, 255, 0], [255, 0, 0]]
    smaller = merged([one, other[:, :2]], [(0.0, 20.0), (0.0, 5.0)], [RED, GREEN])
    assert smaller[0].tolist() == [[0, 255, 0], [128, 0, 0], [255, 0, 0], [255, 0, 0]]


def test_each_merged_channel_has_a_gamma_of_its_own():
    one, other = np.array([[0, 5, 10, 20]]), np.array([[0, 25, 25, 100]])
    got = merged([one, other], [(0.0, 20.0), (0.0, 100.0)], [RED, GREEN], [1.0, 0.5])
    assert got[0].tolist() == [[0, 0, 0], [64, 128, 0], [128, 128, 0], [255, 255, 0]]


def test_planes_side_by_side_stand_at_their_corners_between_levels_of_their_own():
    table = np.stack([np.arange(256)] * 3, 1).astype(np.uint8)
    images = [np.array([[0, 100]]), np.array([[1.0, 2.0]])]
    got = side_by_side(images, [(0.0, 200.0), (1.0, 2.0)], [(0, 0), (2, 1)], (3, 3), table)
    assert got[..., 0].tolist() == [[0, 128, 0], [0, 0, 0], [0, 0, 255]]
    assert got[..., 3].tolist() == [[255, 255, 0], [0, 0, 0], [0, 255, 255]]


def test_images_of_another_binning_lie_on_the_same_places():
    image = np.arange(48).reshape(6, 8)
    assert at_binning(image, 1, 1) is image
    assert np.array_equal(at_binning(image, 1, 2), image[::2, ::2])
    assert np.array_equal(at_binning(image, 2, 1), image.repeat(2, 0).repeat(2, 1))


def test_channels_have_the_colours_they_say_or_others_that_differ():
    def planes(*colours):
        return {f"c{n}/0": Plane(f"c{n}", 0, colour=colour) for n, colour in enumerate(colours)}

    assert list(channel_colours(planes("#ff0000", "#00ff00")).values()) == [RED, GREEN]
    assert list(channel_colours(planes("", "", "")).values()) == list(DEFAULT_COLOURS[:3])
    assert list(channel_colours(planes("green", "#00ff00", "#000000")).values()) == [
        (255, 0, 255), GREEN, (0, 255, 255),
    ]  # fmt: skip
    assert list(channel_colours(planes("#ff0000", "#10ff10"), safe=True).values()) == [(255, 0, 255), GREEN]
    assert len(set(channel_colours(planes("#ff0000", "#ff8000", "#ff0010"), safe=True).values())) == 3
    assert len(channel_colours(planes(*[""] * 64))) == 64


def test_the_mouse_reads_every_channel():
    model = fed(hello_of_planes(), plane_frame("red/0", 5, PIXELS), plane_frame("green/0", 5, PIXELS + 1))
    view = view_of(model, mode="composite")
    assert view.read_out(view.tiles(), 2, 5) == (
        f"y 2, x 5 px · 1.0, 2.5 µm · red {PIXELS[2, 5]} · green {PIXELS[2, 5] + 1} ADU"
    )
    view.mode = "grid"
    tiles = view.tiles()
    green = next(t for t in tiles if t.plane == "green/0")
    y, x = green.corner_px
    assert view.read_out(tiles, y + 2, x + 5) == f"y 2, x 5 px · 1.0, 2.5 µm · green {PIXELS[2, 5] + 1} ADU"
    assert view.read_out(tiles, -3, 2) == ""


# Hellos that make no sense

HOSTILE = {
    "64 planes": [{"channel": f"c{n % 8}", "z": n // 8} for n in range(64)],
    "more than there may be": [{"channel": "c", "z": n} for n in range(5000)],
    "odd names": [{"channel": n, "z": 0} for n in ("", "a/b", "\x07", "x" * 500, "…ä", " ", "source", "..")],
    "odd slices": [{"channel": "c", "z": z} for z in (-1, 2**40, "0", None, 1.5, True)],
    "odd depths": [{"channel": "c", "z": 0, "z_um": float("nan")}, {"channel": "c", "z": 1, "z_um": "deep"}],
    "odd colours": [{"channel": "c", "z": 0, "colour": 7}, {"channel": "d", "z": 0, "colour": "javascript:"}],
    "the same twice": [{"channel": "c", "z": 0}, {"channel": "c", "z": 0}],
    "no maps": [1, "c/0", None, [], {"channel": ["c"], "z": {}}],
    "no list": {"channel": "c"},
    "ragged": [{"channel": "c", "z": 0}, {"channel": "d", "z": 5}, {"channel": "c", "z": 5}],
}


@pytest.mark.parametrize("planes", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("with_frames", [True, False])
def test_a_hello_that_makes_no_sense_breaks_nothing(planes, with_frames):
    told = wire.Hello(
        program="run",
        series={"series_uid": "one", "planes": planes},
        steps=[("c/0/extract", "extract", "c/0/source"), ("d/9/extract", "extract", "c/0/extract"), ("//", "", "//")],
        gives={"c/0/extract": GIVES["extract"], "d/9/extract": GIVES["extract"], "//": GIVES["motion"]},
        frames={f"{n}/source": FACTS for n in Planes(HELLO).planes} | ({"c/0/source": FACTS} if with_frames else {}),
        endpoints=HELLO.endpoints,
    )
    model = Model("tcp://127.0.0.1:9")
    model.take(told)
    assert len(model.planes) <= 64
    for z in [*model.planes.slices, None]:
        model.planes.choose(z=z)
        model.planes.next_channel()
        for panel in model.panels.values():
            for mode in ("one", "grid", "composite"):
                if panel.kind == "image":
                    view = view_of(model, panel.id, mode)
                    assert len(view.panels()) <= 12
                    assert view.tiles() == []
                    view.binning(0)
    fed(plane_frame("c/0", 3, PIXELS), model=model)


def test_steps_that_go_in_circles_end():
    steps = [("c/0/a", "motion", "c/0/b"), ("c/0/b", "motion", "c/0/a")]
    gives = {step: GIVES["motion"] for step, *_ in steps}
    frames = {"c/0/source": FACTS, "c/0/a": FACTS, "c/0/b": FACTS}
    model = fed(hello(series=None, steps=steps, gives=gives, frames=frames))
    assert {p.title for p in model.panels.values() if p.frames} == {"frames", "frames after a", "frames after b"}


def test_a_cell_on_several_slices_has_its_outline_and_its_id_in_each():
    contours = np.full((3, 2, 4, 2), np.nan)
    contours[1, 0], contours[2, 0], contours[2, 1] = 1, 2, 3
    model = fed(
        with_volume(hello_of_planes(slices=3)),
        result("green/0/volume", 7, traces=np.ones((1, 2)), ids=np.array([3, 8])),
        result("green/0/volume", 7, kind="snapshot", contours=contours),
    )
    for z in range(3):
        panel = model._each[f"frames/green/{z}/apply/frames"]
        (overlay,) = [o for o in model.overlays_over(panel) if o.step == "green/0/volume"]
        found, ids, _ = model.outlines(overlay)
        np.testing.assert_array_equal(found, contours[z])
        assert ids == [3, 8]
    red = model._each["frames/red/1/motion/frames"]
    assert [o.z for o in model.overlays_over(red) if o.step == "green/0/volume"] == [1]  # over the other channel too
