"""Floor 2: one operator a file; importing this package registers them all.

To add one: a file with its Params and a class under `@register("kind")`, one import line here, one test file with its
batch oracle. Config, `streamfluo list`, `check`, the laws, session and checkpoints follow from the registration.
An operator may import core and kernels.
"""

from . import bin, count, debleach, extract, gain, interpolate, moments, motion, reconstruct, sofi, spots

__all__ = [
    "bin", "count", "debleach", "extract", "gain", "interpolate", "moments", "motion", "reconstruct", "sofi", "spots",
]  # fmt: skip
