"""Files by their file:// address, as programs hand them on."""

import numpy as np
import pytest
import tifffile

from streamfluo import open_source
from streamfluo.core.errors import SourceError
from streamfluo.reprocess.recordings import recordings

FRAMES = np.arange(5 * 8 * 8, dtype=np.uint16).reshape(5, 8, 8)


@pytest.fixture
def movie(tmp_path):
    tifffile.imwrite(tmp_path / "day 1.tif", FRAMES)
    return tmp_path / "day 1.tif"


@pytest.mark.parametrize("host", ["", "localhost"])
def test_a_file_address_is_the_file_with_its_selection(movie, host):
    uri = movie.as_uri().replace("file://", f"file://{host}")
    assert "%20" in uri
    with open_source(f"{uri}?frames=1:3") as source:
        np.testing.assert_array_equal(np.concatenate([block.pixels for block in source.blocks()]), FRAMES[1:3])


def test_a_recording_is_the_same_by_its_address_and_by_its_path(movie):
    assert recordings([movie.as_uri()]) == recordings([str(movie)]) == recordings([movie.as_uri(), str(movie)])
    assert recordings([f"file://{movie.parent}/*.tif"]) == recordings([str(movie)])


def test_a_file_of_another_computer_is_refused_by_its_name():
    with pytest.raises(SourceError, match=r"file://rig2/a\.tif: a file of the computer 'rig2'; name it by a path"):
        open_source("file://rig2/a.tif")
