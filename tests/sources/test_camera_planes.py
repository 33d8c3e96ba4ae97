"""Cameras in sequences: every image of a useq file in its plane, tried on Micro-Manager's demo microscope."""

import threading
import time

import numpy as np
import pytest

pytest.importorskip("pymmcore_plus", reason="needs pymmcore-plus and mm-test-adapters: the extra [camera]")
pytest.importorskip("yaml", reason="needs PyYAML: the extra [camera]")

from streamfluo import Block, Plane, SourceError, open_source
from streamfluo.core.source import Gap
from streamfluo.sources.camera_planes import SequenceSource

CHANNELS = """
channels:
  - {config: DAPI, exposure: 1}
  - {config: FITC, exposure: 2}
z_plan: {range: 4, step: 2}
"""
SLICES_UM = (-2.0, 0.0, 2.0)
SMALL = "roi=0:32,0:48"


def written(folder, text):
    path = folder / "seq.yaml"
    path.write_text(text)
    return path


def sequenced(folder, points, extra=""):
    return written(folder, f"{CHANNELS}time_plan: {{interval: 0, loops: {points}}}\n{extra}")


def observed(source):
    """(the engine's own account, the items): what it says of each frame beside what came of it."""
    account = []

    def note(pixels, event, facts):
        account.append(((event.channel.config, event.index["z"]), event.index["t"], event.z_pos, facts, pixels.copy()))

    source._core.mda.events.frameReady.connect(note)
    return account, list(source.blocks())


def frames_by_plane(items):
    found = {}
    for block in items:
        if isinstance(block, Block):
            for n, pixels in enumerate(block.pixels):
                found.setdefault((block.channel, block.z), []).append((block.index + n, block.times_ns[n], pixels))
    return found


def check_every_frame_in_its_plane(source, points):
    account, items = observed(source)
    found = frames_by_plane(items)
    assert not any(isinstance(item, Gap) for item in items)
    assert set(found) == {(channel, z) for channel in ("DAPI", "FITC") for z in range(3)}
    assert len(account) == 6 * points
    for (channel, z), frames in found.items():
        told = [(t, pixels) for at, t, _, _, pixels in account if at == (channel, z)]
        assert [index for index, *_ in frames] == list(range(points)) == [t for t, _ in told]
        assert all(np.array_equal(a, b) for (*_, a), (_, b) in zip(frames, told, strict=True))
        assert (np.diff([t_ns for _, t_ns, _ in frames]) > 0).all()
    # What the microscope itself says it stood at is what the plane says: depth, exposure and the channel's filters.
    planes = {(plane.channel, plane.z): plane for plane in source.spec.planes}
    for at, _, z_um, facts, _ in account:
        assert planes[at].z_um == z_um == SLICES_UM[at[1]]
        assert planes[at].exposure_s == pytest.approx(facts["exposure_ms"] / 1e3)
        values = {(p["dev"], p["prop"]): p["val"] for p in facts["property_values"]}
        assert values["Dichroic", "Label"] == {"DAPI": "400DCLP", "FITC": "Q505LP"}[at[0]]


def test_every_frame_of_two_channels_and_three_slices_is_in_its_plane(tmp_path):
    with open_source(f"mm:demo?sequence={sequenced(tmp_path, 10)}&{SMALL}") as source:
        assert isinstance(source, SequenceSource)
        assert (source.seekable, source.series.frames, source.spec.shape) == (False, 60, (32, 48))
        assert source.spec.interval_s is None  # as fast as it goes
        check_every_frame_in_its_plane(source, 10)
        assert source.ended == "finished"
        assert "Dichroic.Label=400DCLP" in source.series.user["camera"]["channels"]["DAPI"]


@pytest.mark.slow
def test_two_hundred_time_points_are_in_their_planes(tmp_path):
    with open_source(f"mm:demo?sequence={sequenced(tmp_path, 200)}&{SMALL}") as source:
        check_every_frame_in_its_plane(source, 200)


def test_the_interval_of_a_plane_is_that_of_the_time_points(tmp_path):
    path = written(tmp_path, f"{CHANNELS}time_plan: {{interval: 0.2, loops: 4}}\n")
    with open_source(f"mm:demo?sequence={path}&{SMALL}") as source:
        assert source.spec.interval_s == 0.2
        times_s = [t / 1e9 for _, t, _ in frames_by_plane(list(source.blocks()))["FITC", 1]]
    assert np.diff(times_s) == pytest.approx(0.2, abs=0.1)


def test_a_sequence_of_one_plane_is_a_plain_stream(tmp_path):
    path = written(tmp_path, "channels: [FITC]\ntime_plan: {interval: 0, loops: 5}\n")
    with open_source(f"mm:demo?sequence={path}&{SMALL}&exposure_ms=3") as source:
        assert (source.spec.planes, source.spec.channel) == ((), "FITC")
        blocks = list(source.blocks())
    assert [(b.index, b.channel) for b in blocks] == [(n, "FITC") for n in range(5)]
    path = written(tmp_path, "time_plan: {interval: 0, loops: 3}\n")
    with open_source(f"mm:demo?sequence={path}&{SMALL}") as source:
        assert len(list(source.blocks())) == 3


def test_slices_without_channels_and_a_channel_at_the_middle_slice_alone_are_planes(tmp_path):
    path = written(tmp_path, "z_plan: {top: 3, bottom: 1, step: 1}\ntime_plan: {interval: 0, loops: 2}\n")
    with open_source(f"mm:demo?sequence={path}&{SMALL}&exposure_ms=2") as source:
        assert source.spec.planes == tuple(Plane("0", z, 1.0 + z, exposure_s=0.002) for z in range(3))
        assert len(list(source.blocks())) == 6
    text = CHANNELS.replace("exposure: 2", "exposure: 2, do_stack: false")
    with open_source(f"mm:demo?sequence={written(tmp_path, text)}&{SMALL}") as source:
        assert source.spec.plane_names == ("DAPI/0", "DAPI/1", "DAPI/2", "FITC/1")
        assert len(list(source.blocks())) == 4


def gaps_of(items):
    return {(i.plane, i.first, i.count, i.reason) for i in items if isinstance(i, Gap)}


def test_frames_that_never_come_are_gaps_of_their_plane(tmp_path):
    from pymmcore_plus.mda import SkipEvent

    missing = {("DAPI", 1, 0), ("DAPI", 1, 1), ("FITC", 2, 3), ("FITC", 0, 5), ("FITC", 0, 4)}
    with open_source(f"mm:demo?sequence={sequenced(tmp_path, 6)}&{SMALL}") as source:
        engine = source._core.mda.engine
        set_up = engine.setup_event

        def sometimes(event):
            if (event.channel.config, event.index["z"], event.index["t"]) in missing:
                raise SkipEvent()
            set_up(event)

        engine.setup_event = sometimes
        items = list(source.blocks())
    assert gaps_of(items) == {
        ("DAPI/1", 0, 2, "camera"),
        ("FITC/2", 3, 1, "camera"),
        ("FITC/0", 4, 2, "camera"),
    }
    assert source.dropped == 5
    assert sum(len(frames) for frames in frames_by_plane(items).values()) == 31


def test_a_reader_that_is_slow_loses_frames_that_are_counted_and_the_acquisition_goes_on(tmp_path):
    with open_source(f"mm:demo?sequence={sequenced(tmp_path, 10)}&buffer_mb=1") as source:  # room for two frames
        items = []
        for item in source.blocks():
            items.append(item)
            time.sleep(0.05)
    frames, lost = frames_by_plane(items), gaps_of(items)
    assert sum(map(len, frames.values())) + sum(count for *_, count, _ in lost) == 60
    assert source.dropped > 10
    assert {reason for *_, reason in lost} == {"camera"}
    for plane in frames.values():
        assert [n for n, *_ in plane] == sorted({n for n, *_ in plane})


def test_a_device_that_fails_ends_the_series_with_what_came(tmp_path):
    with open_source(f"mm:demo?sequence={sequenced(tmp_path, 5)}&{SMALL}") as source:
        engine = source._core.mda.engine
        set_up = engine.setup_event

        def until(event):
            if event.index["t"] == 3:
                raise RuntimeError("the stage\nis stuck")
            set_up(event)

        engine.setup_event = until
        blocks = []
        with pytest.raises(SourceError, match="the acquisition failed: the stage is stuck; 18 of 30 frames"):
            blocks.extend(source.blocks())
        assert source.ended == "error"
        with pytest.raises(SourceError, match="gives its series once"):
            next(source.blocks())


def test_frames_that_do_not_fit_are_dropped_and_counted_and_changed_settings_go_with_their_frame(tmp_path):
    with open_source(f"mm:demo?sequence={sequenced(tmp_path, 4)}&{SMALL}") as source:
        engine = source._core.mda.engine
        execute = engine.exec_event

        def odd(event):
            for pixels, of, facts in execute(event):
                if (event.channel.config, event.index["z"], event.index["t"]) == ("DAPI", 0, 1):
                    pixels = pixels[:-1]
                if event.index["t"] >= 2:
                    facts["property_values"][0]["val"] = "changed"
                yield pixels, of, facts

        engine.exec_event = odd
        items = list(source.blocks())
    assert gaps_of(items) == {("DAPI/0", 1, 1, "camera")}
    assert source.refused == {"spec": 1}
    blocks = [item for item in items if isinstance(item, Block)]
    said = {(block.plane, n): facts["changed"] for block in blocks for n, facts in block.user.items()}
    assert set(said) == {(f"{channel}/{z}", 2) for channel in ("DAPI", "FITC") for z in range(3)}
    assert all(list(changed.values()) == ["changed"] for changed in said.values())


def test_a_long_sequence_is_interrupted_soon_and_the_microscope_can_be_opened_again(tmp_path):
    path = written(tmp_path, f"{CHANNELS}time_plan: {{interval: 60, loops: 50}}\n")
    with open_source(f"mm:demo?sequence={path}&{SMALL}") as source:
        threading.Timer(0.5, source.interrupt).start()
        began = time.monotonic()
        assert 1 <= len(list(source.blocks())) <= 6
    assert time.monotonic() - began < 3
    with open_source(f"mm:demo?sequence={sequenced(tmp_path, 1)}&{SMALL}") as source:
        assert len(list(source.blocks())) == 6


BAD = {
    "- 1\n- 2": "is no sequence; it has keys such as channels",
    "just words": "is no sequence",
    "a: [1": "is no YAML",
    "\x00": "is no YAML",
    "{}": "has no frames; give it channels, a z_plan or a time_plan",
    "chanels: [DAPI]": "no part 'chanels' of a sequence; did you mean 'channels'?",
    "channels: 5": "is no sequence: channels: ",
    "channels: [{config: DAPI, exposure: -1}]": "channels.exposure: Input should be greater than 0",
    "channels: [{config: DAPI, group: Chanel}]": "channel 'DAPI': no group 'Chanel'; did you mean 'Channel",
    "channels: [FTC]": "channel 'FTC': none of group 'Channel'; did you mean 'FITC'?",
    "channels: [DAPI, DAPI]": "two planes are 'DAPI/0'; each channel has each slice once",
    "channels: [DAPI]\nz_plan: {range: 40, step: 0.5}": "has more than 64 planes",
    "stage_positions: [{x: 1, y: 2}, {x: 3, y: 4}]": "has 2 positions; a stream is of one, write one file for each",
    "grid_plan: {rows: 2, columns: 2}\nchannels: [DAPI]": "has a grid or a sequence at a position",
    "channels: [{config: DAPI, acquire_every: 2}, FITC]": "'DAPI' is not at every time point; leave acquire_every out",
    "time_plan: {interval: 1}": "is no sequence: time_plan",
    "time_plan: {interval: 0, loops: 99999999999}": "found 1048577 time points; 1 to 1048576 can be",
}


@pytest.mark.parametrize("text", BAD)
def test_a_sequence_that_cannot_be_had_is_one_line_that_says_why(text, tmp_path):
    with pytest.raises(SourceError) as caught:
        open_source(f"mm:demo?sequence={written(tmp_path, text)}&{SMALL}")
    assert BAD[text] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_sequence_that_is_not_there_or_says_its_length_twice(tmp_path):
    with pytest.raises(SourceError, match=r"cannot read the sequence .*none.yaml: No such file"):
        open_source(f"mm:demo?sequence={tmp_path}/none.yaml")
    with pytest.raises(SourceError, match="leave frames out"):
        open_source(f"mm:demo?sequence={sequenced(tmp_path, 2)}&frames=5")
    with open_source(f"mm:demo?sequence={sequenced(tmp_path, 2)}&{SMALL}") as source:
        with pytest.raises(SourceError, match="cannot be sought"):
            source.seek(5)
        with pytest.raises(SourceError, match="does not go on after a break"):
            source.resume(3, 18)


def test_without_yaml_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    with pytest.raises(SourceError, match=r'needs PyYAML; install it with pip install "streamfluo\[camera\]"'):
        open_source(f"mm:demo?sequence={sequenced(tmp_path, 2)}")
