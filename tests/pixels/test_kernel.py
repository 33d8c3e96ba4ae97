"""How kernels are compiled: as seldom as their types differ, and without what no kernel of ours shows."""

import numpy as np
import pytest
from numba.core import event
from numba.core.compiler import Flags

from streamfluo.pixels.kernels.kernel import kernel


@kernel(cache=False)
def raised(x, power):
    return x**power


@kernel(cache=False)
def summed(x, n):
    return raised(x, 2) + raised(x, 3) + raised(x, power=n)


@kernel(cache=False)
def copied(source, target):
    target[1:] = source


def test_constants_share_one_version_with_numbers():
    assert summed(2.0, 4) == 4 + 8 + 16
    assert len(raised.signatures) == 1


def test_an_array_of_another_shape_is_refused_and_no_strings_are_compiled_for_saying_so():
    with event.install_recorder("numba:compile") as compiled:
        target = np.zeros(4)
        copied(np.arange(3.0), target)
    assert target.tolist() == [0, 0, 1, 2]
    assert not [e for _, e in compiled.buffer if "unicode" in str(e.data["dispatcher"])]
    with pytest.raises(ValueError, match="cannot assign an array to a slice of another shape"):
        copied(np.arange(2.0), target)


def test_numba_options_are_equal_where_all_of_them_are_and_found_again_then():
    one, other = Flags(), Flags()
    found = {one: "kept"}
    assert found[other] == "kept"
    other.nrt = True
    assert one != other
    assert other not in found
    one.debuginfo = one.debuginfo  # set to what it is
    assert found[Flags()] == "kept"
    assert one != "options"
