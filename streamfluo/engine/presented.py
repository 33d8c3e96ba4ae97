"""What hello says of how operators lay out their results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.operator import Presents


def presented(shown: Mapping[str, Presents], raw_last: bool = False) -> dict[str, Any]:
    """Return the part of hello by kind of operator; `raw_last`: live frames come last, as raw ones alone are left."""
    return {
        "presents": {
            kind: (sorted(of.pictures, key=lambda name: raw_last and name == "frames"), list(of.details))
            for kind, of in shown.items()
        },
        "compares": {kind: of.compared for kind, of in shown.items() if of.compared},
        "drawn": {kind: drawn for kind, of in shown.items() if (drawn := of.drawn())},
    }
