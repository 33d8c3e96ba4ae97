"""Cameras through Micro-Manager, tried on its real demo camera."""

import logging
import threading
import time

import numpy as np
import pytest

pytest.importorskip("pymmcore_plus", reason="needs pymmcore-plus and mm-test-adapters: the extra [camera]")

from streamfluo import Block, SourceError, open_source
from streamfluo.core.source import Gap
from streamfluo.sources import camera as camera_module
from streamfluo.sources.camera import CameraSource
from streamfluo.sources.camera_images import Image
from streamfluo.sources.camera_params import parse_camera_uri

SMALL = "mm:demo?exposure_ms=2&roi=0:32,0:48"


def taken(source, at=None, wait=None):
    """(frames, lost, items) of a source to its end; after frame `at` nobody reads until `wait` returns."""
    items = []
    for item in source.blocks():
        items.append(item)
        if at is not None and isinstance(item, Block) and item.index <= at < item.stop:
            wait()
    blocks = [i for i in items if isinstance(i, Block)]
    lost = sum(i.count for i in items if isinstance(i, Gap))
    indices = [n for b in blocks for n in range(b.index, b.stop)]
    assert indices == sorted(set(indices))
    return len(indices), lost, items


def test_every_frame_the_camera_counted_came_or_was_counted_as_lost():
    with open_source(f"{SMALL}&frames=300") as source:
        assert source.series.frames == 300
        assert not source.seekable
        frames, lost, items = taken(source)
    assert frames + lost == 300
    assert lost == source.dropped
    times = np.concatenate([b.times_ns for b in items if isinstance(b, Block)])
    assert (np.diff(times) > 0).all()
    assert items[0].pixels.dtype == np.uint16
    assert not items[0].pixels.flags.writeable


def test_a_full_buffer_is_a_counted_gap_of_the_camera_and_the_acquisition_goes_on():
    discarded, waits = 0, 0

    def until_discarded():
        nonlocal discarded, waits
        while discarded <= 50 and source._core.isSequenceRunning():
            before, waits = waits, source._core.getRemainingImageCount()
            discarded += before if waits < before else 0  # the demo empties a full buffer
            time.sleep(1e-3)

    with CameraSource("mm:demo?exposure_ms=2&frames=1000&buffer_mb=4") as source:
        frames, lost, items = taken(source, 20, until_discarded)
    gaps = [n for n, item in enumerate(items) if isinstance(item, Gap)]
    assert frames + lost == 1000
    assert lost >= discarded > 50
    assert {items[n].reason for n in gaps} == {"camera"}
    assert any(isinstance(item, Block) for item in items[gaps[0] :])
    last = items[-1]  # on a busy machine a gap: the last frames find the buffer full as well
    assert (last.stop if isinstance(last, Block) else last.first + last.count) == 1000


@pytest.mark.parametrize(
    ("query", "shape", "dtype"),
    [
        ("roi=10:60,20:120", (50, 100), "uint16"),
        ("binning=2", (256, 256), "uint16"),
        ("binning=4&roi=0:100,0:30", (100, 30), "uint16"),
        ("PixelType=8bit", (512, 512), "uint8"),
        ("Binning=8", (64, 64), "uint16"),
        ("Camera.OnCameraCCDXSize=300", (512, 300), "uint16"),
        ("ReadNoise+%28electrons%29=3", (512, 512), "uint16"),
    ],
)
def test_settings_take_effect(query, shape, dtype):
    with open_source(f"mm:demo?exposure_ms=1&{query}&frames=3") as source:
        assert source.spec.shape == shape
        assert source.spec.dtype == dtype
        blocks = list(source.blocks())
        assert blocks[0].pixels.shape[1:] == shape


def test_exposure_bit_depth_and_the_measured_interval_are_known():
    with open_source("mm:demo?exposure_ms=20&bit_depth=12&roi=0:8,0:8") as source:
        assert 0.019 < source.spec.interval_s < 0.03
        assert source.spec.camera.saturation_adu == 4095
        facts = source.series.user["camera"]
        assert (facts["model"], facts["exposure_ms"], facts["roi"]) == ("DCam", 20, [0, 0, 8, 8])


BAD = {
    "mm:": "names no camera; write mm:demo or",
    "mm:demo?frames=0": "frames must be a whole number from 1 to 2147483647, found '0'",
    "mm:demo?buffer_mb=999999999": "buffer_mb must be a whole number from 1 to 16384, found '999999999'",
    "mm:demo?exposure_ms=-3": "exposure_ms must be a positive number, found '-3'",
    "mm:demo?exposure_ms=nan": "exposure_ms must be a positive number, found 'nan'",
    "mm:demo?roi=1,2": "roi is y0:y1,x0:x1 in pixels, found '1,2'",
    "mm:demo?roi=0:9000,0:5": "roi=0:9000,0:5 is not inside the image of 512 × 512",
    "mm:demo?roi=9:9,0:5": "is not inside the image",
    "mm:demo?Gian=2": "Camera has no property 'Gian'; did you mean 'Gain'?",
    "mm:demo?Gain=99": "Gain must be a number from -5 to 8, found '99'",
    "mm:demo?binning=3": "Binning must be one of 1, 2, 4, 8, found '3'",
    "mm:demo?CameraID=2": "property 'CameraID' can only be read; it is 'V1.0'",
    "mm:demo?trigger=External": "this camera has no trigger property; its are",
    "mm:demo?Lasr.Power=2": "no device 'Lasr'; there is 'Camera', 'Core'",
    "mm:demo?Gain=1.7": "Gain must be a whole number, found '1.7'",
    "mm:demo?Offset=abc": "Offset must be a whole number, found 'abc'",
    "mm:demo?MaximumExposureMs=100": "MaximumExposureMs is set before the device starts",
    "mm:demo?exposure_ms=99999": "exposure_ms=99999 was not taken; the camera stands at 10 ms",
    "mm:demo?buffer_mb=1&OnCameraCCDXSize=4096": "memory requirements not adequate",
    "mm:demo?PixelType=32bitRGB": "choose a grey pixel type",
    "mm:demo?PixelType=32bit": "choose a grey pixel type",
    "mm:demo?Gain=1&Gain=2": "Gain is given twice",
    "mm:demo?tags=": "tags are up to 16 names of an image's metadata, tags=A,B, found ''",
    "mm:demo?tags=TTL,inputs": "tags are up to 16 names of an image's metadata",
    "mm:demo?Gain": "is not key=value",
    "mm:/no/such.cfg": "no such configuration file /no/such.cfg",
}


@pytest.mark.parametrize("uri", BAD)
def test_a_camera_that_cannot_be_had_as_asked_is_one_line_that_says_why(uri):
    with pytest.raises(SourceError) as caught:
        open_source(uri)
    assert BAD[uri] in str(caught.value)
    assert "\n" not in str(caught.value)


CONFIG = """Property,Core,Initialize,0
Device,Cam,DemoCamera,DCam
Property,Core,Initialize,1
Property,Cam,PixelType,16bit
Property,Core,Camera,Cam
"""


def test_a_micro_manager_configuration_is_loaded(tmp_path):
    (tmp_path / "rig.cfg").write_text(CONFIG)
    with open_source(f"mm:{tmp_path}/rig.cfg?exposure_ms=1&frames=5&Binning=2") as source:
        assert source.spec.shape == (256, 256)
        assert taken(source)[0] == 5
    (tmp_path / "none.cfg").write_text("Property,Core,Initialize,1\n")
    with pytest.raises(SourceError, match="names no camera"):
        open_source(f"mm:{tmp_path}/none.cfg")
    (tmp_path / "bad.cfg").write_text("Device,Cam,NoSuchLibrary,X\n")
    with pytest.raises(SourceError, match="NoSuchLibrary"):
        open_source(f"mm:{tmp_path}/bad.cfg")


def test_an_endless_acquisition_is_interrupted_soon_and_the_camera_can_be_opened_again():
    with open_source(SMALL) as source:
        threading.Timer(0.3, source.interrupt).start()
        began = time.monotonic()
        assert taken(source)[0] > 20
        assert time.monotonic() - began < 2
        assert source.ended == "finished"
    with open_source(f"{SMALL}&frames=2") as source:
        assert taken(source)[0] == 2


def test_a_camera_that_stops_or_falls_silent_is_an_error_with_what_came(monkeypatch):
    with open_source(SMALL) as source:
        blocks = source.blocks()
        next(blocks)
        source._core.stopSequenceAcquisition()
        with pytest.raises(SourceError, match=r"the camera stopped after \d+ of … frames"):
            list(blocks)
        assert source.ended == "error"
        with pytest.raises(SourceError, match="gives its series once"):
            next(source.blocks())
    monkeypatch.setattr(camera_module, "SILENT_S", 0.2)
    with open_source("mm:demo?exposure_ms=20&roi=0:8,0:8") as source:
        monkeypatch.setattr(source, "_pop", lambda *_: [])
        with pytest.raises(SourceError, match="no frame for 0 s; is the camera still there"):
            list(source.blocks())


def test_a_camera_whose_counter_goes_back_is_an_error(monkeypatch):
    with open_source(SMALL) as source:
        pixels = np.zeros((32, 48), np.uint16)
        monkeypatch.setattr(source, "_pop", lambda *_: [Image("", 5, 0, pixels), Image("", 3, 1, pixels)])
        with pytest.raises(SourceError, match="frame 3 after frame 5; the counter went back"):
            list(source.blocks())
        assert source.ended == "error"


def test_measuring_the_interval_keeps_the_shutter_as_it_was_and_the_program_s_logging_too():
    level = logging.getLogger().level
    with open_source(f"{SMALL}&Core.AutoShutter=1") as source:
        assert source._core.getAutoShutter()
    assert logging.getLogger().level == level


def test_the_text_of_a_uri_is_read_whole():
    settings = parse_camera_uri("mm:C:/rig.cfg?roi=1:2,3:4&trigger=External&Laser.Power=5&frames=7")
    assert settings.device == "C:/rig.cfg"
    assert settings.roi == (1, 2, 3, 4)
    assert settings.trigger == "External"
    assert settings.properties == {"Laser.Power": "5"}
    assert settings.frames == 7
