"""No axis becomes time in silence: which pages and files of TIFFs are which plane, as writers of all kinds lay them."""

import numpy as np
import pytest
import tifffile
from small_recordings import scanimage

from streamfluo import SourceError, open_source

SHAPE = (16, 24)


def values(uri):
    with open_source(uri) as source:
        assert source.spec.shape == SHAPE
        return np.concatenate([block.pixels for block in source.blocks(7)])[:, 3, 5].tolist(), source.spec


def ramp(start, count, step=1):
    return list(range(start, start + count * step, step))


# Appended and contradicting


@pytest.mark.parametrize(("axes", "key"), [(None, "z"), ("TCYX", "channel"), ("TZYX", "z")])
@pytest.mark.parametrize("chunks", [(10,) * 5, (10, 10, 3)])
def test_chunks_of_several_planes_appended_to_one_file_are_read_whole(tmp_path, axes, key, chunks):
    pages = np.arange(2 * sum(chunks), dtype=np.uint16).reshape(-1, 2, 1, 1) + np.zeros((1, 1, *SHAPE), np.uint16)
    for start, count in zip(np.cumsum((0, *chunks)), chunks, strict=False):
        part = pages[start : start + count]
        meta = {"metadata": {"axes": axes}} if axes else {}
        tifffile.imwrite(tmp_path / "m.tif", part, append=True, photometric="minisblack", **meta)
    for plane in (0, 1):
        assert values(f"{tmp_path}/m.tif?{key}={plane}")[0] == ramp(plane, sum(chunks), 2)
    with pytest.raises(SourceError, match=rf"{key} 2; select one"):
        open_source(tmp_path / "m.tif")


@pytest.mark.parametrize("shape", [(), (1,), (4,)], ids=["frames", "stacks of one", "stacks of four"])
def test_frames_appended_one_by_one_are_a_movie(tmp_path, shape):
    for n in range(8):
        tifffile.imwrite(
            tmp_path / "m.tif", np.full((*shape, *SHAPE), n, np.uint16), append=True, photometric="minisblack"
        )
    assert values(tmp_path / "m.tif")[0] == np.repeat(range(8), max(1, *shape, 1)).tolist()


def header_of_20_in_60(path, channels=2):
    """ImageJ's description names 10 frames of 2 channels, the file has 60 pages."""
    text = f"ImageJ=1.54f\nimages=20\nchannels={channels}\nframes={20 // channels}\nhyperstack=true\n"
    with tifffile.TiffWriter(path) as file:
        for n in range(60):
            page = np.full(SHAPE, n, np.uint16)
            file.write(page, metadata=None, contiguous=False, description=text if n == 0 else None)


def test_pages_that_the_header_does_not_name_are_refused_with_the_readings_there_are(tmp_path):
    header_of_20_in_60(tmp_path / "m.tif")
    with pytest.raises(SourceError) as refused:
        open_source(tmp_path / "m.tif?channel=1")
    assert "name 20 planes" in str(refused.value)
    assert "m.tif?axes=tcyx&channels=2 or m.tif?axes=tyx" in str(refused.value)


@pytest.mark.parametrize(
    ("query", "expected"),
    {
        "axes=tcyx&channel=1": ramp(1, 30, 2),
        "channels=3&channel=2": ramp(2, 20, 3),
        "axes=ctyx&channels=2&channel=1": ramp(30, 30),
        "axes=tzcyx&channels=2&slices=3&channel=1&z=2": ramp(5, 10, 6),
        "channels=2&slices=3&channel=1&z=2": ramp(5, 10, 6),
        "axes=tyx": ramp(0, 60),
    }.items(),
)
def test_a_person_says_what_the_pages_are(tmp_path, query, expected):
    header_of_20_in_60(tmp_path / "m.tif")
    assert values(f"{tmp_path}/m.tif?{query}")[0] == expected


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("axes=cyx&channels=2", "are no axes of a stack; tyx"),
        ("axes=tqyx", "are no axes of a stack; tyx"),
        ("axes=tzyx", "needs slices=, a number up to 60"),
        ("channels=7", "60 pages are not whole time points of channel 7: 4 are left over"),
        ("channels=2", "several planes: time 30, channel 2"),
    ],
)
def test_what_cannot_be_so_is_one_line(tmp_path, query, message):
    header_of_20_in_60(tmp_path / "m.tif")
    with pytest.raises(SourceError) as refused:
        open_source(f"{tmp_path}/m.tif?{query}")
    assert message in str(refused.value)


NO_SHAPES = [
    '{"shape": [0, 16, 24]}', '{"shape": [-5, 16, 24]}', '{"shape": ["a", 16, 24]}', '{"shape": [0.5, 16, 24]}',
    '{"shape": 5}', '{"shape": null}', '{"shape": {}}', '{"shape": [5, 16, 24',
]  # fmt: skip


@pytest.mark.timeout(30)
@pytest.mark.parametrize("text", NO_SHAPES)
def test_an_appended_movie_that_says_nonsense_of_its_shape_is_read_page_by_page(tmp_path, text):
    with tifffile.TiffWriter(tmp_path / "m.tif") as file:
        file.write(np.stack([np.full(SHAPE, n, np.uint16) for n in range(5)]), photometric="minisblack")
        for n in range(5, 8):
            page = np.full(SHAPE, n, np.uint16)
            file.write(page, metadata=None, contiguous=False, description=text if n == 5 else None)
    assert values(tmp_path / "m.tif")[0] == ramp(0, 8)


# ScanImage


def plane(z, t, channel=0):
    return np.full(SHAPE, 1000 * channel + 100 * z + t, np.int16)


STACK = {"hStackManager__enable": "true", "hFastZ__enable": "true", "hStackManager__framesPerSlice": 1}


def volumes(slices, saved, with_flyback):
    return STACK | {
        "hStackManager__numSlices": slices,
        "hStackManager__numFramesPerVolumeWithFlyback": with_flyback,
    }, [(z, t) for t in range(12) for z in range(saved)]


def test_scanimage_gives_its_rate(tmp_path):
    scanimage(tmp_path / "m.tif", [plane(0, t) for t in range(9)], range(1, 10), hScan2D__logAverageFactor=3)
    found, spec = values(tmp_path / "m.tif")
    assert found == ramp(0, 9)
    assert spec.interval_s == pytest.approx(3 / 30)


@pytest.mark.parametrize("flyback", ["none", "saved", "not saved"])
@pytest.mark.parametrize("channels", [1, 2])
def test_scanimage_slices_are_planes_and_flyback_is_none(tmp_path, flyback, channels):
    with_flyback = 4 if flyback == "none" else 6
    facts, places = volumes(4, 6 if flyback == "saved" else 4, with_flyback)
    facts["hChannels__channelSave"] = "[1;2]" if channels == 2 else 1
    pages = [plane(z, t, c) for z, t in places for c in range(channels)]
    numbers = [t * with_flyback + z + 1 for z, t in places for _ in range(channels)]
    scanimage(tmp_path / "m.tif", pages, numbers, **facts)
    query = "&channel=1" if channels == 2 else ""
    for z in range(4):
        found, spec = values(f"{tmp_path}/m.tif?z={z}{query}")
        assert found == ramp(1000 * (channels - 1) + 100 * z, 12)
        assert spec.interval_s == pytest.approx(with_flyback / 30)
    with pytest.raises(SourceError, match="z=0 to 3"):
        open_source(f"{tmp_path}/m.tif?z=4{query}")


def test_scanimage_slow_stacks_have_many_frames_of_a_slice_before_the_next(tmp_path):
    facts = STACK | {"hStackManager__numSlices": 3, "hStackManager__framesPerSlice": 5}
    scanimage(tmp_path / "m.tif", [plane(z, t) for z in range(3) for t in range(5)], range(1, 16), **facts)
    assert values(f"{tmp_path}/m.tif?z=2")[0] == ramp(200, 5)


@pytest.mark.parametrize("number", ["1e308", "1e19", "9" * 400, "Inf", "nan", "-3", "0", "[]", "'a'"])
@pytest.mark.parametrize("key", ["numSlices", "framesPerSlice", "numFramesPerVolumeWithFlyback", "numVolumes"])
def test_scanimage_counts_that_cannot_be_leave_a_movie_of_all_pages(tmp_path, key, number):
    facts = STACK | {"hScan2D__logAverageFactor": "1e300", f"hStackManager__{key}": number}
    scanimage(tmp_path / "m.tif", [plane(0, t) for t in range(9)], range(1, 10), **facts)
    assert values(tmp_path / "m.tif")[0] == ramp(0, 9)


# Folders

NAMES = {
    "Bruker": ("channel", "a-001_Cycle00001_Ch{p}_{n:06d}.tif", ("Ch1", "Ch2")),
    "Micro-Manager files": ("position", "r_MMStack_Pos{p}_{n}.tif", ("Pos1", "Pos2")),
    "Micro-Manager images": (
        "channel",
        "img_channel00{p}_position000_time{n:09d}_z000.tif",
        ("channel001", "channel002"),
    ),
    "slices": ("z", "run_t{n:03d}_z{p}.tif", ("z1", "z2")),
}


@pytest.mark.parametrize("name", NAMES)
def test_files_whose_names_tell_planes_apart_are_not_one_movie(tmp_path, name):
    axis, pattern, labels = NAMES[name]
    for p in (1, 2):
        for n in (1, 2, 3):
            part = 100 * p + np.arange(10 * n, 10 * n + 10, dtype=np.uint16)[:, None, None] + np.zeros(SHAPE, np.uint16)
            tifffile.imwrite(tmp_path / pattern.format(p=p, n=n), part, photometric="minisblack")
    with pytest.raises(SourceError, match=f"{axis} {', '.join(labels)}; select one"):
        open_source(tmp_path)
    for number, label in enumerate(labels):
        for way in (number, label):
            assert values(f"{tmp_path}?{axis}={way}")[0] == ramp(110 + 100 * number, 30)
    assert len(values(f"{tmp_path}?axes=tyx")[0]) == 60
    with pytest.raises(SourceError, match=f"no {axis} 'red'; there is"):
        open_source(f"{tmp_path}?{axis}=red")


@pytest.mark.parametrize(("axis", "key"), [("C", "channel"), ("Z", "z")])
def test_a_selection_goes_through_the_files_of_a_folder(tmp_path, axis, key):
    for n in range(3):
        part = np.arange(10 * n, 10 * n + 10)[:, None, None, None] + np.array([100, 200])[:, None, None]
        stack = (part + np.zeros(SHAPE)).astype(np.uint16)
        meta = {"axes": f"T{axis}YX", "finterval": 0.1}
        tifffile.imwrite(tmp_path / f"rec_{n + 1:05d}.tif", stack, imagej=True, metadata=meta)
    for plane_number in (0, 1):
        found, spec = values(f"{tmp_path}?{key}={plane_number}")
        assert found == ramp(100 + 100 * plane_number, 30)
        assert spec.interval_s == pytest.approx(0.1)
    with pytest.raises(SourceError, match="several planes"):
        open_source(tmp_path)


def ome_folder(folder, interleaved, names=("Red", "Green"), channels=(0, 1)):
    """Two channels over two files: each channel in its own, or all pages of a half in one, channels in turn."""
    where = {
        (c, t): (f"m_{t // 10}.ome.tif", 2 * (t % 10) + c) if interleaved else (f"m_{c}.ome.tif", t)
        for c in (0, 1)
        for t in range(20)
    }
    data = "".join(
        f'<TiffData IFD="{page}" FirstC="{channels[c]}" FirstT="{t}" PlaneCount="1">'
        f'<UUID FileName="{name}">u</UUID></TiffData>'
        for (c, t), (name, page) in where.items()
    )
    sizes = 'DimensionOrder="XYCZT" Type="uint16" SizeX="24" SizeY="16" SizeC="2" SizeZ="1" SizeT="20"'
    inner = f'<Channel ID="C:0" Name="{names[0]}"/><Channel ID="C:1" Name="{names[1]}"/>{data}'
    ome = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    image = f'<Image ID="I:0"><Pixels ID="P:0" {sizes}>{inner}</Pixels></Image>'
    text = f'<?xml version="1.0"?><OME xmlns="{ome}">{image}</OME>'
    for name in sorted({name for name, _ in where.values()}):
        pages = sorted((page, 100 * (c + 1) + t) for (c, t), (file, page) in where.items() if file == name)
        with tifffile.TiffWriter(folder / name) as file:
            for page, value in pages:
                image = np.full(SHAPE, value, np.uint16)
                file.write(image, metadata=None, contiguous=False, description=text if page == 0 else None)


@pytest.mark.parametrize("interleaved", [False, True])
def test_ome_xml_says_which_page_of_which_file_is_which_plane(tmp_path, interleaved):
    ome_folder(tmp_path, interleaved)
    for number, label in enumerate(("Red", "Green")):
        for way in (number, label):
            found, spec = values(f"{tmp_path}?channel={way}")
            assert found == ramp(100 + 100 * number, 20)
            assert spec.channel == label
    with pytest.raises(SourceError, match="channel Red, Green; select one"):
        open_source(tmp_path)


@pytest.mark.parametrize("interleaved", [False, True])
def test_channels_of_one_name_are_told_apart_by_their_numbers(tmp_path, interleaved):
    ome_folder(tmp_path, interleaved, names=("GFP", "GFP"))
    for number in (0, 1):
        found, spec = values(f"{tmp_path}?channel={number}")
        assert found == ramp(100 + 100 * number, 20)
        assert spec.channel == str(number)
    with pytest.raises(SourceError, match="channel 0, 1; select one"):
        open_source(tmp_path)


@pytest.mark.parametrize("channel", ["-5", "99999999999999999999", "x", ""])
def test_ome_xml_whose_channels_cannot_be_is_no_traceback(tmp_path, channel):
    ome_folder(tmp_path, interleaved=False, channels=(0, channel))
    said = []
    for query in ("", "?channel=0", "?channel=1"):
        try:
            open_source(f"{tmp_path}{query}").close()
        except SourceError as error:
            said.append(str(error))
    assert [line for line in said if "\n" in line or str(tmp_path) not in line] == []


def test_a_page_that_ome_xml_names_and_nobody_wrote_is_one_line(tmp_path):
    ome_folder(tmp_path, interleaved=False)
    part = tmp_path / "m_1.ome.tif"
    with tifffile.TiffFile(part) as tif:
        pages, text = [page.asarray() for page in tif.pages[:15]], tif.pages[0].description
    with tifffile.TiffWriter(part) as file:
        for n, page in enumerate(pages):
            file.write(page, metadata=None, contiguous=False, description=text if n == 0 else None)
    with pytest.raises(SourceError, match=r"m_1\.ome\.tif: page 15 of its OME-XML is not there"):
        open_source(f"{tmp_path}?channel=Green")


def test_hidden_files_of_a_folder_are_no_frames_of_it(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, *SHAPE), np.uint16), photometric="minisblack")
    (tmp_path / "._a.tif").write_bytes(b"\0\5\x16\7 what macOS keeps beside a file")
    assert values(tmp_path)[0] == [0, 0, 0]
