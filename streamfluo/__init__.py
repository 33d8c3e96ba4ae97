"""streamfluo: results from a fluorescence microscope's frame stream while the sample is still on the stage.

    core/       floor 0   the contract and its words: block, spec, operator, registry, state, wire messages, errors
    pixels/     floor 1   what every science needs of pixels: power sums, medians, binning, interpolation
    motion/  calcium/  sofi/  gain/  spots/  counting/
                floor 2   one science each: kernels, operators, batch functions, what its results mean
    sources/    floor 2   where frames come from: files, cameras, simulators
    network/    floor 2   sockets: data server, consumer, ingest, publishing
    session/    floor 3   what a run leaves behind: journal, writer, reader, checkpoints, export
    engine/     floor 4   config, chain, ring buffer, threads, publisher
    viewer/     floor 5   a window on the wire
    cli/        floor 5   one command a file

`analysis`, `counting`, `simulate`, `testing` and `client` are for notebooks and for programs of yours. A floor imports
only from floors below it, a science from core and pixels alone (tests/test_floors.py). Names below load on first use.
"""

from .core.lazy import lazy_names

__version__ = "0.1.0"  # the one place that says it; pyproject.toml reads it here

_FACES = ("analysis", "client", "counting", "simulate", "testing")

__getattr__, _names = lazy_names(
    {
        "calcium.across_days.registration": ("register_sessions",),
        "core.block": ("Block",),
        "core.decision": ("Decided", "Decision", "Takes"),
        "core.errors": (
            "ConfigError", "FrameError", "SessionError", "SourceError", "StateError", "StreamfluoError", "WireError",
        ),
        "core.freezable": ("Freezable",),
        "core.operator": (
            "Gives", "Mergeable", "Operator", "Output", "Places", "Presents", "SnapshotOperator", "Table",
        ),
        "core.params": ("Params",),
        "core.plane": ("Plane",),
        "core.registry": ("register",),
        "core.source": ("Source",),
        "core.spec": ("Camera", "Spec"),
        "core.state": ("State",),
        "core.unseen": ("known_pixels",),
        "engine.chain": ("Chain",),
        "engine.loading": ("create",),
        "session.reader": ("Session", "open_session"),
        "sources.opening": ("open_source",),
        "spots.integrate_crops": ("integrate_crops",),
    },
    _FACES,
)  # fmt: skip
__all__ = [*_names, "__version__"]


def __dir__() -> list[str]:
    return [*__all__, *_FACES]
