"""How far a session whose parts merged may lie from that of a single run: the law of merging."""

import numpy as np

BOUNDS = {np.float64: 1e-12, np.float32: 1e-6}  # of the largest value of each array


def furthest(whole, single):
    """The largest difference of two sessions' snapshots, by the largest value, of float64 and of float32 ones."""
    found = dict.fromkeys(BOUNDS, 0.0)
    for step in single.steps:
        for name, expected in single.snapshot(step).items():
            got = whole.snapshot(step)[name]
            if expected.dtype.kind != "f":
                np.testing.assert_array_equal(got, expected, err_msg=f"{step}.{name}")
                continue
            known = np.isfinite(expected)
            np.testing.assert_array_equal(got[~known], expected[~known], err_msg=f"{step}.{name}")
            largest = np.abs(expected[known]).max(initial=1e-300)
            apart = np.abs(got[known] - expected[known]).max(initial=0) / largest
            found[expected.dtype.type] = max(found[expected.dtype.type], float(apart))
            assert apart <= BOUNDS[expected.dtype.type], f"{step}.{name}: {apart}"
        values = whole.values(step)
        for name, expected in single.values(step).items():
            columns = expected if isinstance(expected, dict) else {"": expected}
            got = values[name] if isinstance(expected, dict) else {"": values[name]}
            assert got.keys() == columns.keys()
            for column in columns:
                np.testing.assert_array_equal(got[column], columns[column], err_msg=f"{step}.{name} {column}")
    return found
