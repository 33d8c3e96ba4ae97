"""The resolution that `sofi` gives by order follows from the width of its PSF."""

import numpy as np
import pytest

from streamfluo import Block, Spec, create
from streamfluo.simulate import blinking


@pytest.mark.parametrize(("pixel_um", "unit", "side"), [(0.1, "nm", 100.0), (None, "px", 1.0)])
def test_resolution_is_the_full_width_of_the_psf_over_the_root_of_the_order(pixel_um, unit, side):
    movie = blinking(shape=(40, 40), frames=192, seed=771_206)[0]
    operator = create("sofi", Spec(movie.shape[1:], str(movie.dtype), pixel_um=pixel_um), order=4, cross=1)
    operator.update(Block(0, np.arange(len(movie)), movie))
    found = operator.read(["resolution", "psf_sigma_px"])
    assert np.isfinite(found["psf_sigma_px"])
    expected = 2 * np.sqrt(2 * np.log(2)) * side * found["psf_sigma_px"] / np.sqrt([2, 3, 4])
    np.testing.assert_allclose(found["resolution"], expected)
    assert next(given.unit for given in operator.gives if given.name == "resolution") == unit
