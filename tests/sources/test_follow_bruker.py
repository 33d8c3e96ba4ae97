"""Folders into which Prairie View still writes: by their names, and by the XML as far as it is there."""

import threading
import time

import numpy as np
import pytest

from streamfluo import SourceError, open_source
from streamfluo.sources import following
from tests.sources.test_bruker import (
    MOVIE,
    NAME,
    assert_volumes,
    file_name,
    frame_xml,
    sequence_xml,
    volumes,
    write,
    write_xml,
)
from tests.sources.test_follow_folders import assert_whole, collected, written_beside


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(following, "QUIET_S", 1.5)
    monkeypatch.setattr(following, "GRACE_S", 0.3)


@pytest.mark.parametrize("xml", ["before", "after", "never"])
def test_frames_are_followed_with_or_without_the_xml(tmp_path, xml):
    def come():
        if xml == "before":
            write_xml(tmp_path, [sequence_xml(0, "TSeries Timed Element", frame_xml(0, 1.5, 0, (0, 1), 0))], end="")
        for t, c in np.ndindex(12, 2):
            write(tmp_path / file_name(0, c, t), MOVIE[t, c, 0], description=OME if t + c == 0 else None)
            time.sleep(0.01)
        if xml == "after":
            frames = "".join(frame_xml(t, 0.05 * t, 0, (0, 1), t) for t in range(12))
            write_xml(tmp_path, [sequence_xml(0, "TSeries Timed Element", frames)])

    written_beside(come)
    time.sleep(0.05)
    with open_source(f"{tmp_path}?follow=1&planes=all") as source:
        names = ("Red/0", "Green/0") if xml == "before" else ("Ch1/0", "Ch2/0")
        assert source.spec.plane_names == names
        assert source.spec.interval_s == (0.033 if xml == "before" else None)
        assert source.spec.pixel_um == (0.78 if xml == "before" else None)
        found = collected(source)
    for c, name in enumerate(names):
        assert_whole(found[name], MOVIE[:, c, 0])


OME = (
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2013-06"><Image ID="I:0"><Pixels '
    'ID="P:0" DimensionOrder="XYCZT" Type="uint16" SizeX="24" SizeY="16" SizeC="2" SizeZ="1" SizeT="12"/></Image></OME>'
)


@pytest.mark.parametrize("turned", [False, True])
def test_volumes_are_followed_where_the_xml_says_that_they_are(tmp_path, turned):
    whole, folder, lost = tmp_path / "whole", tmp_path / "f", {(5, 1, 2)}
    whole.mkdir()
    folder.mkdir()
    volumes(whole, lost, turned)

    def come():
        text = (whole / f"{NAME}.xml").read_text()
        (folder / f"{NAME}.xml").write_text(text[: text.index('cycle="2"')])
        for file in sorted(whole.glob("*.tif"), key=lambda f: (f.name.split("_")[1], f.name.split("_")[3])):
            file.rename(folder / file.name)
            time.sleep(0.005)

    written_beside(come)
    time.sleep(0.05)
    with open_source(f"{folder}?follow=1&planes=all") as source:
        assert source.spec.planes[1].z_um == 5
        assert_volumes(collected(source), lost)


def test_a_second_cycle_of_which_nothing_says_what_it_is_ends_the_series(tmp_path):
    for n in range(4):
        write(tmp_path / file_name(0, 0, n), MOVIE[0, 0, n])
    with open_source(f"{tmp_path}?follow=1") as source:
        threading.Timer(0.2, lambda: [write(tmp_path / file_name(1, 0, n), MOVIE[1, 0, n]) for n in range(4)]).start()
        with pytest.raises(SourceError, match="2 cycles of several images"):
            list(source.blocks())


def test_a_second_cycle_of_which_the_xml_says_that_it_is_time_goes_on(tmp_path):
    for n in range(4):
        write(tmp_path / file_name(0, 0, n), MOVIE[n, 0, 0])

    def more():
        time.sleep(0.2)
        write_xml(tmp_path, [sequence_xml(0, "TSeries Timed Element", "")], end="")
        for n in range(4):
            write(tmp_path / file_name(1, 0, n), MOVIE[4 + n, 0, 0])

    written_beside(more)
    with open_source(f"{tmp_path}?follow=1") as source:
        assert_whole(collected(source)[""], MOVIE[:8, 0, 0])


def test_files_of_several_slices_are_not_followed(tmp_path):
    write_xml(tmp_path, [sequence_xml(0, "TSeries ZSeries Element", "")], end="")
    for t in range(3):
        write(tmp_path / file_name(t, 0, 0), MOVIE[t, 0])
    with pytest.raises(SourceError, match="each of its files holds several slices"):
        open_source(f"{tmp_path}?follow=1")
