"""Every operator on the smallest frames, and on a state that was damaged: it works, or says so in one line."""

import threading
from functools import partial

import numpy as np
import pytest
from test_laws import INPUTS

from streamfluo import Block, ConfigError, SnapshotOperator, Spec, StateError, Table, create
from streamfluo.calcium.extracted_components import MEASURES
from streamfluo.core.registry import operators

SHAPES = [(1, 1), (1, 2), (2, 2), (3, 3), (1, 37), (37, 1), (2, 37), (5, 5), (8, 3)]
CASES = [(kind, params) for kind, cls in operators().items() for params in ({}, *cls.examples)]
PHOTONS = 100 + 50.0 * np.random.default_rng(4).integers(0, 4, (20, 3)).repeat(8, 0)
FRAMES = 70


NO_PIXELS = (
    "count",
    "render",
    "trigger",
    "input",
    "decode",
    "kalman",
    "tuning",
    "events",
    "volume",
)  # kinds that never look at one


def sections_within(given, shape):
    """The components of the laws' slices, on frames of a shape."""
    if "footprints" not in given or min(shape) >= 13:
        return given
    quality = given["quality_now"].copy()
    quality[:, [list(MEASURES).index(name) for name in ("top_px", "left_px")]] = 0
    return {**given, "footprints": given["footprints"][:, : shape[0], : shape[1]], "quality_now": quality}


def inputs_of(kind, block):
    if kind == "volume":
        return sections_within(INPUTS[kind](block), block.pixels.shape[1:])
    photons = PHOTONS[block.index : block.stop]
    cells = {
        "traces": photons,
        "traces.ids": np.arange(3),
        "dff": photons,
        "dff.ids": np.arange(3),
        "value": photons[:, :2],
        "label": photons[:, 0] // 100,
    }
    rows = {"frame": np.arange(block.index, block.stop), "y_px": photons[:, 0] / 50, "x_px": photons[:, 1] / 50}
    return {
        "count": {"photons": photons},
        "render": {"spots": Table(rows)},
        **dict.fromkeys(("decode", "kalman", "tuning", "events"), cells),
    }.get(kind, {})


def frames_of(spec, seed=5):
    rng = np.random.default_rng(seed)
    scene = rng.uniform(100, 400, spec.shape)
    return rng.poisson(scene, (FRAMES, *spec.shape)).astype(spec.dtype)


def feed(operator, movie, start=0):
    for at in range(start, len(movie), 7):
        part = movie[at : at + 7]
        block = Block(at, np.arange(len(part)), part)
        operator.update(block, inputs_of(operator.kind, block))


def snapshots(spec):
    image = np.random.default_rng(3).gamma(2, 100, spec.shape)
    return {"mean": image, "k2": image**2, "k3": image**3, "k4": image**4, "psf_sigma_px": np.array(1.3)}


def marks_of(kind, params, shape, dtype):
    """Floats for the default parameters alone; two shapes of what never looks at a pixel, and four of what was set."""
    shapes = SHAPES[:2] if kind in NO_PIXELS else SHAPES[:5:2] + SHAPES[5:6] if params else SHAPES
    usual = (dtype == "uint16" or not params) and shape in shapes
    return () if usual else pytest.mark.slow


@pytest.mark.parametrize(
    ("kind", "params", "shape", "dtype"),
    [
        pytest.param(kind, params, shape, dtype, marks=marks_of(kind, params, shape, dtype))
        for kind, params in CASES
        for dtype in ("uint16", "float32")
        for shape in SHAPES
    ],
    ids=lambda v: v if isinstance(v, str) else str(v)[:60] if v else "default",
)
def test_frames_of_any_size_work_or_are_refused_in_one_line(kind, params, shape, dtype):
    spec = Spec(shape, dtype, interval_s=0.02)
    operator, refused = created(kind, spec, params)
    if operator is None:
        assert refused.startswith(f"{kind}: ")
        assert "\n" not in refused
        return
    feed(operator, frames_of(spec))
    operator.finish()
    read = partial(operator.read, None, snapshots(spec)) if isinstance(operator, SnapshotOperator) else operator.read
    try:
        read()
    except ConfigError as error:  # as of a PSF that is wider than the frame
        refused = str(error)
    assert refused.startswith(f"{kind}: ") == (refused != "")
    assert "\n" not in refused
    other = create(kind, spec, **params)
    other.restore(operator.state())


def created(kind, spec, params):
    """Return an operator, or None and why there is none."""
    try:
        return create(kind, spec, **params), ""
    except ConfigError as error:
        return None, str(error)


def test_motion_says_how_large_frames_must_be():
    with pytest.raises(ConfigError, match=r"motion: frames need 2 pixels a side or more, found 37 × 1"):
        create("motion", Spec((37, 1), "uint16"))


DAMAGED = [(kind, params) for kind, params in CASES if not issubclass(operators()[kind], SnapshotOperator)]


def later(kind, params, value):
    """Infinities of what was set; NaN of kinds whose cases take one to two seconds, but for the last of them."""
    many = kind in ("count", "extract") and params is not operators()[kind].examples[-1]
    return params and (value == np.inf or many)


@pytest.mark.parametrize(
    ("kind", "params", "value"),
    [
        pytest.param(kind, params, value, marks=pytest.mark.slow if later(kind, params, value) else ())
        for kind, params in DAMAGED
        for value in (np.nan, np.inf)
    ],
    ids=lambda v: v if isinstance(v, str) else str(v)[:60] if v else "default",
)
def test_a_damaged_state_is_refused_or_the_next_frames_return(kind, params, value):
    spec = Spec((16, 18), "float32", interval_s=0.02)
    movie, sound = frames_of(spec), create(kind, spec, **params)
    feed(sound, movie[:42])
    state = sound.state()
    for name, entry in state.items():
        if isinstance(entry, np.ndarray) and entry.dtype.kind == "f" and entry.size:
            damaged = {**state, name: np.full_like(entry, value)}
        elif isinstance(entry, float):
            damaged = {**state, name: value}
        else:
            continue
        operator, done = create(kind, spec, **params), []
        thread = threading.Thread(target=lambda *, o=operator, d=damaged, e=done: e.append(outcome(o, d, movie)))
        thread.daemon = True
        thread.start()
        thread.join(20)
        assert done, f"with {name!r} = {value} the next frames never return"
        assert done[0] is None, f"with {name!r} = {value}: {done[0]!r}"


def outcome(operator, state, movie):
    """Restore, go on and read; return what was raised beside StateError."""
    try:
        with np.errstate(all="ignore"):
            operator.restore(state)
            feed(operator, movie, 42)
            operator.read()
    except StateError:
        return None
    except Exception as error:
        return error
    return None
