"""Every kernel compiled for the types that will come, before the first frame."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..kernels import background_modes as background
from ..kernels import demixing, footprints, outlines, residual, spikes
from ..kernels import footprint_statistics as shapes
from ..kernels import ring_regression as ring_kernels
from .acceptance import give_birth, rival
from .activity import Calcium
from .background import Scene
from .buffer import SCALE, Buffer
from .components import Components
from .detection import Detector
from .footprint_update import learn_shape, take_bin
from .proposal import refine
from .ring_background import Ring
from .settled_traces import Settling

_SHAPE, _BOX, _WINDOW, _BIN = (24, 24), (13, 13), 20, 5
_KERNELS: tuple[Any, ...] = (
    background.leading_courses, demixing.whiten, demixing.inner, demixing.project, demixing.sum_frames,
    demixing.take_modes, demixing.demix, demixing.demix_background, demixing.back_fill, spikes.follow,
    spikes.follow_low, spikes.recent_all, spikes.follow_second, spikes.recent_all_second, spikes.impulse,
    residual.take_out, residual.subtract_footprints, residual.store_bin, spikes.follow_past,
    residual.smooth, residual.centre_map, residual.combine, residual.peaks, footprints.cut_out, footprints.factorise,
    footprints.likeness, footprints.regrow, footprints.dilate, shapes.gather_evidence, shapes.gather_comoments,
    shapes.renew_overlaps, shapes.add_shifted, shapes.weigh_evidence, shapes.standings, shapes.list_support,
    outlines.outline, ring_kernels.bin_deviation, ring_kernels.take_cells, ring_kernels.ring_mean,
    ring_kernels.subtract_binned,
)  # fmt: skip


def compile_kernels(dtype: np.dtype[Any], modes: int) -> None:
    """Run every kernel once on a scene of a few pixels, unless that has been done for frames of this type."""
    known = [getattr(signature[0], "dtype", None) for signature in demixing.whiten.signatures]
    if dtype.name not in map(str, known) or not all(kernel.signatures for kernel in _KERNELS):
        _rehearse(dtype, modes)


def _rehearse(dtype: np.dtype[Any], modes: int) -> None:
    scene, cells = Scene(_SHAPE, modes), Components(_SHAPE, _BOX, modes, _WINDOW, 0.0)
    buffer, settling, detector = Buffer(_SHAPE, modes, _WINDOW, _BIN), Settling(), Detector(_SHAPE, (1.5, 2.4), 0.6)
    calcium = Calcium(0.04, 0.4, 0.1, 1)
    yy, xx = np.ogrid[: _SHAPE[0], : _SHAPE[1]]
    blob = np.exp(-((yy - 12) ** 2 + (xx - 12) ** 2) / 8).astype(np.float32)
    ripple = (np.sin(7.0 * yy) * np.cos(5.0 * xx)).astype(np.float32)
    scene.begin(100 + 10 * blob, [((-1) ** t * ripple).astype(np.float16) for t in range(6)])
    total = np.zeros(_SHAPE, np.float32)
    given = np.zeros(_SHAPE, dtype)
    given.flags.writeable = False
    mode = np.zeros(modes)
    for frame in (given, np.zeros(_SHAPE, np.float32)):
        demixing.whiten(frame, scene.mean, scene.weight, scene.modes, mode, SCALE, buffer.frames[0], mode)
    buffer.count = 4 * _WINDOW  # bins enough to have a calm
    buffer.bins[:4] = (ripple * 30)[None] + 600 * blob * np.array([0, 0, 1, 0.5])[:, None, None]
    detector.look(np.zeros(detector.shape, np.float32))
    detector.bins = 9
    detector.candidates(2)
    order = buffer.bin_order()
    found = refine(buffer.bins, order, cells.corner(12.0, 12.0), _BOX, (12.0, 12.0), 2.0, 2.0)
    assert found is not None
    for _ in range(2):
        rival(cells, found, 0.5)
        give_birth(cells, scene, buffer, found, order, calcium)
    _live(scene, cells, total, buffer, mode)
    cells["moment"][:] *= 2
    learn_shape(cells, scene, 0, 2.0)
    cells.standings()
    for process in (Calcium(0.04, 0.4, 0.1, 2), calcium):
        process.follow(cells, "live", np.zeros(cells.count), np.ones(cells.count, bool))
        process.past(cells, 0, np.zeros(2))
        settling.take(cells, buffer, process, 0)
        settling.rows(cells, process, keep=0)
    ring = Ring(_SHAPE, 8.0)
    for frame in (given, np.zeros(_SHAPE, np.float32)):
        ring.subtract(frame, cells, scene.noise)
    outlines.outline(blob > 0.5, np.zeros((10, 2), np.float32))


def _live(scene: Scene, cells: Components, total: np.ndarray, buffer: Buffer, mode: np.ndarray) -> None:
    """What the operator itself asks of the kernels each frame and each bin."""
    products, free = np.ones(cells.count), np.full(cells.count, -np.inf)
    pixels = buffer.frames[0].reshape(-1)
    demixing.project(pixels, 1 / float(SCALE), cells.index, cells.value, cells.pixels, products)
    demixing.sum_frames(buffer.frames, buffer.slots()[-_BIN:], float(SCALE), scene.modes, mode, total)
    demixing.demix_background(
        products, np.zeros(len(mode)), cells.energy, cells.neighbour, cells.overlap, cells.neighbours,
        cells.mode_overlap, cells.row_overlap, scene.gram, free, 1, cells["activity"], mode,
    )  # fmt: skip
    residual.subtract_footprints(total.reshape(-1), cells.index, cells.value, cells.pixels, cells["bin_sum"])
    residual.store_bin(total, np.float32(1), buffer.bins[0], np.zeros((_SHAPE[0] // 2, _SHAPE[1] // 2), np.float32))
    take_bin(cells, total, 3, _BIN)
