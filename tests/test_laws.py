"""One suite of laws over every registered operator."""

import numpy as np
import pytest
from seeds import asked_for

from streamfluo import SnapshotOperator, Spec, Table, create
from streamfluo.calcium.extracted_components import MEASURES
from streamfluo.core.registry import operators
from streamfluo.core.spec import FRAME_DTYPES
from streamfluo.testing import LAWS, Subject, check_laws
from streamfluo.testing.decision_laws import ON_DECISIONS
from streamfluo.testing.subject import RIM_TOLERANCE, moving_scene, sample_movie
from streamfluo.testing.unseen_laws import ON_FLOATS

USUAL = {"uint16"}  # type for every setting, and those for the default one; all of them take minutes
DEFAULT = {"uint16", "float32", "int16"}
# Laws of changes on the way: of the default parameters always, of the examples before a release, 20 s of a core.
OF_DEFAULT = {
    "changed_is_as_built", "changes_compile_nothing", "changed_back_is_unchanged", "parts_merge_across_a_change",
    "frozen_takes_any_part", "a_change_begins_at_its_frame", "decisions_are_part_of_the_state",
}  # fmt: skip
# Of further types, and further examples, the laws that their own kernels may break; of the others a second type tells
# nothing new.
OF_TYPES = {
    "input_untouched", "cuts_change_nothing", "resume_equals_unbroken", "nothing_compiles_later", "parts_equal_whole",
    "what_is_given_is_declared",
}  # fmt: skip
# Kinds that turn frames into floats first, those with seconds of compiling for int16, and those that look at no pixel.
FEWER = {kind: {"uint16", "float32"} for kind in ("motion", "extract", "sofi", "gain")} | dict.fromkeys(
    ("count", "reconstruct", "render", "trigger", "input", "decode", "kalman", "tuning", "events", "volume"), USUAL
)
CASES = [
    pytest.param(
        kind, params, dtype, marks=() if dtype in (USUAL if params else FEWER.get(kind, DEFAULT)) else pytest.mark.slow
    )
    for kind, cls in operators().items()
    for params in ({}, *cls.examples)
    for dtype in FRAME_DTYPES
]

_image = np.random.default_rng(3).gamma(2, 100, (13, 17))
SNAPSHOTS = {"mean": _image, "k2": _image**2, "k3": _image**3, "k4": _image**4, "psf_sigma_px": np.array(1.3)}


_random = np.random.default_rng(4)
PHOTONS = 100 + 50.0 * _random.integers(0, 4, (20, 3)).repeat(8, 0) + 10 * _random.normal(size=(160, 3))
LABELS = _random.integers(-1, 4, 160)


def activity(block):
    """Values of four cells, the last of which is born at frame 40, with a signal and a label for each frame."""
    frame = np.arange(block.index, block.stop)
    cells = 3 if block.stop <= 40 else 4
    traces = np.column_stack((PHOTONS[frame], (PHOTONS[frame, 0] - PHOTONS[frame, 1]) * (frame >= 40)))[:, :cells] / 100
    ids = np.array([5, 2, 9, 7])[:cells]
    present = np.column_stack((np.ones((len(frame), 3), bool), frame >= 40))[:, :cells]
    cells_now = {"dff": np.where(present, traces, 0), "dff.ids": ids, "dff.present": present}
    return cells_now | {"traces": traces, "traces.ids": ids, "value": traces[:, :2], "label": LABELS[frame]}


INPUTS = {"count": lambda block: {"photons": PHOTONS[block.index : block.stop]}}


def localisations(block):
    """A table of spots of each frame, some at no place, of unknown precision, with faults or with neighbours."""
    rows = [row for frame in range(block.index, block.stop) for row in _spots_of(frame)]
    columns = np.array(rows).reshape(-1, 7).T
    names = ("frame", "y_px", "x_px", "y_error_px", "x_error_px", "sigma_px", "flags")
    table = dict(zip(names, columns, strict=True))
    return {"spots": Table({**table, "frame": table["frame"].astype(int), "flags": table["flags"].astype(int)})}


def _spots_of(frame):
    random = np.random.default_rng(frame)
    y, x = random.uniform((2, 2), (11, 15), (frame % 4, 2)).T
    error, flags = random.choice([0.05, 0.3, 2.0, np.nan], len(y)), random.choice([0, 4, 8], len(y))
    return np.stack([np.full(len(y), frame), y, x, error, error, np.full(len(y), 1.3), flags], 1)


def a_scene(spec):
    """What motion sees: a scene whose shift can be measured, and noise, of which no frame is valid."""
    movie, noise = moving_scene(spec), sample_movie(spec)
    for t in (20, 60, 92, 135):
        movie[t] = noise[t]
    return movie


def slices(block):
    """Components of two slices: one cell in both and cells of their own, known from the first frame on."""
    rng = np.random.default_rng(6)
    courses = rng.gamma(0.3, 3.0, (160, 6))
    courses[:, 3] = courses[:, 0]  # the first of the second slice is the first of the first one
    raw = courses + 0.5 * rng.standard_normal(courses.shape)
    raw[60:64, 3:] = np.nan
    frame = np.arange(block.index, block.stop)
    planes, ids = np.repeat([0, 1], 3), np.array([0, 1, 2, 5, 6, 7])
    found = {}
    for name in ("raw", "traces", "spikes", "dff"):
        found |= {name: raw[frame], f"{name}.planes": planes, f"{name}.ids": ids}
        found[f"{name}.times_ns"] = frame[None] * 20_000_000 + np.array([[0], [10_000_000]])
    if block.index:
        return found
    quality = np.zeros((6, len(MEASURES)))
    columns = {
        "id": ids,
        "accepted": [1, 1, 1, 1, 1, 0],
        "noise": [0.5] * 6,
        "top_px": [0, 5, 9] * 2,
        "left_px": [1, 9, 3] * 2,
    }
    for name, column in columns.items():
        quality[:, list(MEASURES).index(name)] = column
    contours = np.arange(5 * 4 * 2.0).reshape(5, 4, 2)
    return found | {
        "footprints": np.ones((6, 4, 4), np.float32), "footprints.planes": planes, "quality_now": quality,
        "quality_now.planes": planes, "contours": contours, "contours.planes": planes[:5],
    }  # fmt: skip


INPUTS["render"] = localisations
INPUTS["volume"] = slices
INPUTS |= dict.fromkeys(("decode", "kalman", "tuning", "events"), activity)


def fast_laws(kind, params, dtype):
    """The laws that run always where the type of frames is one that does."""
    if dtype not in USUAL:
        return OF_TYPES
    if not params:
        return LAWS
    return LAWS.keys() - OF_DEFAULT if params == operators()[kind].examples[0] else OF_TYPES


def no_inputs(block):
    return {}


def as_it_compares(kind, spec, params):
    """What makes an operator's results on a larger frame comparable: spec, parameters, and within which tolerance."""
    if {"crop", "copy", "piecewise"} & {params.get("border"), params.get("mode")}:
        pytest.skip("what motion crops or copies, and where its patches lie, follows from the size of the frame")
    if kind in ("regions", "voltage") and params:
        pytest.skip("regions and cells lie at stated places of the frame, a larger one has others there")
    if kind == "render":
        pytest.skip("render looks at no pixel: it draws the places that it is told, in a picture as large as the frame")
    if kind == "motion":  # a larger frame lies otherwise in blocks of 16 pixels; 13 × 17 pixels hardly show a shift
        return spec.with_(shape=(52, 60)), params, 0.05
    if kind == "extract":  # detects in bins of 2 × 2 pixels, and its ring lies on bins of 4 × 4
        return spec.with_(shape=(20, 24)), params, RIM_TOLERANCE
    if kind == "spots":  # the rate of false alarms is one of a frame; at this one a pixel's is at its bound
        return spec, {"false_alarms": 100.0, **params}, RIM_TOLERANCE
    return spec, params, RIM_TOLERANCE


def with_snapshots(operator):
    """An operator that lives on snapshots reads these."""
    kind = type(operator)
    if not isinstance(operator, SnapshotOperator):
        return operator

    class Reads(kind):
        def read(self, names=None, inputs={}):
            return super().read(names, SNAPSHOTS)

    operator.__class__ = Reads
    return operator


def pytest_generate_tests(metafunc):
    if metafunc.function is test_every_operator_keeps_every_law:
        laws = [
            pytest.param(*case.values, law, marks=case.marks if law in fast_laws(*case.values) else pytest.mark.slow)
            for case in CASES
            for law in LAWS
            if (law not in ON_FLOATS or case.values[-1] in USUAL)
            and (law not in ON_DECISIONS or operators()[case.values[0]].takes)
        ]
        ids = lambda v: v if isinstance(v, str) else str(v) if v else "default"  # noqa: E731
        asked_for(metafunc, ("kind", "params", "dtype", "law"), laws, ids=ids)


def test_every_operator_keeps_every_law(kind, params, dtype, law):
    assert broken(kind, params, Spec((13, 17), dtype, interval_s=0.02), law) == ""


def subject_of(kind, params, spec, device="cpu"):
    """An operator of these parameters with what it sees and takes."""
    if params.get("mode") == "sum" and spec.dtype in ("uint32", "int32"):
        pytest.skip("bin refuses sums of 32-bit integers: they can overflow")
    build = lambda spec: with_snapshots(create(kind, spec, device, **params))  # noqa: E731
    subject = Subject(build, spec, INPUTS.get(kind, no_inputs))
    if kind == "motion" and np.dtype(spec.dtype).itemsize > 1:  # a byte does not hold the scene
        subject.movie = a_scene(spec)
    return subject


def broken(kind, params, spec, law, device="cpu"):
    """What a law says of an operator that breaks it; nothing where it holds."""
    tolerance = RIM_TOLERANCE
    if law == "unseen_pixels_are_unknown":
        spec, params, tolerance = as_it_compares(kind, spec, params)
    subject = subject_of(kind, params, spec, device)
    subject.rim_tolerance = tolerance
    try:
        LAWS[law](subject)
    except AssertionError as error:
        return str(error) or f"it breaks {law}"
    return ""


def test_laws_on_floats_check_the_same_whatever_the_type_of_the_frames():
    asked = {dtype: [] for dtype in FRAME_DTYPES}
    for dtype, specs in asked.items():
        subject = Subject(lambda spec, to=specs: to.append(spec) or create("moments", spec), Spec((13, 17), dtype))
        for law in sorted(ON_FLOATS):
            LAWS[law](subject)
    assert all(specs == asked["float32"] for specs in asked.values())
    assert {spec.dtype for spec in asked["uint16"]} == {"float32"}


def test_check_laws_runs_them_all_and_names_the_one_that_is_broken(monkeypatch):
    check_laws("moments", Spec((5, 7), "uint16"))
    monkeypatch.setattr("streamfluo.pixels.moments.Moments.merge", lambda self, other: None)
    with pytest.raises(AssertionError, match="moments breaks parts_equal_whole: parts cut at"):
        check_laws("moments", Spec((5, 7), "uint16"))


def test_the_volume_of_the_laws_has_a_cell_on_two_slices():
    operator = create("volume", Spec((13, 17), "uint16", interval_s=0.02), **operators()["volume"].examples[0])
    subject = Subject(lambda spec: operator, operator.spec, slices)
    merged = [given["merged/id"] for given in subject.feed(operator, subject.blocks())]
    assert np.concatenate(merged).tolist() == [4]
    assert operator.read()["sections_now"][:2, :3].tolist() == [[1, 0, 0], [1, 1, 5]]
