"""Merges of components, as a step says of them beside its values by id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..core.step_values import MERGED


class Merge(NamedTuple):
    """From the frame behind `frame` on the component `id` is part of `into`."""

    frame: int
    id: int
    into: int


def merges(inputs: Mapping[str, Any], need: str) -> list[Merge]:
    """Return the merges that came beside a need, in their order; none where the step says nothing of them."""
    if (rows := inputs.get(f"{need}.{MERGED}")) is None or not len(rows["frame"]):
        return []
    return [Merge(*row) for row in np.column_stack([rows[name] for name in Merge._fields]).tolist()]
