"""Seeds of a statistical statement: the first is tried with every run of the tests, the others with `-m slow`."""

import pytest


def seeds(first, *others):
    """Parametrise a test with `seed`: one movie says each time what all of them say before a release."""
    return pytest.mark.parametrize("seed", [first, *(pytest.param(seed, marks=pytest.mark.slow) for seed in others)])
