"""Values by id of frames between which components come and go."""

import numpy as np

from streamfluo.calcium.values_by_id import values_by_id


def given(frames):
    found = values_by_id(("a", "b"), [(np.array(ids), np.array(rows, float)) for ids, rows in frames])
    return {name: array.tolist() for name, array in found.items()}


def test_ids_ascend_and_values_stand_below_theirs():
    expected = {"ids": [3, 7], "present": [[True, True]], "a": [[2.0, 1.0]], "b": [[4.0, 3.0]]}
    assert given([([7, 3], [[1, 2], [3, 4]])]) == expected
    twice = given([([7, 3], [[1, 2], [3, 4]])] * 2)
    assert twice == {name: value * 2 if name != "ids" else value for name, value in expected.items()}


def test_who_is_not_there_has_zero_and_is_not_present():
    found = given([([7], [[1], [2]]), ([9, 3], [[3, 4], [5, 6]])])
    assert found["ids"] == [3, 7, 9]
    assert found["present"] == [[False, True, False], [True, False, True]]
    assert found["a"] == [[0, 1, 0], [4, 0, 3]]
    assert found["b"] == [[0, 2, 0], [6, 0, 5]]


def test_of_no_frames_there_is_nothing():
    found = values_by_id(("a", "b"), [])
    assert [array.shape for array in found.values()] == [(0,), (0, 0), (0, 0), (0, 0)]
