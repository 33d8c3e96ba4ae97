"""Folders of Prairie View: what the XML says is what, and what the names say alone."""

import time
import tracemalloc

import numpy as np
import pytest
import tifffile

from streamfluo import SourceError, open_source
from streamfluo.sources.bruker_xml import read_scan
from tests.sources.test_follow_folders import assert_whole, collected

SHAPE = (16, 24)
MOVIE = np.random.default_rng(5).integers(1, 30000, (12, 2, 4, *SHAPE), np.uint16)  # t, c, z
NAME = "TSeries-01012026-1200-001"
STATE = """<?xml version="1.0" encoding="utf-8"?>
<PVScan version="5.5.64.100" date="1/1/2026 12:00:00 PM" notes="">
  <PVStateShard>
    <PVStateValue key="framePeriod" value="0.033" />
    <PVStateValue key="laserPower"><IndexedValue index="XAxis" value="42" /></PVStateValue>
    <PVStateValue key="micronsPerPixel">
      <IndexedValue index="XAxis" value="0.78" />
      <IndexedValue index="YAxis" value="0.78" />
      <IndexedValue index="ZAxis" value="5" />
    </PVStateValue>
  </PVStateShard>
"""


def file_name(cycle, channel, number, end=".ome.tif"):
    return f"{NAME}_Cycle{cycle + 1:05d}_Ch{channel + 1}_{number + 1:06d}{end}"


def write(path, image, **options):
    tifffile.imwrite(path, image, photometric="minisblack", metadata=None, **options)


def frame_xml(index, at_s, cycle, channels, number, page=0, begun_s=0.0):
    names = ("Red", "Green")
    files = "".join(
        f'<File channel="{c + 1}" channelName="{names[c]}" page="{page + 1}" '
        f'filename="{file_name(cycle, c, number)}" />'
        for c in channels
    )
    times = f'relativeTime="{at_s - begun_s:.6f}" absoluteTime="{at_s:.6f}"' if at_s is not None else ""
    return f'<Frame {times} index="{index + 1}" parameterSet="CurrentSettings">{files}</Frame>\n'


def sequence_xml(cycle, kind, frames, turned=False):
    facts = f'type="{kind}" cycle="{cycle + 1}" time="12:00:00" bidirectionalZ="{turned}"'
    return f"  <Sequence {facts}>\n{frames}  </Sequence>\n"


def write_xml(folder, sequences, end="</PVScan>\n", state=STATE):
    (folder / f"{NAME}.xml").write_text(state + "".join(sequences) + end)


def timed(folder, times_s=None, channels=(0, 1), lost=(), cycles=1, xml=True):
    """Frames in time, in one or more cycles, a file each."""
    times_s = 0.05 * np.arange(12) + 1.5 if times_s is None else times_s
    sequences, per = [], 12 // cycles
    for cycle in range(cycles):
        frames = ""
        for n in range(per):
            t = cycle * per + n
            frames += frame_xml(n, times_s[t] if len(times_s) else None, cycle, channels, n)
            for c in channels:
                if (t, c) not in lost:
                    write(folder / file_name(cycle, c, n), MOVIE[t, c, 0])
        sequences.append(sequence_xml(cycle, "TSeries Timed Element", frames))
    if xml:
        write_xml(folder, sequences)
    return folder


def volumes(folder, lost=(), turned=False, slices=4, xml=True, times_s=None):
    """A Z series in each cycle, a file for each slice and channel."""
    sequences = []
    for t in range(12):
        frames = ""
        for n in range(slices):
            z = slices - 1 - n if turned and t % 2 else n
            frames += frame_xml(n, (0.5 * t if times_s is None else times_s[t]) + 0.1 * n, t, (0, 1), n)
            for c in (0, 1):
                if (t, c, z) not in lost:
                    write(folder / file_name(t, c, n), MOVIE[t, c, z])
        sequences.append(sequence_xml(t, "TSeries ZSeries Element", frames, turned))
    if xml:
        write_xml(folder, sequences)
    return folder


def assert_volumes(found, lost=(), length=12):
    assert len(found) == 8
    for name, images in found.items():
        c, z = ("Red", "Green").index(name.split("/")[0]), int(name.split("/")[1])
        assert list(images) == [t for t in range(length) if (t, c, z) not in lost]
        assert all(np.array_equal(image, MOVIE[t, c, z]) for t, image in images.items())


def test_channels_interval_pixel_size_and_times_are_those_of_the_xml(tmp_path):
    times_s = 0.05 * np.arange(12) + np.random.default_rng(1).uniform(0, 0.01, 12) + 1.5
    timed(tmp_path, times_s)
    with pytest.raises(SourceError, match="channel Red, Green; select one"):
        open_source(tmp_path)
    with open_source(f"{tmp_path}?planes=all") as source:
        assert source.spec.plane_names == ("Red/0", "Green/0")
        assert source.spec.interval_s == pytest.approx(np.median(np.diff(times_s)), abs=1e-6)
        assert source.spec.pixel_um == 0.78
        blocks = list(source.blocks(20))
        for block, c in zip(blocks, (0, 1), strict=True):
            assert np.array_equal(block.pixels, MOVIE[:, c, 0])
            assert block.times_ns / 1e9 == pytest.approx(times_s - times_s[0], abs=2e-6)
    with open_source(f"{tmp_path}?channel=Green") as source:
        assert np.array_equal(next(source.blocks(20)).pixels, MOVIE[:, 1, 0])
        assert source.spec.channel == "Green"


def test_one_channel_has_its_name(tmp_path):
    with open_source(timed(tmp_path, channels=(1,))) as source:
        assert source.spec.channel == "Green"
        assert np.array_equal(next(source.blocks(20)).pixels, MOVIE[:, 1, 0])


TIMES = {
    "none": ((), 0.033),
    "all the same": (np.zeros(12), 0.033),
    "one wrong": (np.where(np.arange(12) == 5, 0.0, 0.05 * np.arange(12) + 1.5), 0.05),
    "two wrong side by side": (np.where(np.isin(np.arange(12), (5, 6)), 0.0, 0.05 * np.arange(12) + 1.5), 0.05),
}


@pytest.mark.parametrize(("times_s", "interval_s"), TIMES.values(), ids=TIMES)
def test_times_that_are_wrong_or_missing_cost_themselves(tmp_path, times_s, interval_s):
    with open_source(f"{timed(tmp_path, times_s)}?channel=0") as source:
        assert source.spec.interval_s == pytest.approx(interval_s)
        block = next(source.blocks(20))
        assert (np.diff(block.times_ns) > 0).all()


def test_averaged_frames_take_as_long_as_all_their_scans(tmp_path):
    timed(tmp_path, ())
    state = STATE.replace(
        '<PVStateValue key="laser', '<PVStateValue key="rastersPerFrame" value="4" /><PVStateValue key="laser'
    )
    path = tmp_path / f"{NAME}.xml"
    path.write_text(path.read_text().replace(STATE, state))
    with open_source(f"{tmp_path}?channel=0") as source:
        assert source.spec.interval_s == pytest.approx(0.132)


def test_cycles_of_frames_follow_one_another_in_time(tmp_path):
    with open_source(f"{timed(tmp_path, cycles=3)}?planes=all") as source:
        found = collected(source)
    for c, name in enumerate(("Red/0", "Green/0")):
        assert_whole(found[name], MOVIE[:, c, 0])


@pytest.mark.parametrize("turned", [False, True])
def test_cycles_of_z_series_are_time_and_their_frames_slices(tmp_path, turned):
    volumes(tmp_path, turned=turned)
    with open_source(f"{tmp_path}?planes=all") as source:
        assert source.spec.interval_s == pytest.approx(0.5)
        assert source.spec.planes[1].z_um == 5
        assert_volumes(collected(source))
    with open_source(f"{tmp_path}?channel=Red&z=2") as source:
        block = next(source.blocks(20))
        assert np.array_equal(block.pixels, MOVIE[:, 0, 2])
        if not turned:
            assert block.times_ns == pytest.approx(0.5e9 * np.arange(12), abs=1e3)


STAGE = (
    '<PVStateShard><PVStateValue key="positionCurrent"><SubindexedValues index="XAxis"><SubindexedValue subindex="0" '
    'value="{}" /></SubindexedValues><SubindexedValues index="ZAxis"><SubindexedValue subindex="0" value="{}" />'
    "</SubindexedValues></PVStateValue></PVStateShard>"
)


def test_cycles_at_several_places_of_the_stage_are_positions_and_no_times(tmp_path):
    sequences = []
    for cycle in range(12):
        place = 500.0 * (cycle % 3) + 0.3 * (cycle % 2)
        frames = "".join(
            frame_xml(z, 0.5 * cycle + 0.1 * z, cycle, (0, 1), z).replace("<File", STAGE.format(place, z) + "<File", 1)
            for z in range(4)
        )
        sequences.append(sequence_xml(cycle, "TSeries ZSeries Element", frames))
        for c, z in np.ndindex(2, 4):
            write(tmp_path / file_name(cycle, c, z), MOVIE[cycle, c, z])
    write_xml(tmp_path, sequences)
    with pytest.raises(SourceError, match=r"cycles of 3 stage positions; select one: .*\?position=0"):
        open_source(f"{tmp_path}?planes=all")
    with pytest.raises(SourceError, match="no position '3'; there is position=0 to 2"):
        open_source(f"{tmp_path}?planes=all&position=3")
    with open_source(f"{tmp_path}?planes=all&position=1") as source:
        assert source.spec.interval_s == pytest.approx(1.5)
        for name, images in collected(source).items():
            c, z = ("Red", "Green").index(name.split("/")[0]), int(name.split("/")[1])
            assert_whole(images, MOVIE[1::3, c, z])


def test_images_of_the_xml_that_are_not_there_are_gaps(tmp_path):
    lost = {(3, 1, 2), (0, 0, 0), (11, 1, 3), *((7, c, z) for c in range(2) for z in range(4))}
    volumes(tmp_path, lost)
    with open_source(f"{tmp_path}?planes=all") as source:
        assert source.series.user["missing"].startswith("11 of 96 images")
        assert_volumes(collected(source), lost)


@pytest.mark.parametrize("there", [(1, 2), (3,)])
def test_slices_of_which_no_file_is_there_are_no_planes(tmp_path, there):
    volumes(tmp_path, {(t, c, z) for t in range(12) for c in range(2) for z in range(4) if z not in there})
    with open_source(f"{tmp_path}?planes=Green") as source:
        blocks = list(source.blocks(20))
        for block, z in zip(blocks, there, strict=True):
            assert np.array_equal(block.pixels, MOVIE[:, 1, z])
            assert block.times_ns == pytest.approx(0.5e9 * np.arange(12) + 0.1e9 * (z - there[0]), abs=1e3)
    with open_source(f"{tmp_path}?channel=Red&z={there[-1]}") as source:
        assert np.array_equal(next(source.blocks(20)).pixels, MOVIE[:, 0, there[-1]])


def test_a_cycle_that_was_stopped_has_fewer_slices(tmp_path):
    volumes(tmp_path)
    path = tmp_path / f"{NAME}.xml"
    text, lost = path.read_text(), set()
    for z in (2, 3):
        for c in (0, 1):
            (tmp_path / file_name(11, c, z)).unlink()
            lost.add((11, c, z))
        text = text.replace(frame_xml(z, 5.5 + 0.1 * z, 11, (0, 1), z), "")
    path.write_text(text)
    with open_source(f"{tmp_path}?planes=all") as source:
        assert_volumes(collected(source), lost)


def test_pages_are_those_that_the_xml_names(tmp_path):
    """Since version 5.5 one file may have all images of a channel and cycle."""
    sequences = []
    for t in range(12):
        frames = "".join(frame_xml(z, 0.5 * t + 0.1 * z, t, (0, 1), 0, page=z) for z in range(4))
        sequences.append(sequence_xml(t, "TSeries ZSeries Element", frames))
        for c in (0, 1):
            write(tmp_path / file_name(t, c, 0), MOVIE[t, c])
    write_xml(tmp_path, sequences)
    with open_source(f"{tmp_path}?planes=all") as source:
        assert_volumes(collected(source))
    with open_source(f"{tmp_path}?axes=tyx") as source:
        assert source.series.frames == 96


def test_files_that_the_xml_does_not_name_are_named(tmp_path):
    timed(tmp_path)
    write(tmp_path / file_name(0, 0, 12), MOVIE[0, 0, 0])
    write(tmp_path / "average.tif", MOVIE[0, 0, 0])
    with pytest.raises(SourceError) as refused:
        open_source(f"{tmp_path}?planes=all")
    assert f"2 more are there, {file_name(0, 0, 12)} first; move them elsewhere" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_xml_that_breaks_off_is_read_as_far_as_it_goes(tmp_path):
    timed(tmp_path)
    path = tmp_path / f"{NAME}.xml"
    text = path.read_text()
    path.write_text(text[: text.index('index="9"')])
    with pytest.raises(SourceError, match=r"8 more are there, .*; it breaks off after 16 images; move"):
        open_source(f"{tmp_path}?planes=all")
    for t in range(8, 12):
        for c in (0, 1):
            (tmp_path / file_name(0, c, t)).unlink()
    with open_source(f"{tmp_path}?planes=all") as source:
        assert "breaks off after 16 images" in source.series.user["xml"]
        assert_whole(collected(source)["Green/0"], MOVIE[:8, 1, 0])


def test_two_recordings_in_one_folder_are_named(tmp_path):
    timed(tmp_path)
    (tmp_path / "other.xml").write_text(STATE + "</PVScan>")
    (tmp_path / "voltage.xml").write_text("<VRecSessionEntry/>")
    with pytest.raises(SourceError, match=f"several recordings, {NAME}.xml, other.xml"):
        open_source(f"{tmp_path}?planes=all")


def test_sequences_of_several_kinds_are_named(tmp_path):
    timed(tmp_path)
    path = tmp_path / f"{NAME}.xml"
    more = sequence_xml(1, "TSeries ZSeries Element", frame_xml(0, 9.0, 1, (0, 1), 0))
    path.write_text(path.read_text().replace("</PVScan>", f"{more}</PVScan>"))
    with pytest.raises(SourceError, match="TSeries Timed Element and TSeries ZSeries Element"):
        open_source(f"{tmp_path}?planes=all")


def test_without_xml_names_tell_channels_apart_also_in_a_name_with_words(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    for t, c in np.ndindex(12, 2):
        write(folder / file_name(0, c, t).replace("TSeries", "mouse_C2_z3"), MOVIE[t, c, 0])
    with open_source(f"{folder}?planes=all") as source:
        found = collected(source)
    for c in (0, 1):
        assert_whole(found[f"Ch{c + 1}/0"], MOVIE[:, c, 0])


def test_without_xml_cycles_of_several_images_are_not_taken_for_time(tmp_path):
    volumes(tmp_path, xml=False)
    with pytest.raises(SourceError, match=r"12 cycles of several images, which are slices or times"):
        open_source(f"{tmp_path}?planes=all")
    with open_source(f"{tmp_path}?axes=tyx") as source:
        assert source.series.frames == 96


def test_a_long_xml_is_not_held(tmp_path):
    frame = frame_xml(0, 1.5, 0, (0, 1), 0) + "<!-- " + 3000 * "x" + " -->"
    with (tmp_path / f"{NAME}.xml").open("w") as file:
        file.write(STATE + '<Sequence type="TSeries Timed Element">')
        for n in range(10_000):
            file.write(frame.replace("000001.ome", f"{n:06d}.ome"))
        file.write("</Sequence></PVScan>")
    assert (tmp_path / f"{NAME}.xml").stat().st_size > 30e6
    tracemalloc.start()
    scan = read_scan(tmp_path / f"{NAME}.xml")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(scan.files) == 20_000
    assert scan.whole
    assert peak < 12e6


def test_an_entity_that_unfolds_without_end_is_not_followed(tmp_path):
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10 if n else "x"}">' for n in range(12))
    (tmp_path / "a.xml").write_text(f"<!DOCTYPE PVScan [{entities}]><PVScan><Sequence type='&a11;'/></PVScan>")
    began = time.process_time()
    assert not read_scan(tmp_path / "a.xml").whole
    assert time.process_time() - began < 5
