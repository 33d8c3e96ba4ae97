"""Cells of another day as seeds: laid where today's field has them, or refused with the evidence."""

import numpy as np
import pytest
from animals import seen_day

from streamfluo import ConfigError, Spec, create
from streamfluo.calcium.extract.first_frames import FirstFrames
from streamfluo.calcium.extract.matched_seeds import matched_seeds
from streamfluo.calcium.extract.seeds import Seeds, to_be_matched


def seeds_of(seen):
    day = seen.day
    images = tuple(day.footprints.toarray().T.reshape(-1, *day.shape).astype(np.float32))
    return Seeds(images, tuple(day.ids.tolist()), int(day.ids.max()) + 1, "monday", day.image, 1.0)


def frames_of(seen):
    frames, rng = FirstFrames(seen.day.shape), np.random.default_rng(3)
    for n in range(6):
        frames.append(n, (seen.day.image + rng.normal(0, 0.3, seen.day.shape)).astype(np.float32))
    return frames


@pytest.fixture(scope="module")
def monday():
    return seen_day(75, 1, day_warp_px=0.2)


def test_seeds_lie_where_their_cells_are_today(monday):
    tuesday = seen_day(75, 2, day_warp_px=0.2)
    found = matched_seeds(seeds_of(monday), frames_of(tuesday))
    assert not found.mismatch
    assert {*found.seeds.ids} | {*found.refused} == {*monday.day.ids.tolist()}
    assert {*found.refused.values()} <= {"it lies outside this field"}
    cell = dict(zip(monday.day.ids.tolist(), monday.cells.tolist(), strict=True))
    place = dict(zip(tuesday.cells.tolist(), tuesday.day.centres_px, strict=True))
    y, x = np.mgrid[: monday.day.shape[0], : monday.day.shape[1]]
    errors = [
        np.hypot(
            (image * y).sum() / image.sum() - place[cell[n]][0], (image * x).sum() / image.sum() - place[cell[n]][1]
        )
        for n, image in zip(found.seeds.ids, found.seeds.images, strict=True)
        if cell[n] in place
    ]
    assert len(errors) > 15
    assert np.median(errors) < 1


def test_of_another_field_no_seed_is_taken_and_no_id_is_given_again(monday):
    seeds = seeds_of(monday)
    found = matched_seeds(seeds, frames_of(seen_day(76, 2)))
    assert found.seeds.ids == found.seeds.images == ()
    assert found.seeds.next_id == seeds.next_id
    assert {*found.refused} == {*seeds.ids}
    assert "this field does not match that of monday: correlation" in found.mismatch


def test_seeds_of_another_pixel_size_are_refused(monday):
    with pytest.raises(
        ConfigError, match=r"pixels of the seeds are 1 µm, of the frames 1\.6 µm; was it another objective"
    ):
        to_be_matched(seeds_of(monday), Spec((96, 96), "uint16", pixel_um=1.6))


def test_only_a_session_can_be_matched():
    with pytest.raises(ConfigError, match=r"match_seeds is for seeds that are a session"):
        create("extract", Spec((24, 24), "uint16", 0.03), init="seeded", seeds=[[4, 5]], match_seeds=True)
