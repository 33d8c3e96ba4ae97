"""Which kernels have machine code of their own, and that they give the same wherever they are called from."""

import sys

import numpy as np
import pytest
from processes import context

from streamfluo.pixels.kernels.kernel import kernel
from streamfluo.pixels.kernels.machine_code import waits


@kernel(cache=False)
def inverse(x, named):
    if x == 0:
        raise ZeroDivisionError(named + "has none")
    return 1 / x


@kernel(cache=False)
def inverses(values, named):
    total = 0.0
    for value in values:
        total += inverse(value, named)
    return total


def test_a_kernel_has_machine_code_once_python_calls_it():
    values = np.array([1.0, 2.0, 4.0])
    assert inverses(values, "zero ") == 1.75
    (inner,), (outer,) = inverse.overloads.values(), inverses.overloads.values()
    assert waits(inner.library)
    assert not waits(outer.library)
    assert inverse(4.0, "zero ") == 0.25
    (inner,) = inverse.overloads.values()
    assert not waits(inner.library)
    assert sum(inverse.stats.cache_misses.values()) == 1, "compiled again"
    assert inverse(8.0, "zero ") == 0.125
    assert inverses(values, "zero ") == 1.75


def test_an_error_is_the_same_from_within_a_kernel_and_from_python():
    for call in (lambda: inverses(np.zeros(1), "zero "), lambda: inverse(0.0, "zero ")):
        with pytest.raises(ZeroDivisionError, match="zero has none"):
            call()


MODULE = """
import numpy as np
from streamfluo.pixels.kernels.kernel import kernel

@kernel
def half(values):
    if values[0] < 0:
        raise ValueError("below zero", values[0])  # its arguments are constants of the function, not of its wrapper
    halves = np.empty_like(values)
    for n in range(len(values)):
        halves[n] = values[n] / 2 if values[n] < 1000 else halves[n - 1]
    return halves

@kernel
def quarter(values):
    return half(half(values))
"""


def call(folder, names, said):
    """Call kernels of a module in this order; say what they gave, and how many were compiled, not found."""
    sys.path.insert(0, folder)
    import halves

    given = [getattr(halves, name)(np.array([3.0]))[0] for name in names]
    with pytest.raises(ValueError, match="below zero"):
        getattr(halves, names[-1])(np.array([-3.0]))
    said.send((given, sum(sum(k.stats.cache_misses.values()) for k in (halves.half, halves.quarter))))


def in_a_process(folder, *names):
    hears, said = context.Pipe(duplex=False)
    process = context.Process(target=call, args=(str(folder), names, said))
    process.start()
    said.close()
    assert hears.poll(100)
    given = hears.recv()
    process.join(100)
    return given


def test_what_only_kernels_called_is_found_in_the_cache_by_python(tmp_path):
    (tmp_path / "halves.py").write_text(MODULE)
    assert in_a_process(tmp_path, "quarter") == ([0.75], 2)
    assert in_a_process(tmp_path, "half") == ([1.5], 0)
    kept = {path: path.read_bytes() for path in tmp_path.glob("__pycache__/*.nb?")}
    assert in_a_process(tmp_path, "quarter", "half") == ([0.75, 1.5], 0)
    assert kept == {path: path.read_bytes() for path in tmp_path.glob("__pycache__/*.nb?")}, "made once more"
