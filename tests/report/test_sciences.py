"""What sciences say of their results in a report: numbers that are those of the values, pictures in any case."""

import numpy as np
import pytest
from recorded_steps import SHAPE, Step, drawn_figures, record, values

from streamfluo.core.findings import UNKNOWN, Figure, Findings, middle, spelled, superscript
from streamfluo.counting import report as counting
from streamfluo.gain import report as gain
from streamfluo.motion import report as motion
from streamfluo.pixels import report as drawn
from streamfluo.pixels.moments import Moments
from streamfluo.report import page
from streamfluo.sofi import report as sofi
from streamfluo.spots import report as spots

# Single molecules


def localisations(places, **columns):
    y, x = np.array(places, float).reshape(-1, 2).T
    here = {"y_px": y, "x_px": x, "photons": np.full(len(y), 500.0), "y_error_px": np.full(len(y), 0.2),
            "x_error_px": np.full(len(y), 0.2), "flags": np.zeros(len(y), int), **columns}  # fmt: skip
    return {f"spots__{name}": column for name, column in here.items()}


def test_localisations_are_rendered_where_they_are():
    places = [(0.0, 0.0), (10.0, 20.5), (39.4, 47.4), (np.nan, 3), (70, 3), (12, 12)]
    flags = np.array([0, 0, 0, 0, 0, 8])
    step = Step(records=[record(0, 1, count=np.array([6.0]), **localisations(places, flags=flags))])
    seen = spots._seen(step)
    assert (seen.rows, seen.sound, seen.parts) == (6, 3, 8)
    assert {tuple(at) for at in np.argwhere(seen.fine).tolist()} == {(4, 4), (84, 168), (319, 383)}
    found = spots.report_of(step)
    assert "Rendered localisations" in drawn_figures(found)
    assert values(found)["precision"] == "100"  # nm: .2 px of 500 nm
    assert "50 % of fits without a fault" in found.numbers[0].note


def test_spots_at_known_places_have_traces_and_no_rendering():
    photons = np.array([[1.0, 10], [2, 20]])
    record_ = record(0, 2, ids=np.array([0, 1]), photons=photons, count=np.array([2.0, 2]))
    found = spots.report_of(Step({"looked_at": np.random.default_rng(0).normal(size=SHAPE)}, records=[record_]))
    assert found.headline == "2 known spots"
    assert drawn_figures(found).keys() == {"Widefield", "Photons in every frame"}


def test_a_step_that_found_nothing_says_so():
    found = spots.report_of(Step(records=[record(0, 3, count=np.zeros(3))]))
    assert found.headline == "0 localisations"
    assert values(found)["light"] == UNKNOWN


# Counting


def counts(count, doubtful, **more):
    count = np.array(count)
    interval = np.stack([count - 1, count + 1], 1)
    snapshot = {"count": count, "doubtful": np.array(doubtful), "flat": np.zeros(len(count)),
                "credible_interval": interval, "bleaching_steps": count + 0.0}  # fmt: skip
    return Step(snapshot, **more)


def test_doubtful_counts_are_not_among_those_that_are_said():
    table = localisations([(3, 4), (10, 12), (20, 30)], spot=np.arange(3))
    source = Step({"looked_at": np.random.default_rng(0).normal(size=SHAPE)}, records=[record(0, 1, **table)])
    found = counting.report_of(counts([2, 2, 9], [0, 0, 1], sources={"photons": source}))
    assert values(found)["fluorophores in a spot"] == "2"
    assert values(found)["doubtful"] == "1"
    assert drawn_figures(found).keys() == {"Counts", "Counts with their intervals", "Where they are", "Cross-checks"}
    assert "1 spot of 3 are doubtful" in found.sentences[0]


@pytest.mark.parametrize("count", [[], [0], list(range(9)) * 120])
def test_any_number_of_spots_is_drawn(count):
    found = counting.report_of(counts(count, np.zeros(len(count))))
    assert found.headline
    if count:
        drawn_figures(found)


# SOFI


def test_widefield_and_cumulants_stand_side_by_side():
    rng = np.random.default_rng(0)
    snapshot = {f"k{n}": rng.normal(size=SHAPE) ** 2 for n in (2, 3, 4)} | {
        f"snr{n}": np.ones(SHAPE) for n in (2, 3, 4)
    }
    snapshot |= {"mean": rng.normal(size=SHAPE), "frames": np.array(900), "change": np.array([0.1, 0.2, np.nan])}
    snapshot |= {"psf_sigma_px": np.array(1.5), "psf_status": np.array("determined")}
    step = Step(snapshot)
    found = sofi.report_of(step)
    assert {"Widefield", "Order 2", "Order 4", "How far the images have settled"} <= drawn_figures(found).keys()
    assert values(found)["resolution, widefield"] == "1\u202f766"  # nm: 2.3548 · 1.5 px of 500 nm
    assert values(found)["relative error of order 3"] == "20"
    fine = rng.normal(size=(79, 95)) ** 2
    made = {"deconvolved": fine, "linearised": fine, "widefield": fine, "status": np.array("the PSF is a Gaussian")}
    found = sofi.reconstruction_report(Step(made, params={"order": 4}, sources={"psf_sigma_px": step}))
    assert drawn_figures(found).keys() == {"Widefield", "SOFI of order 4", "Linearised"}
    assert values(found)["resolution, order 4"] == "883"
    undetermined = {name: np.full_like(image, np.nan) for name, image in made.items() if name != "status"}
    found = sofi.reconstruction_report(Step({**undetermined, "status": np.array("undetermined: too few frames")}))
    assert (found.headline, found.sentences) == ("no picture", ["Undetermined: too few frames."])


# Calibration and motion


def test_a_gain_has_as_many_digits_as_its_interval_leaves():
    mean = np.linspace(100, 900, 9)
    snapshot = {
        "gain_e_per_adu": np.array(0.500388), "gain_interval": np.array([0.50002, 0.50075]),
        "offset_adu": np.array(np.nan), "read_noise_e": np.array(np.nan), "flicker": np.array(1e-4),
        "frames": np.array(2031), "status": np.array("determined"), "mean_bins": mean,
        "variance_bins": mean * 2, "variance_bins_fit": mean * 2.0,
        "mean": np.add.outer(np.arange(40.0), np.arange(48.0)),
    }  # fmt: skip
    found = gain.report_of(Step(snapshot))
    assert found.headline == "0.50039 e⁻/ADU"
    assert "One ADU is 0.50039 photo-electrons (95 % interval 0.50002 to 0.50075)." in found.sentences
    assert values(found)["offset"] == UNKNOWN
    assert drawn_figures(found).keys() == {"Photon transfer curve", "Mean"}
    unknown = {**snapshot, "gain_e_per_adu": np.array(np.nan), "gain_interval": np.full(2, np.nan)}
    unknown |= {name: np.empty(0) for name in ("mean_bins", "variance_bins", "variance_bins_fit")}
    assert gain.report_of(Step(unknown)).headline == "gain undetermined"


def test_frames_that_were_not_registered_are_counted():
    shift = np.array([[0.0, 0], [3, 4], [50, 50]])
    step = Step(
        {"mean": np.ones(SHAPE)},
        [record(0, 3, shift_px=shift, correlation=np.ones(3), valid=np.array([1, 1, 0]), restarted=np.zeros(3))],
    )
    found = motion.report_of(step)
    assert values(found)["largest shift"] == "5"
    assert values(found)["registered"] == "2"
    assert "1 frame could not be registered" in found.sentences[0]
    assert motion.report_of(Step()).sentences == ["No frame came as far as this step."]


# What is drawn


def test_no_peak_goes_where_a_curve_is_made_shorter():
    values_ = np.zeros(100_000)
    values_[[777, 51_234]] = 9, -4
    x, y = drawn.envelope(np.arange(100_000), values_)
    assert len(x) <= 2 * drawn.POINTS
    assert (y.max(), y.min()) == (9, -4)
    assert abs(x[np.argmax(y)] - 777) < 100


def test_a_large_image_is_shown_by_means_of_what_is_known():
    image = np.arange(3000.0 * 2000).reshape(3000, 2000)
    image[:3, :3] = np.nan
    image[1, 1] = 5
    small, k = drawn.binned(image)
    assert (k, small.shape) == (3, (1000, 667))
    assert small[0, 0] == 5
    assert small[1, 1] == image[3:6, 3:6].mean()
    found = drawn.picture(image, "large", "Said.", None)
    assert "Means of 3 × 3 pixels." in found.caption


@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (1, 1), (2, 5000)])
@pytest.mark.parametrize("level", [0.0, 3e38, -1e-300])
def test_any_image_is_drawn(shape, level):
    assert drawn.picture(np.full(shape, level), "it", "", 0.1).data


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, UNKNOWN), (np.nan, UNKNOWN), (np.inf, UNKNOWN), (0, "0"), (12345, "12\u202f345"), (1234.56, "1\u202f235"),
     (0.012345, "0.0123"), (-2.5, "−2.50"), (1.5e-7, "1.50 × 10⁻⁷"), (3e9, "3.00 × 10⁹"), (99.96, "100.0")],
)  # fmt: skip
def test_numbers_are_spelled_with_sensible_digits(value, said):
    assert spelled(value) == said


def test_a_median_says_what_it_is_of():
    assert middle([]) == UNKNOWN
    assert middle([np.nan, 3]) == "3"
    assert middle(np.arange(101.0)) == "50 (5 to 95)"
    assert superscript("ADU^-4") == "ADU⁻⁴"


def test_a_page_has_room_for_so_many_pictures(monkeypatch):
    monkeypatch.setattr(page, "MAX_PICTURES_BYTES", 25)
    room = page._Room()
    first = room.kept(Findings(figures=[Figure("a", "", b"0" * 10), Figure("b", "said", b"0" * 10)])).figures
    second = room.kept(Findings(figures=[Figure("c", "said", b"0" * 10), Figure("d", "unknown", b"")])).figures
    assert [len(figure.data) for figure in (*first, *second)] == [10, 10, 0, 0]
    assert [figure.caption for figure in second] == ["Left out, as the page is large enough: said", "unknown"]


# What a catalogue lists


def test_motion_is_what_holds_98_percent_of_the_shifts():
    shift = np.stack([np.linspace(0, 4, 1000), np.zeros(1000)], 1)
    shift[500] = 99.0
    valid = np.ones(1000)
    valid[[10, 20]] = 0
    shift[[10, 20]] = np.nan
    found = motion.measures_of(Step(records=[record(0, 1000, shift_px=shift, valid=valid, correlation=0.8 * valid)]))
    assert found["valid_frames"] == 998
    assert found["valid_share"] == pytest.approx(0.998)
    assert found["motion_px"] == pytest.approx(3.92, abs=0.01)
    assert found["drift_px"] == pytest.approx(3.6, abs=0.02)
    assert found["correlation"] == pytest.approx(0.8)
    assert motion.measures_of(Step()) == {}


def test_gain_counts_and_resolution_are_those_of_the_snapshots():
    assert gain.measures_of(Step({"gain_e_per_adu": np.array(0.5)})) == {"gain_e_per_adu": 0.5}
    snapshot = {"count": np.array([1, 2, 9, 3]), "doubtful": np.array([0, 0, 1, 0]), "flat": np.zeros(4)}
    assert counting.measures_of(Step(snapshot)) == {"spots": 4.0, "emitters": 2.0, "determined_share": 0.75}
    assert counting.measures_of(Step()) == {"spots": 0.0}
    snapshot = {"psf_sigma_px": np.array(1.5), "k4": np.zeros((4, 4)), "change": np.array([0.2, 0.3]),
                "snr2": np.arange(100.0)}  # fmt: skip
    found = sofi.measures_of(Step(snapshot, pixel_um=0.1))
    assert found["resolution_nm"] == pytest.approx(2.3548 * 150 / 2, rel=1e-4)
    assert (found["relative_error"], found["snr"]) == (0.2, 94.5)
    assert sofi.reconstruction_measures(Step()) == {}


def test_spots_are_counted_and_the_medians_of_sound_ones_taken():
    table = {"spots__y_px": np.array([3.0, 9.0, 5.0]), "spots__x_px": np.array([3.0, 9.0, 5.0]),
             "spots__photons": np.array([100.0, 300.0, 500.0]), "spots__flags": np.array([0, 0, 8])}  # fmt: skip
    found = spots.measures_of(Step(records=[record(0, 2, count=np.array([2.0, 1.0]), **table)]))
    assert (found["localisations"], found["spots_a_frame"], found["photons"]) == (3.0, 1.5, 200.0)
    assert found["sound_share"] == pytest.approx(2 / 3)


def test_the_change_of_the_signal_is_that_of_its_tenths():
    total = np.linspace(1000.0, 500.0, 100)
    found = Moments.measures(Step({"mean": np.full((4, 4), 7.0)}, [record(0, 100, total_signal=total)]))
    assert found["signal_change"] == pytest.approx(np.median(total[-10:]) / np.median(total[:10]) - 1)
    assert found["mean_adu"] == 7.0


def test_a_thumbnail_is_small_and_nan_is_nothing():
    assert drawn.thumbnail(np.full((9, 9), np.nan), 160) == b""
    assert drawn.thumbnail(np.zeros((0, 9)), 160) == b""
    assert drawn.thumbnail(np.zeros((3, 9, 9)), 160) == b""
    picture = drawn.thumbnail(np.add.outer(np.arange(900.0), np.arange(300.0)), 160)
    assert picture.startswith(b"\x89PNG")
    assert int.from_bytes(picture[16:20], "big") == 50
    assert int.from_bytes(picture[20:24], "big") == 150
