"""streamfluo: results from a fluorescence microscope's frame stream while the sample is still on the stage.

    streamfluo/
      core/        floor 0   spec, block, operator, state, params, registry, wire, errors
      kernels/     floor 1   pure numba functions on plain arrays
      operators/   floor 2   one operator a file
      edges/       floor 2   where frames come in and results go out
      pipeline/    floor 3   config, chain, ring, engine, session
      app/         floor 4   command line and demo

A floor imports only from floors below it (tests/test_floors.py). Names below load on first use.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "analysis.integration": ("integrate_crops",),
    "core.block": ("Block",),
    "core.errors": (
        "ConfigError", "FrameError", "SessionError", "SourceError", "StateError", "StreamfluoError", "WireError",
    ),
    "core.operator": ("Gives", "Mergeable", "Operator", "Output", "SnapshotOperator", "Table"),
    "core.params": ("Params",),
    "core.registry": ("create", "register"),
    "core.spec": ("Camera", "Spec"),
    "core.state": ("State",),
    "edges.source": ("Source", "open_source"),
    "pipeline.chain": ("Chain",),
    "pipeline.session": ("Session", "open_session"),
}  # fmt: skip
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [*sorted(_HOME), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'streamfluo' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"streamfluo.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
