"""Recordings of other programs, held beside the project, against what their own readers say of them."""

import os
from pathlib import Path

import numpy as np
import pytest

from streamfluo import open_source

FORMATS = Path(os.environ.get("STREAMFLUO_DATA", Path(__file__).parents[3] / "shared" / "data")) / "formats"

# Planes, frame, time points, interval [s] by the times of the first plane, sum of all pixels: as the ndtiff package and
# tifffile read them.
HELD = {
    "12_bit_pycromanager_mda": (("DAPI/0", "FITC/0"), (64, 64), 4, 0.076 / 3, 6691712),
    "ndtiff3.2_11bit_1": (("",), (64, 64), 10, None, 4170880),
    "ndtiff3.2_monochrome": (tuple(f"0/{z}" for z in range(16)), (64, 64), 8, 1.353 / 7, 1389236224),
    "volume_tzyx_u8.tif": (("0/0", "0/1"), (76, 87), 20, None, 14133562),
}


@pytest.mark.parametrize("name", HELD)
def test_recordings_of_other_programs_are_read_whole(name):
    planes, shape, points, interval_s, total = HELD[name]
    if not (FORMATS / name).exists():
        pytest.skip(f"{FORMATS / name} is absent; set STREAMFLUO_DATA to the folder with the recordings")
    with open_source(FORMATS / name, planes=True) as source:
        assert source.spec.plane_names == planes
        assert source.spec.shape == shape
        assert source.spec.interval_s == (None if interval_s is None else pytest.approx(interval_s))
        assert source.spec.pixel_um == (None if name.endswith("tif") else 1.0)
        blocks = list(source.blocks())
    assert sum(len(block) for block in blocks) == points * len(planes)
    assert sum(int(block.pixels.astype(np.int64).sum()) for block in blocks) == total
