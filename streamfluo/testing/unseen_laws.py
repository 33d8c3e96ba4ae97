"""The laws of what was not seen: pixels that are NaN, infinite or absurd, and frames declared not valid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..core.block import Block
from ..core.operator import Gives, Operator, Values
from ..core.unseen import VALID
from .laws import law
from .subject import FRAMES, RIM_PX, Arrays, Subject, copied, flat, moving_scene, same, sample_movie

# Laws that make frames of floats, whatever type the subject has: one run for each operator and its parameters will do.
ON_FLOATS = frozenset({"unseen_pixels_are_unknown", "absurd_pixels_are_unseen", "odd_frames_pass"})


@law
def unseen_pixels_are_unknown(subject: Subject) -> None:
    """Frames with an unseen rim give in their interior what the cropped frames give, and nothing in the rim."""
    cropped = replace(subject, spec=subject.spec.with_(dtype="float32", camera=None))
    height, width = cropped.spec.shape
    wide = replace(subject, spec=cropped.spec.with_(shape=(height + RIM_PX, width + RIM_PX)))
    cropped.movie = moving_scene(cropped.spec)
    wide.movie = np.full((FRAMES, *wide.spec.shape), np.nan, np.float32)
    wide.movie[:, :height, :width] = cropped.movie
    expected, found, before = cropped.whole(), wide.whole(), wide.results(wide.make(), [])
    images = {f"snapshot {g.name}" for g in cropped.make().gives if _is_image(g)} | {"block's pixels"}
    for name in images & found.keys():
        array, (y, x) = found[name], expected[name].shape[-2:]
        if array.shape[-2:] == (y, x):
            continue  # boxes
        found[name] = array[..., :y, :x]
        stated = np.broadcast_to(np.asarray(before.get(name, np.nan)), array.shape)  # by a parameter
        known = ((array != stated) | (array == 0)) & (~np.isnan(array) if array.dtype.kind == "f" else array != 0)
        known[..., :y, :x] = False
        assert not known.any(), f"{name!r} holds something else than NaN in the unseen rim"
    what = "within an unseen rim the results differ from those of cropped frames"
    same(found, expected, what, subject.rim_tolerance)


def _is_image(given: Gives) -> bool:
    return len(given.dims) > 1 and given.dims[-2].endswith("y") and given.dims[-1].endswith("x")


@law
def absurd_pixels_are_unseen(subject: Subject) -> None:
    """Pixels that are infinite or beyond ±1e15 are pixels that were not seen: the same bits as with NaN there."""
    found, expected = (_odd_frames(subject, absurd).whole((7, 32)) for absurd in (True, False))
    same(found, expected, "infinite and absurd pixels count as something else than NaN")


@law
def odd_frames_pass(subject: Subject) -> None:
    """A frame that is NaN throughout and single odd pixels leave no NaN behind, but in images at those pixels."""
    odd = _odd_frames(subject, absurd=True)
    found, expected = odd.whole((7, 32)), replace(odd, movie=moving_scene(odd.spec)).whole((7, 32))
    gives = odd.make().gives
    images = {f"snapshot {g.name}" for g in gives if _is_image(g)}
    lines = {f"snapshot {g.name}": g.dims.index("point") for g in gives if "point" in g.dims}
    for name, array in expected.items():
        if array.dtype.kind != "f":
            continue
        got = found[name]
        if name in lines:  # NaN follows their last point, which may come sooner: one that is lost has no first
            got, array = (np.take(a, [0], lines[name]) for a in (got, array))
        sound_here = ~np.isnan(array)
        lost = np.isnan(got) & (sound_here if got.shape == array.shape else sound_here.all())
        if name in images or name.startswith("block's"):  # a shift's rim may lie elsewhere
            assert not sound_here.any() or lost.mean() < 0.2, f"odd pixels make {name!r} NaN elsewhere"
        else:
            later = lost if name.startswith("snapshot") else lost[len(lost) * 4 // 5 :]
            assert not later.any(), f"after odd frames {name!r} is NaN"


def _odd_frames(subject: Subject, absurd: bool) -> Subject:
    """A movie with frames odd throughout and odd pixels in others: infinite or absurd, or NaN in their place."""
    odd = replace(subject, spec=subject.spec.with_(dtype="float32", camera=None))
    (height, width), most = odd.spec.shape, float(np.finfo(np.float32).max)
    odd.movie = moving_scene(odd.spec)
    for t, value in {20: np.nan, 50: np.inf, 64: -most}.items():
        odd.movie[t] = value if absurd else np.nan
    for t, value in {30: np.inf, 31: -np.inf, 32: 3e38, 52: most, 70: -most, 71: 2e15}.items():
        odd.movie[t, [height // 3, height // 2], [width // 3, width - 3]] = value if absurd else np.nan
    return odd


@law
def invalid_frames_teach_nothing(subject: Subject) -> None:
    """What lies in frames that a step before declares not valid changes nothing but the values of these frames."""
    if VALID not in subject.make().may_need:
        return
    valid = np.random.default_rng(13).random(FRAMES) < 0.8
    valid[[0, 32, 64]] = False

    def inputs(block: Block) -> Values:
        return {**subject.inputs(block), VALID: valid[block.index : block.stop]}

    movie = sample_movie(subject.spec)
    other = movie.copy()
    other[~valid] = movie[::-1][~valid]
    found = []
    for frames in (movie, other):
        seen = replace(subject, inputs=inputs, movie=frames)
        operator = seen.make()
        outputs = []
        for block in seen.blocks((7, 32)):
            output = flat(operator.update(block, inputs(block)))
            outputs.append(copied(_of_valid_frames(operator, output, block, valid)))
        found.append(seen.results(operator, outputs))
    same(found[1], found[0], "what lies in frames that are not valid changed the results")


def _of_valid_frames(operator: Operator, output: Mapping[str, np.ndarray], block: Block, valid: np.ndarray) -> Arrays:
    """The values of the valid frames of a block, and frames handed on that stand for them."""
    now, kept = valid[block.index : block.stop], Arrays()
    per_frame = {g.name for g in operator.gives if g.kind in ("per_frame", "by_id")} - {"ids"}
    for name, array in output.items():
        table, _, column = name.partition("/")
        if column:
            frame = output[f"{table}/frame"]
            array = array[valid[np.clip(frame, 0, FRAMES - 1)]]
        elif name in per_frame or (name.startswith("block's") and operator.frame_axis == "same"):
            array = array[now]
        kept[name] = array
    return kept
