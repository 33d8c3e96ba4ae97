"""What `extract` computes of whole frames on a card: the processor's kernels', to the bit."""

import numpy as np
import pytest

from streamfluo import Block, Spec
from streamfluo.calcium.extract.background import Background
from streamfluo.calcium.extract.buffer import Buffer
from streamfluo.calcium.extract.card_buffer import CardBuffer
from streamfluo.calcium.extract.card_detection import CardDetector
from streamfluo.calcium.extract.card_frame import compared_step, frames_in
from streamfluo.calcium.extract.card_memory import CardMemory
from streamfluo.calcium.extract.card_ring import CardRing
from streamfluo.calcium.extract.components import Components
from streamfluo.calcium.extract.detection import Detector
from streamfluo.calcium.extract.extraction import BIN
from streamfluo.calcium.extract.params import ExtractParams, box_of, ring_radius_px_of
from streamfluo.calcium.extract.ring_background import RingBackground
from streamfluo.calcium.kernels.demixing import project
from streamfluo.core.card_block import on_device
from streamfluo.testing import host_card
from streamfluo.testing.strict_card import StrictCard

WINDOW = 20
NO_RING = np.zeros((1, 1), np.float32)
# Shape, type, background modes, components: odd sides, one row, none, one, more than a block has threads.
SCENES = [
    ((37, 53), "uint16", 2, 9),
    ((37, 53), "float32", 3, 300),
    ((1, 70), "float64", 1, 3),
    ((33, 5), "int16", 4, 1),
    ((16, 16), "uint8", 2, 0),
]


class Both:
    """The same extraction's arrays on the host and on a card."""

    def __init__(self, shape, dtype, modes, count, background="low_rank", seed=1):
        self.rng = rng = np.random.default_rng(seed)
        self.spec, self.card = Spec(shape, dtype), StrictCard()
        params = ExtractParams(
            neuron_sigma_px=1.5, window_frames=WINDOW, background_components=modes, background=background
        )
        box, self.backgrounds, self.cells, buffers, self.rings = box_of(params, shape), [], [], [], []
        images = rng.uniform(0.2, 1, (count, *box)) * (rng.random((count, *box)) < 0.5)
        corners = rng.integers(0, np.array(shape) - np.array(box) + 1, (count, 2))
        corners[:1], corners[1:2] = 0, np.array(shape) - np.array(box)  # at the edges
        pictures = rng.normal(100, 5, shape), rng.uniform(1, 3, shape), rng.normal(0, 0.1, (modes, *shape))
        stored = [rng.integers(-300, 300, (n, *shape)) for n in (WINDOW, 40)]
        levels = {name: rng.normal(0, 3, (count, *size)) for name, size in LEVELS.items()}
        for _ in range(2):
            scene, buffer = Background(shape, modes), Buffer(shape, modes, WINDOW, BIN)
            scene.mean[...], scene.noise[...], scene.modes[...] = pictures
            scene.noise[-1, 2:4] = 0
            np.divide(1, scene.noise, out=scene.weight, where=scene.noise > 0)
            scene.modes *= scene.weight > 0
            buffer.frames[...], buffer.bins[...] = stored
            buffer.modes[...], buffer.count, buffer.settled = 0.5, 65, 52
            cells = Components(shape, box, modes, WINDOW, 0.0)
            for corner, image in zip(corners.tolist(), images, strict=True):
                cells.add(tuple(corner), image.astype(np.float32), scene, 0)
            for name, values in levels.items():
                cells[name][...] = values
            self.backgrounds.append(scene), self.cells.append(cells), buffers.append(buffer)
            ring = RingBackground(shape, ring_radius_px_of(params), modes)
            ring.initialise(pictures[0], [], scene)
            self.rings.append(ring)
        self.memory = CardMemory(self.card, params, self.spec, BIN)
        self.here, self.there = buffers[0], CardBuffer(buffers[1], self.memory, self.backgrounds[1], self.cells[1])

    def frames(self, n):
        """Frames of the type, of floats with a rim, a hole and a hot pixel; where each device takes them."""
        movie = self.rng.normal(100, 6, (n, *self.spec.shape)).clip(0).astype(self.spec.dtype)
        movie[:, 0, :2] = 120
        if movie.dtype.kind == "f":
            for t in range(n):
                movie[t, :, : self.rng.integers(1, 6)] = movie[t, -1:, 3:5] = np.nan
            movie[0, 0, 0] = 1e12
        block = Block(0, np.arange(n), movie)
        return frames_in(block, None), frames_in(on_device(block, self.card), self.memory)

    def of_both(self, name, *arguments):
        """What a method of both buffers gives, called with what each knows."""
        for buffer, scene, cells in zip((self.here, self.there), self.backgrounds, self.cells, strict=True):
            yield getattr(buffer, name)(
                *(scene if a is Background else cells if a is Components else a for a in arguments)
            )


LEVELS = {"bin_sum": (), "activity": (), "history": (WINDOW,)}


@pytest.fixture(params=SCENES, ids=str)
def both(request):
    return Both(*request.param)


def test_a_frame_is_whitened_to_the_same_bits_and_projected_to_the_same_products(both):
    mode = both.rng.normal(0, 4, len(both.backgrounds[0].modes))
    for here, there in zip(*both.frames(3), strict=True):
        pixels, scale, of_modes = both.here.whitened(here, both.backgrounds[0], (mode, NO_RING), both.cells[0])
        found = both.there.whitened(there, both.backgrounds[1], (mode, NO_RING), both.cells[1])
        expected = np.empty(both.cells[0].count)
        project(pixels, scale, both.cells[0].footprints, expected)
        np.testing.assert_array_equal(both.there.state()["buffer_frames"], both.here.frames)
        assert np.abs(pixels).max() > 50
        np.testing.assert_array_equal(found[0], expected)
        np.testing.assert_array_equal(found[1], of_modes)
        both.here.count += 1
        both.there.count += 1


def test_a_change_of_footprints_and_mean_is_seen_by_the_next_frame(both):
    if not both.cells[0].count:
        pytest.skip("there is no footprint to change")
    (here, *_), (there, *_) = both.frames(1)
    change = both.rng.normal(0, 1, both.cells[0].box_shape).astype(np.float32)
    for scene, cells in zip(both.backgrounds, both.cells, strict=True):
        cells.level[:] = 2
        cells.change(cells.count - 1, change, scene)
        scene.add_to_mean(cells.origin[0], 3 * change)
    mode = np.zeros(len(both.backgrounds[0].modes))
    both.here.whitened(here, both.backgrounds[0], (mode, NO_RING), both.cells[0])
    found, _ = both.there.whitened(there, both.backgrounds[1], (mode, NO_RING), both.cells[1])
    np.testing.assert_array_equal(both.there.state()["buffer_frames"], both.here.frames)
    expected = np.empty(both.cells[0].count)
    project(both.here.frames[both.here.slot].reshape(-1), 1 / 16, both.cells[0].footprints, expected)
    np.testing.assert_array_equal(found, expected)


def test_the_residual_of_a_bin_is_the_same_bits_in_the_boxes_and_in_bins_of_2_by_2(both):
    sums, small = (
        both.rng.normal(0, 9, len(both.backgrounds[0].modes)),
        np.zeros((2, *both.memory.maps.binned.shape), np.float32),
    )
    (whole, at), (boxes, own) = (
        buffer.residual_of_bin(cells, scene, sums, binned)
        for buffer, cells, scene, binned in zip(
            (both.here, both.there), both.cells, both.backgrounds, small, strict=True
        )
    )
    h, w = both.cells[0].box_shape
    for k in range(both.cells[0].count):
        (y, x), (v, u) = at[k], own[k]
        np.testing.assert_array_equal(boxes[v : v + h, u : u + w], whole[y : y + h, x : x + w])
    np.testing.assert_array_equal(both.there.state()["binned"], small[0])
    np.testing.assert_array_equal(both.there.state()["buffer_bins"], both.here.bins)
    np.testing.assert_array_equal(both.there.newest_bin(), both.here.newest_bin())


def test_a_component_is_subtracted_from_the_bins_and_its_box_in_them_read_to_the_same_bits(both):
    cells = both.cells[0]
    k, box = cells.count - 1, cells.box_shape
    activity = 3000 * both.rng.normal(0, 1, len(both.here.bin_order()))  # beyond what 16 bits hold
    if k >= 0:
        list(both.of_both("subtract", Components, k, activity))
        assert (np.abs(both.here.bins.astype(int)) == 32767).any()
    np.testing.assert_array_equal(both.there.state()["buffer_bins"], both.here.bins)
    corner = tuple((np.array(both.spec.shape) - box).tolist())
    (bins, order, (y, x)), (found, own, (v, u)) = both.of_both("bins_at", corner, box)
    expected = bins[order, y : y + box[0], x : x + box[1]]
    np.testing.assert_array_equal(found[own, v : v + box[0], u : u + box[1]], expected)


def test_the_past_of_a_component_and_products_that_are_missing_are_found_from_stored_frames(both):
    count = both.cells[0].count
    for k in range(min(count, 5)):
        here, there = both.of_both("past_of", Components, Background, k)
        np.testing.assert_array_equal(there, here)
    slots, cells = np.array([3, 0, 19]), both.cells[0]
    products = np.where(both.rng.random((3, count)) < 0.4, np.nan, 7.0)
    expected = products.copy()
    for j, slot in enumerate(slots.tolist()):
        own = np.empty(count)
        project(both.here.frames[slot].reshape(-1), 1 / 16, cells.footprints, own)
        expected[j] = np.where(np.isnan(products[j]), own, 7.0)
    both.there.stored(both.cells[1], slots, products)
    np.testing.assert_array_equal(products, expected)


def test_more_components_than_there_is_room_for_get_room(monkeypatch):
    monkeypatch.setattr("streamfluo.calcium.extract.card_memory._ROOM", 4)
    both = Both((37, 53), "uint16", 2, 3)
    assert both.memory.room == 4
    test_a_frame_is_whitened_to_the_same_bits_and_projected_to_the_same_products(both)
    for scene, cells in zip(both.backgrounds, both.cells, strict=True):
        for k in range(9):
            cells.add((k, 2 * k), np.full(cells.box_shape, 0.1 + 0.1 * k, np.float32), scene, 0)
    test_a_frame_is_whitened_to_the_same_bits_and_projected_to_the_same_products(both)
    test_the_past_of_a_component_and_products_that_are_missing_are_found_from_stored_frames(both)
    assert both.memory.room == 16


@pytest.mark.parametrize("scene", [*SCENES[:4], ((64, 40), "float32", 2, 20)], ids=str)
def test_the_rings_background_is_that_of_the_processor_also_where_bins_are_not_known(scene):
    both = Both(*scene, background="ring")
    ring = CardRing(both.rings[1], both.memory, both.there, both.backgrounds[1])
    for n, (here, there) in enumerate(zip(*both.frames(12), strict=True)):
        for cells in both.cells:
            cells["activity"][:] = n
        expected = both.rings[0].of(here, both.backgrounds[0], both.cells[0])
        found = both.card.get(ring.of(there, both.backgrounds[1], both.cells[1]))
        np.testing.assert_array_equal(found, expected)
        if n % BIN == BIN - 1:
            both.rings[0].update_slopes()
            ring.update_slopes()
    assert both.rings[0].state()["ring_slope"].any() or min(both.spec.shape) < 30
    for name, array in both.rings[0].state().items():
        np.testing.assert_array_equal(ring.state()[name], array, err_msg=name)


def test_what_the_host_asks_of_frames_is_every_so_many_pixels_and_the_bins_that_are_half_known():
    both = Both((64, 83), "float32", 2, 0, background="ring")
    here, there = both.frames(5)
    step = compared_step(both.spec.shape)
    rows, columns = both.memory.grid
    assert rows * columns > 7
    for frame, told in zip(here, there, strict=True):
        np.testing.assert_array_equal(told.sampled, frame[::step, ::step])
        seen = np.isfinite(frame) & (both.backgrounds[0].weight > 0)
        for j in range(rows):
            for c in range(columns):
                part = seen[j * 64 // rows : (j + 1) * 64 // rows, c * 83 // columns : (c + 1) * 83 // columns]
                assert told.known[j, c] == (part.mean() >= 0.5)
    assert not np.all([told.known.all() for told in there])


@pytest.mark.parametrize(
    ("shape", "hidden"), [((64, 50), 5), ((230, 240), 0), ((231, 240), 9), ((9, 70), 0), ((1, 70), 0)], ids=str
)
def test_residual_maps_and_the_places_that_peak_in_them_are_the_same_bits(shape, hidden):
    """Also of pixels that no frame shows, places that are suppressed for a while, and more of them than are asked for.

    Of large maps every fifth row and column tells the noise."""
    both = Both(shape, "uint16", 2, 0)
    here = Detector(shape, (1.5, 2.4), 0.6)
    weight = np.ones(shape, bool)
    weight[:, :hidden] = False
    here.see(weight)
    again = Detector(shape, (1.5, 2.4), 0.6)
    again.see(weight)
    rng, binned = both.rng, np.zeros(here.shape, np.float32)
    there = CardDetector(again, both.memory, binned)
    places, found = [rng.integers(0, n, 12) for n in here.shape], 0
    for n in range(30):
        binned = rng.normal(0, 1, here.shape).astype(np.float32)
        binned[tuple(places)] += 25 * (n % 6 == 3)
        both.memory.maps.binned[...] = both.card.put(binned)
        here.add_bin(binned)
        there.add_bin(None)
        for limit in (50, 3):
            expected = here.candidates(limit)
            assert there.candidates(limit) == expected
        found += len(expected)
        for detector in (here, there):
            detector.suppress_all(expected)
        state = there.state()
        for name, array in here.state().items():
            np.testing.assert_array_equal(state[name], array, err_msg=f"{name} of bin {n}")
    assert found >= 3 or shape[0] == 1
    np.testing.assert_array_equal(there.image(shape), here.image(shape))


def test_threads_and_blocks_may_come_in_any_order(monkeypatch):
    """Backwards here: what one of them leaves to another before all have met would be seen."""
    words = host_card.WORDS
    for loop in ("long long i = 0; i < (n); ++i", "int b = 0; b < (n); ++b", "int t = 0; t < THREADS; ++t"):
        name, last = loop.split(" = ")[0], loop.split("< ")[1].split(";")[0]
        assert loop in words
        words = words.replace(loop, f"{name} = {last} - 1; {name.split()[-1]} >= 0; --{name.split()[-1]}")
    monkeypatch.setattr(host_card, "WORDS", words)
    both = Both((37, 53), "float32", 3, 300)
    test_a_frame_is_whitened_to_the_same_bits_and_projected_to_the_same_products(both)
    test_the_residual_of_a_bin_is_the_same_bits_in_the_boxes_and_in_bins_of_2_by_2(both)
    test_a_change_of_footprints_and_mean_is_seen_by_the_next_frame(Both((37, 53), "float32", 3, 300))
    test_a_component_is_subtracted_from_the_bins_and_its_box_in_them_read_to_the_same_bits(
        Both((37, 53), "float32", 3, 300)
    )
    test_the_rings_background_is_that_of_the_processor_also_where_bins_are_not_known(((64, 40), "float32", 2, 20))
    test_residual_maps_and_the_places_that_peak_in_them_are_the_same_bits((64, 50), 5)
