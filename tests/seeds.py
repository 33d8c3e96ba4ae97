"""Seeds of a statistical statement: the first is tried with every run of the tests, the others with `-m slow`."""

import pytest


def asked_for(metafunc, names, cases, **options):
    """Parametrise a test with those of its cases that the run may select: the laws have 4000 slow ones, a second."""
    without = "not slow" in metafunc.config.option.markexpr
    cases = [case for case in cases if not (without and any(mark.name == "slow" for mark in case.marks))]
    metafunc.parametrize(names, cases, **options)


def seeds(first, *others):
    """Parametrise a test with `seed`: one movie says each time what all of them say before a release."""
    return pytest.mark.parametrize("seed", [first, *(pytest.param(seed, marks=pytest.mark.slow) for seed in others)])
