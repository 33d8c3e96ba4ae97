"""Several planes of a recording as one stream: whatever wrote the file, each image comes in its plane, at its time."""

from itertools import product

import numpy as np
import pytest
import tifffile

from streamfluo import SourceError, open_source
from streamfluo.sources import planes as planes_module
from tests.small_recordings import write_ndtiff
from tests.sources.test_planes_of_tiffs import SHAPE, ome_folder, scanimage

T, C, Z = 9, 2, 3
MOVIE = np.random.default_rng(7).integers(0, 60000, (T, C, Z, *SHAPE), np.uint16)
RED, GREEN = -16776961, 16711935  # #ff0000 and #00ff00, as OME writes them: with alpha, signed


def ome(folder, axes="TCZYX", **options):
    order = ["TCZYX".index(axis) for axis in axes]
    meta = {
        "axes": axes,
        "Channel": {"Name": ["red", "green"], "Color": [RED, GREEN]},
        "PhysicalSizeZ": 5.0,
        "PhysicalSizeZUnit": "µm",
        "TimeIncrement": 0.2,
        "TimeIncrementUnit": "s",
    }
    tifffile.imwrite(
        folder / "m.ome.tif", MOVIE.transpose(order), photometric="minisblack", ome=True, metadata=meta, **options
    )
    return folder / "m.ome.tif"


def imagej(folder):
    meta = {"axes": "TZCYX", "spacing": 5.0, "unit": "um", "finterval": 0.2}
    tifffile.imwrite(folder / "m.tif", MOVIE.transpose(0, 2, 1, 3, 4), imagej=True, metadata=meta)
    return folder / "m.tif"


def scan(folder):
    facts = {
        "hStackManager__enable": "true", "hFastZ__enable": "true", "hStackManager__framesPerSlice": 1,
        "hStackManager__numSlices": Z, "hStackManager__numFramesPerVolumeWithFlyback": Z + 1,
        "hStackManager__stackZStepSize": -5, "hChannels__channelSave": "[1;2]", "hRoiManager__scanFrameRate": 20.0,
    }  # fmt: skip
    pages = [MOVIE[t, c, z].astype("<u2").view("<i2") for t in range(T) for z in range(Z) for c in range(C)]
    numbers = [t * (Z + 1) + z + 1 for t in range(T) for z in range(Z) for _ in range(C)]
    scanimage(folder / "m.tif", pages, numbers, **facts)
    return folder / "m.tif"


def stated(folder):
    tifffile.imwrite(folder / "m.tif", MOVIE.transpose(0, 2, 1, 3, 4).reshape(-1, *SHAPE), photometric="minisblack")
    return f"{folder}/m.tif?axes=tzcyx&channels=2&slices=3"


def images_of_micro_manager(folder):
    for t, c, z in np.ndindex(T, C, Z):
        name = f"img_channel{c:03d}_position000_time{t:09d}_z{z:03d}.tif"
        tifffile.imwrite(folder / name, MOVIE[t, c, z], photometric="minisblack")
    return folder


def stacks_of_channels(folder):
    """Two files of a channel, of five and four time points, with slices inside."""
    for c, part in product(range(C), range(2)):
        stack = MOVIE[5 * part : 5 * part + 5, c]
        tifffile.imwrite(folder / f"rec_Ch{c}_{part:03d}.tif", stack, imagej=True, metadata={"axes": "TZYX"})
    return folder


def zarr_array(chunks, axes="tczyx"):
    def write(folder):
        zarr = pytest.importorskip("zarr")
        group = zarr.open_group(str(folder / "m.zarr"), mode="w")
        data = MOVIE.transpose(["tczyx".index(axis) for axis in axes])
        array = group.create_array("0", shape=data.shape, chunks=chunks, dtype="uint16")
        array[:] = data
        units = {"t": ("time", "second"), "z": ("space", "micrometer"), "c": ("channel", None)}
        named = [{"name": a, "type": units.get(a, ("space", "micrometer"))[0]} for a in axes]
        for entry, axis in zip(named, axes, strict=True):
            if unit := units.get(axis, ("space", "micrometer"))[1]:
                entry["unit"] = unit
        scale = [{"t": 0.2, "c": 1.0, "z": 5.0}.get(axis, 0.5) for axis in axes]
        level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        shown = {"channels": [{"label": "red", "color": "FF0000"}, {"label": "green", "color": "00FF00"}]}
        image = {"multiscales": [{"version": "0.5", "axes": named, "datasets": [level]}], "omero": shown}
        group.attrs["ome"] = image
        return folder / "m.zarr"

    return write


def hdf5(chunks):
    def write(folder):
        h5py = pytest.importorskip("h5py")
        with h5py.File(folder / "m.h5", "w") as file:
            file.create_dataset("movie", data=MOVIE, chunks=chunks, compression="gzip")
        return folder / "m.h5"

    return write


def npy(folder):
    np.save(folder / "m.npy", MOVIE)
    return folder / "m.npy"


def ndtiff(folder):
    images = {
        (("time", t), ("channel", ("red", "green")[c]), ("z", z)): MOVIE[t, c, z] for t, c, z in np.ndindex(T, C, Z)
    }
    return write_ndtiff(folder / "m", images)


# What is written, the names its channels have, whether colours, the z step and the interval are known.
WRITERS = {
    "OME, t c z": (ome, ("red", "green"), True, 5.0, 0.2),
    "OME, z c t": (lambda f: ome(f, "ZCTYX"), ("red", "green"), True, 5.0, 0.2),
    "OME, compressed": (lambda f: ome(f, compression="zlib"), ("red", "green"), True, 5.0, 0.2),
    "ImageJ hyperstack": (imagej, ("0", "1"), False, 5.0, 0.2),
    "ScanImage": (scan, ("0", "1"), False, 5.0, 0.2),
    "pages as stated": (stated, ("0", "1"), False, None, None),
    "Micro-Manager images": (images_of_micro_manager, ("channel000", "channel001"), False, None, None),
    "a folder of stacks": (stacks_of_channels, ("Ch0", "Ch1"), False, None, None),
    "OME-Zarr, chunks of a plane": (zarr_array((1, 1, 1, *SHAPE)), ("red", "green"), True, 5.0, 0.2),
    "OME-Zarr, chunks of volumes": (zarr_array((4, 2, 3, 8, 24)), ("red", "green"), True, 5.0, 0.2),
    "OME-Zarr, c t z": (zarr_array((2, 3, 2, *SHAPE), "ctzyx"), ("red", "green"), True, 5.0, 0.2),
    "HDF5": (hdf5((1, 1, 1, *SHAPE)), ("0", "1"), False, None, None),
    "HDF5, chunks of volumes": (hdf5((4, 2, 3, 8, 8)), ("0", "1"), False, None, None),
    "npy": (npy, ("0", "1"), False, None, None),
    "NDTiff": (ndtiff, ("red", "green"), False, None, 0.05),
}


def query(uri, text):
    return f"{uri}{'&' if '?' in str(uri) else '?'}{text}"


def collected(source, max_frames=4):
    """Each plane's images by time point, from all blocks, which are checked on their way."""
    found = {name: {} for name in source.spec.plane_names}
    for block in source.blocks(max_frames):
        assert len(block) <= max_frames
        assert block.plane in found
        found[block.plane] |= dict(zip(range(block.index, block.stop), block.pixels, strict=True))
    return found


def movie(images):
    assert list(images) == list(range(len(images)))
    return np.stack(list(images.values()))


def expected(name, c, z):
    return MOVIE[:, c, z].view(np.int16) if name == "ScanImage" else MOVIE[:, c, z]


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


# Selections


@pytest.mark.parametrize(
    ("text", "names"),
    {
        "planes=green": ("green/0", "green/1", "green/2"),
        "planes=1": ("green/0", "green/1", "green/2"),
        "planes=red,green/2": ("red/0", "red/1", "red/2", "green/2"),
        "planes=green/2,0/1": ("red/1", "green/2"),
        "planes=all&z=1": ("red/1", "green/1"),
        "planes=all&channel=green": ("green/0", "green/1", "green/2"),
        "planes=all&channel=1&frames=3:5": ("green/0", "green/1", "green/2"),
        "planes=green/0, green/1&channel=green": ("green/0", "green/1"),
    }.items(),
)
def test_planes_are_selected_by_name_and_number(tmp_path, text, names):
    with open_source(f"{ome(tmp_path)}?{text}") as source:
        assert source.spec.plane_names == names
        found = collected(source)
    for name in names:
        c, z = ("red", "green").index(name[:-2]), int(name[-1])
        start, stop = (3, 5) if "frames" in text else (0, T)
        assert np.array_equal(movie(found[name]), MOVIE[start:stop, c, z])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "several planes: time 9, channel 2, z 3 (red, green); select one: m.ome.tif?channel=0&z=0, or all of them"
             ": m.ome.tif?planes=all"),
        ("channel=red", "select one: m.ome.tif?z=0, or all of them: m.ome.tif?planes=all"),
        ("planes=gren", "planes=gren: no plane 'gren'; did you mean 'green'?"),
        ("planes=green/3", "no plane 'green/3'; did you mean 'green/"),
        ("planes=2", "no plane '2'; there is"),
        ("planes=red&channel=green", "no plane 'red'; there is"),
        ("planes=", "planes= names none; planes=all takes all, planes=red/0 one of them"),
        ("planes=all&z=3", "z=3 selects nothing; there is z=0 to 2"),
        ("planes=all&frames=0:10", "frames=0:10 selects nothing; give start:stop within 0:9"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_one_line(tmp_path, text, message):
    with pytest.raises(SourceError) as refused:
        open_source(f"{ome(tmp_path)}?{text}")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_more_planes_than_a_stream_takes_is_one_line_with_the_way_out(tmp_path):
    np.save(tmp_path / "m.npy", np.zeros((2, 70, 8, 8), np.uint16))
    with pytest.raises(SourceError, match=r"70 planes; 64 at most are one stream, select some: m\.npy\?planes=all&z=0"):
        open_source(tmp_path / "m.npy?planes=all")
    with open_source(tmp_path / "m.npy?planes=0/3,0/69") as source:
        assert source.spec.plane_names == ("0/3", "0/69")


@pytest.mark.parametrize("names", [("GFP", "GFP"), ("a/b", "a\tb"), ("", "x")])
def test_channels_of_odd_names_are_planes_all_the_same(tmp_path, names):
    meta = {"axes": "TCYX", "Channel": {"Name": list(names)}}
    tifffile.imwrite(tmp_path / "m.ome.tif", MOVIE[:, :, 0], photometric="minisblack", ome=True, metadata=meta)
    with open_source(tmp_path / "m.ome.tif?planes=all") as source:
        assert len(set(source.spec.plane_names)) == 2
        found = [movie(images) for images in collected(source).values()]
    assert np.array_equal(np.stack(found, 1), MOVIE[:, :, 0])
    for number in (0, 1):
        with open_source(tmp_path / f"m.ome.tif?planes={number}") as source:
            assert np.array_equal(np.concatenate([b.pixels for b in source.blocks()]), MOVIE[:, number, 0])


def test_a_program_that_takes_planes_opens_all_of_them_unasked(tmp_path):
    path = ome(tmp_path)
    with open_source(path, planes=True) as source, open_source(f"{path}?planes=all") as named:
        assert source.series == named.series
        assert source.series.source == "m.ome.tif?planes=all"
        assert source.spec.plane_names == named.spec.plane_names
    with open_source(f"{path}?channel=green", planes=True) as source:
        assert source.spec.plane_names == ("green/0", "green/1", "green/2")
    with open_source(f"{path}?channel=green&z=1", planes=True) as source:
        assert source.spec.planes == ()
        assert source.series.source == "m.ome.tif?channel=green&z=1"
    np.save(tmp_path / "one.npy", MOVIE[:, 0, 0])
    with open_source(tmp_path / "one.npy", planes=True) as source, open_source(tmp_path / "one.npy") as plain:
        assert source.series == plain.series
    with open_source(tmp_path / "one.npy?planes=all") as source:
        assert source.spec.planes == ()


# Missing images


def test_a_missing_image_is_a_gap_of_its_plane_alone(tmp_path):
    lost = {(3, 0), (4, 1), (5, 0), (5, 1), (8, 1)}
    images = {
        (("time", t), ("channel", ("red", "green")[c])): MOVIE[t, c, 0]
        for t, c in np.ndindex(T, C)
        if (t, c) not in lost
    }
    folder = write_ndtiff(tmp_path / "m", images)
    with open_source(f"{folder}?planes=all") as source:
        order = [(block.plane, block.index, len(block)) for block in source.blocks(4)]
        source.seek(0)
        found = collected(source, 9)
    assert order == [
        ("red/0", 0, 3), ("green/0", 0, 4), ("red/0", 4, 1), ("red/0", 6, 2), ("green/0", 6, 2), ("red/0", 8, 1),
    ]  # fmt: skip
    for c, channel in enumerate(("red", "green")):
        assert {t for t in range(T) if t not in found[f"{channel}/0"]} == {t for t, lost_c in lost if lost_c == c}
        assert all(np.array_equal(image, MOVIE[t, c, 0]) for t, image in found[f"{channel}/0"].items())


def test_a_file_that_one_plane_of_a_folder_lacks_is_a_gap_of_it(tmp_path):
    images_of_micro_manager(tmp_path)
    (tmp_path / "img_channel001_position000_time000000004_z002.tif").unlink()
    with open_source(tmp_path, planes=True) as source:
        found = collected(source)
    assert list(found["channel001/2"]) == [0, 1, 2, 3, 5, 6, 7, 8]
    assert np.array_equal(found["channel001/2"][5], MOVIE[5, 1, 2])
    assert all(len(images) == T for name, images in found.items() if name != "channel001/2")


def test_a_time_of_which_no_plane_has_a_file_is_refused_as_in_one_plane(tmp_path):
    images_of_micro_manager(tmp_path)
    for c, z in np.ndindex(C, Z):
        (tmp_path / f"img_channel00{c}_position000_time000000004_z00{z}.tif").unlink()
    with pytest.raises(SourceError, match="files between are missing"):
        open_source(tmp_path, planes=True)


def test_files_that_do_not_pair_up_are_refused(tmp_path):
    for n in range(8):
        tifffile.imwrite(tmp_path / f"m_Ch{1 + n // 4}_{n:03d}.tif", MOVIE[n, 0, 0], photometric="minisblack")
    with pytest.raises(SourceError, match="the files of channel Ch1, m_Ch1_000") as refused:
        open_source(tmp_path, planes=True)
    assert "\n" not in str(refused.value)


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
