"""Videos whose header, index and content disagree: every whole frame is read, at its own place."""

import struct

import numpy as np
import pytest

from streamfluo import SourceError, create, open_source
from streamfluo.core.spec import Spec

av = pytest.importorskip("av")
FRAMES = 50


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "m.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=20, options={"g": "1"})  # no frame needs another
        stream.width, stream.height, stream.pix_fmt = 64, 48, "gray"
        for n in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64), 2 * n + 40, np.uint8), format="gray")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


def names(video, frames):
    """The header names so many frames, 0 as of a program that died."""
    changed = bytearray(video)
    struct.pack_into("<I", changed, video.index(b"avih") + 24, frames)
    struct.pack_into("<I", changed, video.index(b"strh") + 40, frames)
    return bytes(changed)


def without(video, lost):
    """The chunks of some frames are empty, as of a camera's program that dropped them."""
    movi = video.index(b"movi")
    at, end, out, number = movi + 4, movi + struct.unpack_from("<I", video, movi - 4)[0], b"", 0
    index = b""
    while at < end:
        tag, size = video[at : at + 4], struct.unpack_from("<I", video, at + 4)[0]
        body = video[at + 8 : at + 8 + size]
        if tag == b"00dc":
            body, number = (b"" if number in lost else body), number + 1
        index += tag + struct.pack("<III", 16, len(out) + 4, len(body))
        out += tag + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
        at += 8 + size + size % 2
    lists = b"LIST" + struct.pack("<I", len(out) + 4) + b"movi" + out + b"idx1" + struct.pack("<I", len(index)) + index
    whole = bytearray(video[: movi - 8] + lists)
    struct.pack_into("<I", whole, 4, len(whole) - 8)
    return bytes(whole)


def frames_of(path, query=""):
    with open_source(f"{path}{query}") as source:
        blocks = list(source.blocks(7))
        assert source.series.frames is not None
    indices = [index for block in blocks for index in range(block.index, block.stop)]
    return indices, np.concatenate([block.pixels[:, 0, 0] for block in blocks]).tolist(), blocks


@pytest.mark.parametrize("named", [0, 20, 80])
@pytest.mark.parametrize("index", [True, False])
def test_every_frame_is_read_whatever_the_header_names(tmp_path, video, named, index):
    data = names(video, named)
    (tmp_path / "m.avi").write_bytes(data if index else data[: data.index(b"idx1")])
    for query, expected in (("", range(FRAMES)), ("?frames=3:50", range(3, FRAMES))):
        places, values, _ = frames_of(tmp_path / "m.avi", query)
        assert places == list(range(len(expected)))
        assert values == [2 * n + 40 for n in expected]


@pytest.mark.parametrize("lost", [{10, 11, 30}, {1}, {7, 14, 21}, set(range(5, 45))])
def test_dropped_frames_are_gaps_and_the_others_keep_their_place_and_time(tmp_path, video, lost):
    (tmp_path / "m.avi").write_bytes(without(video, lost))
    kept = [n for n in range(FRAMES) if n not in lost]
    places, values, blocks = frames_of(tmp_path / "m.avi")
    assert places == kept
    assert values == [2 * n + 40 for n in kept]
    assert np.concatenate([block.times_ns for block in blocks]).tolist() == [50_000_000 * n for n in kept]
    mean = create("moments", Spec((48, 64), "uint8"))
    for block in blocks:
        mean.update(block)
    assert mean.read()["mean"][0, 0] == pytest.approx(np.mean(values))


def test_of_a_video_that_was_cut_the_whole_frames_are_read(tmp_path, video):
    begin, end = video.index(b"movi"), video.index(b"idx1")
    (tmp_path / "m.avi").write_bytes(video[: (begin + end) // 2])
    places, values, _ = frames_of(tmp_path / "m.avi")
    assert 20 < len(values) < 30
    assert places == list(range(len(values)))
    assert values == [2 * n + 40 for n in places]


@pytest.mark.parametrize(
    ("place", "change"), [(b"strf", (24, b"\0\0\0\0")), (b"strh", (12, b"????")), (b"ISFT", (8, b"\x86\xff"))]
)
def test_a_codec_nobody_knows_and_a_text_that_is_none_are_one_line(tmp_path, video, place, change):
    data, (offset, new) = bytearray(video), change
    at = data.index(place) + offset
    data[at : at + len(new)] = new
    (tmp_path / "m.avi").write_bytes(data)
    try:
        open_source(tmp_path / "m.avi").close()
        said = ""
    except SourceError as error:
        said = str(error)
    assert "\n" not in said
