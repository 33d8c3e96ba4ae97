"""Processes that compile the same kernel for other types at the same time find their own code in the cache.

Without the lock one run in four loses an entry.
"""

import sys

import pytest
from processes import context

KERNEL = """
import streamfluo.pixels.kernels
from numba import njit

@njit(cache=True)
def twice(x):
    return x + x
"""
VALUES = (1, 1.5, 2 + 1j, True)


def call(folder, value, said):
    """Say twice the value by the folder's kernel, and how often that was found in the cache."""
    sys.path.insert(0, folder)
    import kernel

    said.send((kernel.twice(value), sum(kernel.twice.stats.cache_hits.values())))


def begin(folder, value):
    hears, said = context.Pipe(duplex=False)
    process = context.Process(target=call, args=(str(folder), value, said))
    process.start()
    said.close()
    return process, hears


def outcome(process, hears):
    assert hears.poll(100)
    said = hears.recv()
    process.join(100)
    return said


@pytest.mark.timeout(300)
def test_every_type_is_found_again_with_its_own_code(tmp_path):
    (tmp_path / "kernel.py").write_text(KERNEL)
    expected = [value + value for value in VALUES]
    first = [begin(tmp_path, value) for value in VALUES]
    assert [outcome(*begun) for begun in first] == [(value, 0) for value in expected]
    again = [outcome(*begin(tmp_path, value)) for value in VALUES]
    assert again == [(value, 1) for value in expected], "compiled again: its entry in the cache was lost"
