"""Regions that are changed while frames flow: from their frame on, with a new F0 where the pixels are others."""

import numpy as np
import pytest
from msgspec.structs import replace
from test_regions import FRAMES, INTERVAL_S, SPEC, scene

from streamfluo import Block, ConfigError, create, open_session, open_source
from streamfluo.core.control import Change
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine

LEFT, RIGHT, MOVED, THIRD = (
    [[y, x], [y, x + 9], [y + 9, x + 9], [y + 9, x]] for y, x in ((8, 10), (22, 30), (24, 31), (2, 36))
)
AT = 333


def feed(operator, movie, start=0, stop=FRAMES, cut=7):
    found = []
    for n in range(start, stop, cut):
        part = movie[n : min(n + cut, stop)]
        found.append(operator.update(Block(n, np.arange(len(part)), part)).values)
    return {name: np.concatenate([v[name] for v in found]) for name in ("mean", "neuropil", "dff")}


def changed(movie, regions, cut=7):
    operator = create("regions", SPEC, regions=[LEFT, RIGHT])
    before = feed(operator, movie, 0, AT, cut)
    operator.change(replace(operator.params, regions=regions))
    return before, feed(operator, movie, AT, cut=cut), operator


@pytest.fixture(scope="module")
def movie():
    return scene(7)[0]


def test_a_region_that_stays_goes_on_and_one_that_moved_begins_anew(movie):
    _, after, _ = changed(movie, [LEFT, MOVED, THIRD])
    throughout = feed(create("regions", SPEC, regions=[LEFT, MOVED, THIRD]), movie)
    anew = feed(create("regions", SPEC, regions=[LEFT, MOVED, THIRD]), movie, AT)
    for name in ("mean", "neuropil"):
        np.testing.assert_array_equal(after[name], throughout[name][AT:])
    np.testing.assert_array_equal(after["dff"][:, 1:], anew["dff"][:, 1:])
    assert np.isnan(after["dff"][:10, 1:]).all()
    assert np.isfinite(after["dff"][:, 0]).all()
    near = np.abs(after["dff"][:, 0] - throughout["dff"][AT:, 0])
    assert near.max() < 0.05  # its F0 went on; the neuropil around it was another before
    assert np.isnan(anew["dff"][:10, 0]).all()


def test_fewer_regions_and_the_same_ones_again(movie):
    before, after, operator = changed(movie, [LEFT])
    assert after["mean"].shape == (FRAMES - AT, 1)
    assert operator.read()["masks"].max() == 1
    whole = feed(create("regions", SPEC, regions=[LEFT, RIGHT]), movie)
    same_again = changed(movie, [LEFT, RIGHT])[1]
    for name in ("mean", "neuropil", "dff"):
        np.testing.assert_array_equal(same_again[name], whole[name][AT:])
        np.testing.assert_array_equal(before[name], whole[name][:AT])


def test_what_cannot_be_leaves_all_as_it_was(movie):
    operator = create("regions", SPEC, regions=[LEFT, RIGHT])
    for regions in ([[[1, 1], [2, 2]]], [[[90, 90], [90, 99], [99, 99]]], "cells.npy", []):
        with pytest.raises(ConfigError):
            operator.change(replace(operator.params, regions=regions))
    whole = feed(create("regions", SPEC, regions=[LEFT, RIGHT]), movie, 0, 70)
    np.testing.assert_array_equal(feed(operator, movie, 0, 70)["mean"], whole["mean"])


@pytest.mark.parametrize("given", ["polygons", "masks.npy"])
def test_a_rerun_with_its_events_and_a_run_that_resumes_give_the_same_bits(movie, given, tmp_path):
    np.save(tmp_path / "movie.npy", movie[:200])
    np.save(tmp_path / "masks.npy", scene(7)[1])
    regions = f'"{tmp_path / given}"' if given.endswith("npy") else f"[{LEFT}, {RIGHT}]"
    params = f"{{ regions = {regions}, interval_s = {INTERVAL_S}, f0_window_s = 6.4 }}"
    config = parse_config(f'[[step]]\nkind = "regions"\nparams = {params}\n[record]\nraw = true')

    def run(folder, source=tmp_path / "movie.npy", **options):
        with open_source(str(source)) as opened:
            engine = Engine(opened, config, folder, **options)
            engine.start()
            assert engine.wait(30)
        assert engine.error is None
        return open_session(folder)

    changes = [Change(80, "regions", "regions", [LEFT, MOVED, THIRD])]
    first = run(tmp_path / "one", changes=changes)
    said = [event for event in first.events if event["event"] == "set"]
    assert [(event["frame"], event["value"]) for event in said] == [(80, [LEFT, MOVED, THIRD])]
    values = first.values("regions")
    assert values["ids"].tolist() == [0, 1, 2]
    assert (values["mean"][:80, 2] == 0).all()
    assert (values["mean"][80:, 2] > 0).all()
    run(tmp_path / "stopped", changes=changes, max_frames=120)
    for again in (run(tmp_path / "rerun", first.path), run(tmp_path / "stopped", resume=True)):
        for name, array in again.values("regions").items():
            np.testing.assert_array_equal(array, values[name])
