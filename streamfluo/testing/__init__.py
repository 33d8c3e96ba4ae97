"""The laws every operator keeps, for your own operator's tests.

    from streamfluo.testing import LAWS, check_laws

    check_laws("threshold", Spec((13, 17), "uint16"), level_adu=40.0)      # raises AssertionError, naming the law

Each law runs a small movie with two gaps through operators it makes itself. Laws share blind spots with the code they
compare, so an operator also needs a batch oracle: the textbook formula over the whole movie, sharing no code with it.
"""

from __future__ import annotations

from typing import Any

from ..core.operator import NO_VALUES
from ..core.registry import create
from ..core.spec import Spec
from . import decision_laws, live_laws, unseen_laws  # noqa: F401 - they put their laws into LAWS
from .laws import LAWS
from .subject import Inputs, Subject

__all__ = ["LAWS", "Subject", "check_laws"]


def check_laws(kind: str, spec: Spec, inputs: Inputs = lambda block: NO_VALUES, **params: Any) -> None:
    """Check all laws on one registered operator. Raises AssertionError that names the law and what differed."""
    for law in LAWS.values():
        law(Subject(lambda spec: create(kind, spec, **params), spec, inputs))
