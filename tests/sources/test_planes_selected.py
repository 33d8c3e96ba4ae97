"""Planes of files by name and number, what is not there, and images that are missing in one of them."""

import numpy as np
import pytest
import tifffile
from written_planes import MOVIE, C, T, Z, collected, images_of_micro_manager, movie, ome

from streamfluo import SourceError, open_source
from tests.small_recordings import write_ndtiff


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
