"""Processes that compile the same kernel for other types at the same time find their own code in the cache.

Without the lock one run in four loses an entry.
"""

import subprocess
import sys

KERNEL = """
import streamfluo.pixels.kernels
from numba import njit

@njit(cache=True)
def twice(x):
    return x + x
"""
CALL = """
import sys

sys.path.insert(0, ".")
import kernel

print(kernel.twice({value}), dict(kernel.twice.stats.cache_hits))
"""
VALUES = ("1", "1.5", "2 + 1j", "(1.0, 2)[0] > 0")


def test_every_type_is_found_again_with_its_own_code(tmp_path):
    (tmp_path / "kernel.py").write_text(KERNEL)
    commands = [[sys.executable, "-c", CALL.format(value=value)] for value in VALUES]
    first = [subprocess.Popen(c, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for c in commands]
    assert [p.communicate(timeout=100)[0].split()[0] for p in first] == ["2", "3.0", "(4+2j)", "2"]
    for command, expected in zip(commands, ("2", "3.0", "(4+2j)", "2"), strict=True):
        said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        assert said.split()[0] == expected
        assert ": 1}" in said, "compiled again: its entry in the cache was lost"
