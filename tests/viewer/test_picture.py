"""Levels, averages, read-out, regions, scale bars and envelopes: arithmetic without a window."""

import numpy as np
import pytest

from streamfluo.viewer.picture import HISTORY_BYTES, Picture, PixelGrid, histogram, percentile_levels, scale_bar
from streamfluo.viewer.regions import Region, region_means
from streamfluo.viewer.traces import Trace, envelope

RNG = np.random.default_rng(5)
FRAMES = RNG.integers(0, 4000, (20, 16, 12)).astype(np.uint16)


def shown(frames, average):
    picture = Picture()
    picture.average_frames = average
    for n, frame in enumerate(frames):
        picture.take(frame, n)
    return picture.shown()


@pytest.mark.parametrize("average", [2, 7, 20, 50])
def test_the_average_is_that_of_the_last_n(average):
    assert np.allclose(shown(FRAMES, average), FRAMES[-average:].mean(0))


def test_without_an_average_the_frame_is_shown_as_it_came():
    assert np.array_equal(shown(FRAMES, 1), FRAMES[-1])


def test_a_pixel_that_is_nan_leaves_the_average_with_its_frame():
    frames = FRAMES.astype(np.float32)
    frames[5, 3, 4] = np.nan
    frames[:, 0, 0] = np.nan
    expected = np.nanmean(frames[4:8, 3, 4])
    got = shown(frames[:8], 4)
    assert got[3, 4] == pytest.approx(expected)
    assert np.isnan(got[0, 0])
    assert np.allclose(shown(frames[:12], 4)[3, 4], frames[8:12, 3, 4].mean())


def test_an_average_stays_within_its_bytes(monkeypatch):
    monkeypatch.setattr("streamfluo.viewer.picture.HISTORY_BYTES", 5 * FRAMES[0].nbytes)
    assert np.allclose(shown(FRAMES, 20), FRAMES[-5:].mean(0))
    assert HISTORY_BYTES == 256 << 20


def test_frames_of_another_shape_begin_the_average_anew():
    picture = Picture()
    picture.average_frames = 3
    picture.take(FRAMES[0], 0)
    picture.take(FRAMES[1, :8, :6], 1, grid=PixelGrid(2))
    assert np.array_equal(picture.shown(), FRAMES[1, :8, :6])
    assert picture.averaged == 1


def test_levels_leave_out_the_extremes_and_do_not_jump():
    image = RNG.normal(1000, 10, (200, 200))
    image[0, :5] = 1e6
    low, high = percentile_levels(image)
    assert 950 < low < high < 1050
    picture = Picture()
    first = picture.adjust_levels(image)
    second = picture.adjust_levels(image + 100)
    assert first == pytest.approx((low, high))
    assert low < second[0] < low + 50
    for _ in range(50):
        picture.adjust_levels(image + 100)
    assert picture.levels == pytest.approx((low + 100, high + 100), abs=0.01)


def test_a_flash_now_and_then_leaves_the_levels_of_the_other_frames():
    picture, image = Picture(), RNG.normal(1000, 10, (50, 50))
    for look in range(41):
        levels = picture.adjust_levels(image + 20_000 * (look % 4 == 0))
    assert levels == pytest.approx(percentile_levels(image), abs=2)


def test_a_few_bright_pixels_on_nothing_are_shown():
    image = np.zeros((100, 100), np.float32)
    image[::40, ::30] = 0.01
    assert percentile_levels(image) == (0, pytest.approx(0.01))


def test_locked_levels_stay():
    picture = Picture()
    picture.levels, picture.locked = (1.0, 2.0), True
    assert picture.adjust_levels(FRAMES[0]) == (1.0, 2.0)


@pytest.mark.parametrize("image", [np.full((4, 4), 7.0), np.full((4, 4), np.nan), np.zeros((1, 1), "u1")])
def test_an_image_without_contrast_has_levels_all_the_same(image):
    low, high = percentile_levels(image)
    assert low < high


def test_the_read_out_says_pixel_place_and_value():
    picture = Picture("ADU", pixel_um=0.5)
    picture.take(FRAMES[0], 3, grid=PixelGrid(4))
    assert picture.read_out(FRAMES[0], 9.6, 6.2) == f"y 10, x 6 px · 4.8, 3.1 µm · {FRAMES[0, 2, 1]} ADU"
    assert picture.read_out(FRAMES[0], -0.6, 0) == ""
    assert picture.read_out(FRAMES[0], 0, 12 * 4) == ""


@pytest.mark.parametrize(
    ("width_px", "pixel_um", "bar"),
    [
        (512, 0.5, (100, "50 µm")),
        (512, 2.0, (100, "200 µm")),
        (400, 20.0, (100, "2 mm")),
        (40, 0.01, (10, "100 nm")),
        (512, None, (100, "100 px")),
        (90, None, (20, "20 px")),
    ],
)
def test_a_scale_bar_is_round_and_a_quarter_of_the_width_at_most(width_px, pixel_um, bar):
    length, label = scale_bar(width_px, pixel_um)
    assert (pytest.approx(length), label) == bar
    assert length <= width_px / 4 + 1e-9


def test_nothing_has_no_scale_bar():
    assert scale_bar(0, None) == (0.0, "")
    assert scale_bar(float("nan"), 1.0) == (0.0, "")


FAR = {
    "a constant far from zero": np.full((9, 9), 3e9, np.float32),
    "a constant beyond all integers": np.full((9, 9), -1e17),
    "two neighbouring numbers": np.where(np.eye(9) > 0, 3e8, 3e8 + 32).astype(np.float32),
    "the largest numbers": np.where(np.eye(9) > 0, 1.7e308, -1.7e308),
}


@pytest.mark.parametrize(
    "image", [FRAMES[0], FRAMES[0] / 7.3, FRAMES[0] * 0, np.full((3, 3), np.nan), *FAR.values()],
    ids=["grey values", "fractions", "zeros", "NaN", *FAR],
)  # fmt: skip
def test_a_histogram_counts_every_finite_pixel(image):
    centres, counts = histogram(image)
    assert counts.sum() == np.isfinite(image).sum()
    assert len(centres) == len(counts)
    assert (np.diff(centres) > 0).all()


def test_a_histogram_of_integers_has_no_comb():
    _, counts = histogram(np.arange(400).repeat(100).reshape(200, 200).astype(np.uint16))
    assert set(counts[:-1]) == {counts[0]}


# Regions


def brute(region, shape):
    """Pixel by pixel, by the definition; polygons by winding numbers, which share nothing with crossings."""
    corners = np.array(region.corners_px)
    inside = np.zeros(shape, bool)
    for y in range(shape[0]):
        for x in range(shape[1]):
            if region.kind == "rectangle":
                inside[y, x] = (corners.min(0) <= (y, x)).all() and ((y, x) <= corners.max(0)).all()
            elif region.kind == "ellipse":
                centre, radius = corners.mean(0), np.abs(corners[1] - corners[0]) / 2
                inside[y, x] = (((np.array((y, x)) - centre) / radius) ** 2).sum() <= 1
            else:
                angle = np.arctan2(corners[:, 0] - y, corners[:, 1] - x)
                turns = np.diff(np.append(angle, angle[0]))
                inside[y, x] = abs(((turns + np.pi) % (2 * np.pi) - np.pi).sum()) > 1
    return inside


REGIONS = [
    Region("rectangle", ((2.5, 3.2), (9.1, 8.7))),
    Region("rectangle", ((9.1, 8.7), (2.5, 3.2))),
    Region("ellipse", ((1.3, 2.1), (12.4, 9.8))),
    Region("polygon", ((1.1, 1.3), (13.7, 2.2), (8.3, 9.9), (4.4, 5.1))),
    Region("polygon", ((-5.2, -3.1), (30.3, -3.3), (30.1, 40.2), (-5.7, 40.3))),
]


@pytest.mark.parametrize("region", REGIONS, ids=lambda r: r.kind)
def test_a_region_holds_the_pixels_whose_centres_lie_inside(region):
    assert np.array_equal(region.mask((16, 12)), brute(region, (16, 12)))


def test_a_region_means_the_same_on_a_binned_image():
    image = np.zeros((16, 12))
    image[4:12, 4:8] = 8.0
    region = Region("rectangle", ((3.6, 3.6), (11.4, 7.4)))
    binned = image.reshape(8, 2, 6, 2).mean((1, 3))
    assert region_means([region], image) == [8.0]
    assert region_means([region], binned, PixelGrid(2)) == [8.0]


def test_the_mean_leaves_nan_out_and_nothing_has_none():
    image = np.ones((16, 12))
    image[5, 5] = np.nan
    far = Region("rectangle", ((100, 100), (120, 120)))
    assert np.array_equal(region_means([REGIONS[0], far], image), [1.0, np.nan], equal_nan=True)


# Traces


def test_a_trace_keeps_the_newest_frames_in_bounded_memory():
    trace = Trace(capacity=100)
    for start in range(0, 5000, 7):
        trace.take(start, np.arange(start, start + 7.0))
    index, rows = trace.since()
    assert index.tolist() == list(range(5005 - 100, 5005))
    assert np.array_equal(rows[:, 0], index)
    assert trace.nbytes <= 16 * 200


def test_more_rows_at_once_than_there_is_room_for():
    trace = Trace(capacity=100)
    trace.take(0, np.arange(1000.0))
    assert trace.since()[0].tolist() == list(range(900, 1000))


def test_many_curves_keep_fewer_frames():
    trace = Trace()
    for start in range(3):
        trace.take(start * 1000, np.zeros((1000, 20000)), range(20000))
    assert trace.nbytes <= 1.3 * (64 << 20)


def test_since_gives_what_came_from_an_index_on():
    trace = Trace()
    trace.take(10, np.arange(5.0))
    trace.take(20, np.arange(5.0))
    assert trace.since(13)[0].tolist() == [13, 14, 20, 21, 22, 23, 24]


def test_an_envelope_keeps_the_extremes_and_the_breaks():
    values = RNG.normal(size=10_000)
    index = np.concatenate([np.arange(6000), np.arange(9000, 13_000)])
    x, y = envelope(index, values, max_points=500)
    assert len(x) <= 600
    assert np.nanmax(y) == values.max()
    assert np.nanmin(y) == values.min()
    assert np.nanmin(x) == 0


def test_a_short_curve_is_drawn_point_by_point_and_broken_at_the_hole():
    x, y = envelope(np.array([1, 2, 5]), np.array([1.0, 2.0, 3.0]))
    assert np.array_equal(x, [1, 2, np.nan, 5], equal_nan=True)
    assert np.array_equal(y, [1, 2, np.nan, 3], equal_nan=True)
    assert envelope(np.array([1, 2, 5]), np.array([1.0, 2.0, 3.0]), sampled=True)[1].tolist() == [1, 2, 3]
