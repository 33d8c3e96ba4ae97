"""Exports and movies are equal to their session, or it is said where they are not."""

import numpy as np
import pytest
import tifffile
from tampered import CONFIG, URI, Gappy, found

from streamfluo import open_session
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.session.export import export_session
from streamfluo.session.export_step_frames import export_step_frames
from streamfluo.sources.opening import open_source
from streamfluo.verify.verifying import Wanted, verify_session


@pytest.mark.parametrize("to", ["tiff", "npy", "ome-zarr", "csv"])
def test_an_export_is_equal_until_one_pixel_or_number_of_it_is_changed(session, tmp_path, to):
    if to == "ome-zarr":
        pytest.importorskip("zarr")
    copy = tmp_path / "copy"
    export_session(open_session(session), to, copy)
    assert found(session, Wanted(False, against=(copy,))) == []
    if to == "tiff":
        movie = tifffile.imread(copy / "frames.ome.tif")
        movie[7, 3, 3] += 1
        tifffile.imwrite(copy / "frames.ome.tif", movie)
    elif to == "npy":
        movie = np.load(copy / "frames.npy", mmap_mode="r+")
        movie[7, 3, 3] += 1
        movie.flush()
    elif to == "csv":
        path = copy / "moments.values.csv"
        path.write_text(path.read_text().replace("\n7,", "\n8,", 1))
    else:
        chunk = next(path for path in sorted(copy.rglob("*")) if path.is_file() and path.stat().st_size > 3000)
        chunk.unlink()
    verdict = verify_session(session, Wanted(False, against=(copy,)))
    assert (verdict.word, verdict.code) == ("differs", 6), verdict


def test_a_file_that_no_export_has_cannot_be_told(session, tmp_path):
    export_session(open_session(session), "csv", tmp_path / "copy")
    (tmp_path / "copy" / "more.csv").write_text("1")
    (one,) = found(session, Wanted(False, against=(tmp_path / "copy",)))
    assert one == f"cannot tell: {tmp_path}/copy/more.csv: no file of such an export"


def test_a_movie_that_has_more_frames_is_compared_at_their_indices(tmp_path):
    with open_source(URI) as source:
        engine = Engine(type("G", (Gappy,), {})(source), parse_config(CONFIG), tmp_path / "s")
        engine.start()
        engine.wait()
    frames = open_session(tmp_path / "s").read_frames(0, 80)
    movie = np.insert(frames, [20] * 5, 0, axis=0)
    assert len(movie) == 80
    tifffile.imwrite(tmp_path / "movie.tif", movie)
    assert found(tmp_path / "s", Wanted(False, against=(tmp_path / "movie.tif",))) == [
        f"differs: {tmp_path}/movie.tif: frame 25 is at 20 in the movie"
    ]


def test_a_corrected_movie_is_compared_with_the_step_that_handed_it_on(session, tmp_path):
    export_step_frames(open_session(session), "motion", "tiff", tmp_path / "copy")
    movie = tmp_path / "copy" / "motion.ome.tif"
    assert "80 frames" in verify_session(session, Wanted(False, against=(movie,))).checked[-1]
    held = tifffile.imread(movie)
    held[11, 2, 2] += 1
    tifffile.imwrite(movie, held)
    assert any("frame 11 has other pixels" in one for one in found(session, Wanted(False, against=(movie,))))
