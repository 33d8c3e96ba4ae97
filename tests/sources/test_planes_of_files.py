"""Several planes of a recording as one stream: whatever wrote the file, each image comes in its plane, at its time."""

import numpy as np
import pytest
import tifffile
from written_planes import MOVIE, SHAPE, WRITERS, C, T, Z, collected, expected, imagej, movie, ome, query, zarr_array

from streamfluo import SourceError, open_source
from streamfluo.sources import planes as planes_module
from tests.small_recordings import write_ndtiff
from tests.sources.test_planes_of_tiffs import ome_folder


@pytest.mark.parametrize("name", WRITERS)
def test_all_planes_of_a_file_come_bit_for_bit_each_with_its_channel_and_slice(tmp_path, name):
    write, channels, coloured, z_step_um, interval_s = WRITERS[name]
    uri = write(tmp_path)
    with open_source(query(uri, "planes=all")) as source:
        spec, found = source.spec, collected(source)
        assert sorted(spec.plane_names) == sorted(f"{c}/{z}" for c in channels for z in range(Z))
        assert source.series.frames == T * C * Z
        for plane in spec.planes:
            c = channels.index(plane.channel)
            assert np.array_equal(movie(found[plane.name]), expected(name, c, plane.z)), plane.name
            assert plane.z_um == (None if z_step_um is None else z_step_um * plane.z)
            assert plane.colour == (("#ff0000", "#00ff00")[c] if coloured else "")
        assert spec.interval_s == (interval_s if interval_s is None else pytest.approx(interval_s))


@pytest.mark.parametrize("name", WRITERS)
def test_a_plane_of_several_is_what_it_is_alone(tmp_path, name):
    uri, channels = WRITERS[name][0](tmp_path), WRITERS[name][1]
    with open_source(query(uri, f"planes={channels[1]}/2&frames=2:8&roi=4:12,:10")) as alone:
        assert alone.spec.planes == ()
        assert alone.series.frames == 6
        pixels = np.concatenate([block.pixels for block in alone.blocks(4)])
    with open_source(query(uri, "channel=1&z=2&frames=2:8&roi=4:12,:10")) as before:
        assert np.array_equal(pixels, np.concatenate([block.pixels for block in before.blocks(5)]))
        assert before.spec.channel == alone.spec.channel
    assert np.array_equal(pixels, expected(name, 1, 2)[2:8, 4:12, :10])


@pytest.mark.parametrize("name", WRITERS)
def test_seeking_and_cutting_otherwise_changes_no_bit(tmp_path, name):
    uri = WRITERS[name][0](tmp_path)
    with open_source(query(uri, "planes=all")) as source:
        whole = {plane: movie(images) for plane, images in collected(source, 32).items()}
        for index, max_frames in ((5, 1), (0, 2), (7, 32), (3, 3)):
            next(iter(source.blocks(max_frames)), None)  # what was read ahead is dropped
            source.seek(index)
            for plane, images in collected(source, max_frames).items():
                assert list(images) == list(range(index, T))
                assert np.array_equal(np.stack(list(images.values())), whole[plane][index:])


# The order of blocks


def test_planes_come_in_the_order_of_acquisition_for_each_run_of_time_points(tmp_path):
    with open_source(f"{imagej(tmp_path)}?planes=all") as source:
        assert source.spec.plane_names == ("0/0", "1/0", "0/1", "1/1", "0/2", "1/2")
        order = [(block.index, len(block), block.plane) for block in source.blocks(4)]
    rounds = ((0, 4), (4, 4), (8, 1))
    assert order == [(start, count, plane) for start, count in rounds for plane in source.spec.plane_names]
    with open_source(f"{ome(tmp_path)}?planes=all") as source:
        assert source.spec.plane_names == ("red/0", "red/1", "red/2", "green/0", "green/1", "green/2")


def test_who_takes_one_block_at_a_time_misses_no_plane(tmp_path):
    with open_source(f"{imagej(tmp_path)}?planes=all") as source:
        blocks = [next(iter(source.blocks(n))) for n in (4, 4, 2, 4, 2, 1, 4, 4, 4)]
    assert [(b.plane, b.index, len(b)) for b in blocks] == [
        ("0/0", 0, 4), ("1/0", 0, 4), ("0/1", 0, 2), ("0/1", 2, 2), ("1/1", 0, 2), ("1/1", 2, 1), ("1/1", 3, 1),
        ("0/2", 0, 4), ("1/2", 0, 4),
    ]  # fmt: skip


def test_times_are_those_of_the_time_point(tmp_path):
    with open_source(f"{ome(tmp_path)}?planes=all&frames=2:") as source:
        for block in source.blocks(3):
            assert block.times_ns.tolist() == [200_000_000 * t for t in range(block.index, block.stop)]


def ome_with_times(folder, at_s, **options):
    """Volumes whose images each have a time; tifffile writes them in the order of the axes."""
    facts = {"DeltaT": [1e3 * t for t in at_s.ravel().tolist()], "DeltaTUnit": ["ms"] * at_s.size}
    meta = {"axes": "TCZYX", "Channel": {"Name": ["red", "green"]}, "Plane": facts}
    tifffile.imwrite(folder / "m.ome.tif", MOVIE, photometric="minisblack", ome=True, metadata=meta, **options)
    return folder / "m.ome.tif"


def test_where_each_image_has_a_time_each_plane_has_its_own(tmp_path):
    at_s = 2 + np.cumsum(np.random.default_rng(2).uniform(0.01, 0.02, T * C * Z)).reshape(T, C, Z)
    path = ome_with_times(tmp_path, at_s)
    with open_source(f"{path}?planes=all") as source:
        assert source.spec.interval_s == pytest.approx(float(np.median(np.diff(at_s, axis=0))))
        for block in source.blocks(4):
            c, z = ("red", "green").index(block.channel), block.z
            expected_ns = (at_s[block.index : block.stop, c, z] - at_s[0, 0, 0]) * 1e9
            assert block.times_ns == pytest.approx(expected_ns, abs=2)
    with open_source(f"{path}?channel=green&z=1&frames=3:") as source:
        times = np.concatenate([block.times_ns for block in source.blocks()])
    assert times == pytest.approx((at_s[3:, 1, 1] - at_s[3, 1, 1]) * 1e9, abs=2)


def test_times_that_go_back_say_nothing(tmp_path):
    at_s = np.arange(T * C * Z).reshape(T, C, Z) * 0.01
    at_s[4, 1, 1] = 0
    with open_source(f"{ome_with_times(tmp_path, at_s)}?planes=all") as source:
        assert source.spec.interval_s is None
        assert all(not block.times_ns.any() for block in source.blocks())


# Memory, and what is read


@pytest.mark.parametrize(("images_in_memory", "rounds"), [(1, [1] * T), (6, [1] * T), (12, [2, 2, 2, 2, 1])])
def test_no_more_is_read_at_once_than_a_block_may_hold(tmp_path, monkeypatch, images_in_memory, rounds):
    limit = images_in_memory * MOVIE[0, 0, 0].nbytes
    monkeypatch.setattr(planes_module, "MAX_BLOCK_BYTES", limit)
    with open_source(f"{ome(tmp_path)}?planes=all") as source:
        held = []
        read = source._images
        monkeypatch.setattr(
            source, "_images", lambda parts, window: held.append(sum(map(len, parts))) or read(parts, window)
        )
        blocks = list(source.blocks(32))
    assert [len(block) for block in blocks if block.plane == "red/0"] == rounds
    assert max(held) <= images_in_memory
    assert sum(held) == T * C * Z


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
def test_no_page_is_read_twice(tmp_path, monkeypatch, options):
    with open_source(f"{ome(tmp_path, **options)}?planes=all") as source:
        read, numbers = source._planes, []
        monkeypatch.setattr(source, "_planes", lambda n, window: numbers.extend(n.tolist()) or read(n, window))
        collected(source)
    assert sorted(numbers) == list(range(T * C * Z))


@pytest.mark.parametrize("chunks", [(4, 2, 3, 8, 24), (1, 2, 3, *SHAPE), (2, 1, 1, *SHAPE)])
def test_no_chunk_of_a_zarr_is_decoded_twice(tmp_path, monkeypatch, chunks):
    zarr = pytest.importorskip("zarr")
    path, wanted = zarr_array(chunks)(tmp_path), []
    get = zarr.storage.LocalStore.get

    async def counted(self, key, *rest, **options):
        wanted.append(key)
        return await get(self, key, *rest, **options)

    with open_source(f"{path}?planes=all") as source:
        monkeypatch.setattr(zarr.storage.LocalStore, "get", counted)
        collected(source, 4)
    held = [key for key in wanted if "/c/" in key]
    assert len(held) == len(set(held)) == np.prod([-(-n // c) for n, c in zip(MOVIE.shape, chunks, strict=True)])


def test_slices_of_an_ndtiff_have_the_depths_that_were_meant_and_the_interval_is_that_of_a_plane(tmp_path):
    images = {(("time", t), ("z", z)): MOVIE[t, 0, z] for t, z in np.ndindex(T, Z)}
    facts = {axes: {"ElapsedTime-ms": 100.0 * axes[0][1] + 20 * axes[1][1], "ZPosition_um_Intended": 0.4 * axes[1][1]}
             for axes in images}  # fmt: skip
    with open_source(f"{write_ndtiff(tmp_path / 'm', images, facts)}?planes=all") as source:
        assert [plane.z_um for plane in source.spec.planes] == pytest.approx([0, 0.4, 0.8])
        assert source.spec.interval_s == pytest.approx(0.1)


def test_positions_are_no_planes(tmp_path):
    images = {(("position", p), ("time", t), ("channel", c)): MOVIE[t, c, p] for p, t, c in np.ndindex(2, 3, C)}
    folder = write_ndtiff(tmp_path / "m", images)
    for way in ({"planes": True}, {}):
        with pytest.raises(SourceError, match=r"several positions: 0, 1; select one: m\?position=0"):
            open_source(folder, **way)


@pytest.mark.parametrize("interleaved", [False, True])
def test_pages_that_ome_xml_lays_over_files_are_planes(tmp_path, interleaved):
    ome_folder(tmp_path, interleaved)
    with open_source(tmp_path, planes=True) as source:
        assert source.spec.plane_names == ("Red/0", "Green/0")
        found = collected(source, 7)
        source.seek(9)
        assert [(b.plane, b.index, len(b)) for b in source.blocks(32)] == [("Red/0", 9, 11), ("Green/0", 9, 11)]
    for number, name in enumerate(("Red/0", "Green/0")):
        assert movie(found[name])[:, 3, 5].tolist() == list(range(100 + 100 * number, 120 + 100 * number))


@pytest.mark.parametrize("key", ["channel", "z", "planes", "frames"])
def test_a_selection_without_end_is_refused_in_one_line(tmp_path, key):
    with pytest.raises(SourceError, match=f"{key}=1+… is 5000 characters long; 4000 are the most"):
        open_source(f"{ome(tmp_path)}?{key}={'1' * 5000}")
