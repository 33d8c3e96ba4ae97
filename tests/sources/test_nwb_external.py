"""NWB series whose frames lie in other files: followed inside the NWB's own folder, and nowhere else."""

import numpy as np
import pytest
import tifffile

from streamfluo import SourceError, open_source

h5py = pytest.importorskip("h5py", reason="needs the extra [formats]")

MOVIE = np.random.default_rng(5).integers(0, 60000, (20, 12, 16), np.uint16)


def nwb(path, files, series="acquisition/S", **facts):
    with h5py.File(path, "a") as file:
        group = file.create_group(series)
        group.attrs["neurodata_type"] = "ImageSeries"
        group["format"] = "external"
        group.create_dataset("data", (0, 0, 0), "u1")
        group.create_dataset("external_file", (len(files),), h5py.string_dtype(), data=files or None)
        if "rate" in facts:
            group["starting_time"] = 0.0
            group["starting_time"].attrs["rate"] = facts["rate"]
        if "timestamps" in facts:
            group["timestamps"] = facts["timestamps"]
    return path


def parts(folder):
    """Three files of the movie, one of them in a folder below."""
    (folder / "below").mkdir(parents=True)
    names = ["a.tif", "below/b.tif", "c.tif"]
    for name, part in zip(names, np.split(MOVIE, [7, 15]), strict=True):
        tifffile.imwrite(folder / name, part, photometric="minisblack")
    return names


@pytest.mark.parametrize("max_frames", [3, 32])
def test_files_in_turn_are_one_movie(tmp_path, max_frames):
    path = nwb(tmp_path / "m.nwb", parts(tmp_path), rate=25.0)
    for uri in (path, f"{path}?dataset=/acquisition/S"):
        with open_source(uri) as source:
            blocks = list(source.blocks(max_frames))
            assert np.array_equal(np.concatenate([b.pixels for b in blocks]), MOVIE)
            assert source.spec.interval_s == pytest.approx(0.04)
            source.seek(13)
            assert np.array_equal(np.concatenate([b.pixels for b in source.blocks(max_frames)]), MOVIE[13:])
    with open_source(f"{path}?frames=5:17&roi=2:6,3:9") as source:
        assert np.array_equal(np.concatenate([b.pixels for b in source.blocks(4)]), MOVIE[5:17, 2:6, 3:9])


def test_timestamps_of_the_nwb_are_those_of_the_frames(tmp_path):
    at_s = np.cumsum(np.random.default_rng(1).uniform(0.03, 0.05, 20))
    with open_source(nwb(tmp_path / "m.nwb", parts(tmp_path), timestamps=at_s)) as source:
        times = np.concatenate([block.times_ns for block in source.blocks(4)])
    assert times == pytest.approx((at_s - at_s[0]) * 1e9, abs=1)


def test_what_is_in_the_files_is_in_the_series_uid(tmp_path):
    path = nwb(tmp_path / "m.nwb", parts(tmp_path))
    with open_source(path) as source:
        before = source.series.uid
    tifffile.imwrite(tmp_path / "c.tif", MOVIE[15:] + 1, photometric="minisblack")
    with open_source(path) as source:
        assert source.series.uid != before


def test_frames_in_the_nwb_go_before_films_of_behaviour_beside_it(tmp_path):
    path = nwb(tmp_path / "m.nwb", parts(tmp_path), "acquisition/behaviour")
    with h5py.File(path, "a") as file:
        series = file.create_group("acquisition/S")
        series.attrs["neurodata_type"] = "TwoPhotonSeries"
        series["data"] = MOVIE[:4].transpose(0, 2, 1)
    with open_source(path) as source:
        assert source.series.frames == 4
    with open_source(f"{path}?dataset=acquisition/behaviour") as source:
        assert source.series.frames == 20


def outside(folder):
    parts(folder)
    (folder / "in").mkdir()
    return nwb(folder / "in" / "m.nwb", ["../a.tif"])


def absolute(folder):
    parts(folder)
    (folder / "in").mkdir()
    return nwb(folder / "in" / "m.nwb", [str(folder / "a.tif")])


def linked(folder):
    parts(folder)
    (folder / "in").mkdir()
    (folder / "in" / "a.tif").symlink_to(folder / "a.tif")
    return nwb(folder / "in" / "m.nwb", ["a.tif"])


def itself(folder):
    return nwb(folder / "m.nwb", ["m.nwb"])


def several(folder):
    files = parts(folder)
    nwb(folder / "m.nwb", files, "acquisition/A")
    return nwb(folder / "m.nwb", files, "acquisition/B")


def unlike(folder):
    files = parts(folder)
    tifffile.imwrite(folder / "c.tif", MOVIE[:, :5], photometric="minisblack")
    return nwb(folder / "m.nwb", files)


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (outside, "lie outside this file's folder, '../a.tif'; move them beside it"),
        (absolute, "lie outside this file's folder"),
        (linked, "lie outside this file's folder"),
        (itself, "m.nwb, a kind of file that is not read from an NWB"),
        (several, "series of images: /acquisition/A, /acquisition/B; name one: m.nwb?dataset=/path"),
        (unlike, "c.tif is (5, 16) uint16, a.tif (12, 16) uint16; frames of one series are alike"),
        (lambda f: nwb(f / "m.nwb", ["gone.tif"]), "a file of its frames is missing, 'gone.tif'"),
        (lambda f: nwb(f / "m.nwb", ["https://example.org/a.tif"]), "is missing, 'https://example.org/a.tif'"),
        (lambda f: nwb(f / "m.nwb", ["a" * 5000]), "a file of its frames is missing, 'aaaa"),
        (lambda f: nwb(f / "m.nwb", []), "a list of 1 to 10000 names"),
    ],
    ids=lambda v: v if isinstance(v, str) else v.__name__,
)
def test_what_is_not_followed_is_one_line(tmp_path, write, says):
    with pytest.raises(SourceError) as refused:
        open_source(write(tmp_path))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 600
