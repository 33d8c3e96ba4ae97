"""Compilation of every kernel for its types, before the first frame: in three parts, some 10 s of a core each."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...core.spec import Spec
from ..banded import WhiteRows, whiten
from ..kernels import (
    background_modes,
    compactness,
    demixing,
    footprint_lists,
    footprint_r2,
    footprint_statistics,
    footprints,
    frame_values,
    impulse_responses,
    initial_frames,
    outlines,
    residual,
    ring_regression,
    rises,
    spikes,
)
from ..time_constants import TYPICAL, costs, prepare
from .acceptance import add_component, matching_component
from .activity import Deconvolution
from .background import Background
from .buffer import SCALE, Buffer
from .components import Components
from .detection import Candidate, Detector
from .first_frames import FirstFrames, SceneWatch
from .footprint_update import refine_footprint, update_statistics
from .params import ExtractParams
from .proposal import Proposal, propose
from .ring_background import RingBackground
from .settled_traces import SettledTraces

_SHAPE, _BOX, _CORNER, _WINDOW, _BIN = (24, 24), (13, 13), (6, 6), 20, 5
_KERNELS: tuple[Any, ...] = (
    background_modes.temporal_modes, compactness.compactness,
    demixing.whiten_rows, demixing.mode_products, demixing.inner, demixing.sum_frames,
    demixing.demix_stored, demixing.project_past, spikes.initial_levels,
    spikes.deconvolve_samples, frame_values.follow_frame,
    spikes.deconvolve_history, spikes.newest_traces, spikes.deconvolve_samples_ar2,
    spikes.newest_traces_ar2, impulse_responses.sparse_spikes,
    residual.subtract_from_bins, residual.subtract_footprints,
    residual.store_bin, residual.smooth, residual.standardise_map, residual.pool_maps, residual.peaks,
    footprints.read_patch, footprints.factorise, footprints.spatial_correlation, footprints.update_footprint,
    footprint_statistics.update_regression, footprint_statistics.update_comoments,
    footprint_lists.refresh_footprint, footprint_lists.change_footprint, footprint_lists.correct_neighbours,
    footprint_statistics.add_shifted, footprint_statistics.update_evidence,
    footprint_statistics.add_past_evidence, footprint_statistics.update_falls, footprint_statistics.add_past_falls,
    footprint_statistics.component_snr,
    rises.observe_rises, rises.quantile_of_rises,
    initial_frames.read_half, initial_frames.deviation_quantile, initial_frames.add_initial,
    initial_frames.whiten_initial,
    initial_frames.known_or_zero, initial_frames.add_weighed,
    footprint_r2.footprint_r2, outlines.outline, ring_regression.bin_deviation_rows, ring_regression.bin_of_pixels,
    ring_regression.bin_components, ring_regression.ring_sum,
    ring_regression.known_bins, ring_regression.subtract_binned_modes, ring_regression.update_ring,
)  # fmt: skip


def compile_kernels(params: ExtractParams, spec: Spec) -> None:
    """Call every kernel once on a few pixels, unless this process has done so for frames of this type."""
    known = [getattr(signature[0], "dtype", None) for signature in demixing.whiten_rows.signatures]
    if np.dtype(spec.dtype).name not in map(str, known) or not all(kernel.signatures for kernel in _KERNELS):
        compile_search(params, spec)
        compile_following(params, spec)
        compile_traces(params, spec)


class _Few(NamedTuple):
    """A blob and a ripple on a few pixels, and what is kept of them."""

    blob: np.ndarray
    ripple: np.ndarray
    background: Background
    settled: SettledTraces
    cells: Components
    buffer: Buffer

    @classmethod
    def of(cls, modes: int) -> _Few:
        yy, xx = np.ogrid[: _SHAPE[0], : _SHAPE[1]]
        blob = np.exp(-((yy - 12) ** 2 + (xx - 12) ** 2) / 8).astype(np.float32)
        ripple = (np.sin(7.0 * yy) * np.cos(5.0 * xx)).astype(np.float32)
        settled, buffer = SettledTraces(0.04), Buffer(_SHAPE, modes, _WINDOW, _BIN)
        cells = Components(_SHAPE, _BOX, modes, _WINDOW, 0.0, settled.samples)
        buffer.count = 4 * _WINDOW  # enough bins to have inactive ones
        buffer.bins[:4] = (ripple * 30)[None] + 600 * blob * np.array([0, 0, 1, 0.5])[:, None, None]
        return cls(blob, ripple, Background(_SHAPE, modes), settled, cells, buffer)


def compile_search(params: ExtractParams, spec: Spec) -> None:
    """Call the kernels of the background, of detection and of proposals."""
    modes = params.background_components
    blob, ripple, background, _, cells, buffer = _Few.of(modes)
    background.initialise(100 + 10 * blob, [((-1) ** t * ripple).astype(np.float16) for t in range(6)])
    first_frames = FirstFrames(_SHAPE)
    first_frames.append(0, blob)
    assert len(first_frames[0])
    mode, binned = np.zeros(modes), np.zeros((1, 1), np.float32)
    for frame in _frames(spec.dtype):
        SceneWatch().is_odd(frame, background.mean, background.weight)
        whiten(frame, background.whitening, (mode, binned), SCALE, buffer.frames[0], WhiteRows.of(_SHAPE, modes))
    _detect()
    candidate = Candidate(12.0, 12.0, 2.0, 5.0)
    proposal = propose(buffer, cells.corner(12.0, 12.0), _BOX, candidate, 2.0)
    assert proposal is not None
    outlines.outline(blob > 0.5, np.zeros((10, 2), np.float32))


def compile_following(params: ExtractParams, spec: Spec) -> None:
    """Call the kernels that follow components."""
    modes = params.background_components
    blob, _, background, _, cells, buffer = _Few.of(modes)
    background.mean[...], background.weight[...] = 100 + 10 * blob, 1
    proposal = Proposal(_CORNER, _footprint(blob), _footprint(blob), np.zeros(len(buffer.bin_order())), 1.0, 1.0, 5.0)
    for _ in range(2):
        matching_component(cells, proposal, 0.5)
        add_component(cells, background, buffer, proposal, Deconvolution(0.04, 0.4, 0.1, 1))
    _process_frame(background, cells, buffer, np.zeros(modes))
    cells["moment"][:] *= 2
    refine_footprint(cells, background, 0, 2.0)
    cells.explained_and_snr()


def compile_traces(params: ExtractParams, spec: Spec) -> None:
    """Call the kernels of traces, of spikes and of the ring's background."""
    modes = params.background_components
    blob, ripple, background, settled, cells, buffer = _Few.of(modes)
    background.mean[...], background.weight[...], background.noise[...] = 100 + 10 * blob, 1, 1
    for _ in range(2):
        cells.add(_CORNER, _footprint(blob), background, 0)
    cells.live_noise[:] = cells.late_noise[:] = 1
    ring = RingBackground(_SHAPE, 8.0, modes)
    ring.initialise(100 + 10 * blob, [ripple.astype(np.float16)], background)
    for frame in _frames(spec.dtype):
        ring.of(frame, background, cells)
    for deconvolution in (Deconvolution(0.04, 0.4, 0.1, 2), Deconvolution(0.04, 0.4, 0.1, 1)):
        deconvolution.update_history(cells, 0, np.zeros(2))
        settled.add(cells, background, buffer, deconvolution, np.arange(5))
        settled.rows(cells, deconvolution, last=True)  # with the kernels of its rates
    costs(np.zeros(20), 1.0, [TYPICAL], 0.05)
    prepare(np.zeros(20), 0.05)


def compile_on_card(params: ExtractParams, spec: Spec) -> None:
    """Call the kernel of values of a frame whose products come from a card."""
    _, _, background, _, cells, _ = _Few.of(params.background_components)
    modes = np.zeros(params.background_components)
    frame = np.zeros(0), modes, 1
    Deconvolution(0.04, 0.4, 0.1, 1).follow(cells, frame, cells.design(background), modes.copy(), 0)


def _frames(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """A frame as it comes, and one of floats."""
    return np.zeros(_SHAPE, dtype), np.zeros(_SHAPE, np.float32)


def _footprint(blob: np.ndarray) -> np.ndarray:
    (top, left), (height, width) = _CORNER, _BOX
    return np.ascontiguousarray(blob[top : top + height, left : left + width])


def _detect() -> None:
    detector = Detector(_SHAPE, (1.5, 2.4), 0.6)
    detector.add_bin(np.zeros(detector.shape, np.float32))
    detector.bins = 9
    detector.candidates(2)


def _process_frame(background: Background, cells: Components, buffer: Buffer, mode: np.ndarray) -> None:
    """Call the kernels that `Extraction` calls itself."""
    total, design, scale = np.zeros(_SHAPE, np.float32), cells.design(background), float(SCALE)
    pixels = buffer.frames[0].reshape(-1), 1 / scale, np.zeros(len(mode)), 1
    Deconvolution(0.04, 0.4, 0.1, 1).follow(cells, pixels, design, mode, 0)
    demixing.sum_frames(buffer.frames, buffer.slots()[-_BIN:], scale, background.modes, mode, total)
    residual.subtract_footprints(total.reshape(-1), cells.footprints, cells["bin_sum"])
    residual.store_bin(total, np.float32(1), buffer.bins[0], np.zeros((_SHAPE[0] // 2, _SHAPE[1] // 2), np.float32))
    update_statistics(cells, total, 3, _BIN)
