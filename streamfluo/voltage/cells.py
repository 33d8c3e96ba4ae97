"""The cells that are followed: where they are, what they carry, and the passes that learn from it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..core.errors import StateError
from ..core.state import State, require_array, require_finite
from .contexts import Context, context_of
from .kernels.follow import AFTER, BEFORE, BINS, IMAGES, KEPT, RESPONSE, RING, TAPS, WINDOW, Filters, Running, Where
from .params import VoltageParams
from .passes import matched_filter, mean_waveform, spatial_weights
from .thresholds import EMPTY, ENOUGH, GONE, opposed, threshold_of

START_S = 1.0  # of frames before the first pass
FEW = 4  # spikes that a waveform is not learned from
YOUNG = 12  # passes in which the filter still changes
OFTEN, SELDOM = 16, 16  # passes in which, and every so many in which, all usual waveforms are tried again
PEAKS_KEPT, SPIKES_KEPT = 0.987, 0.995  # from pass to pass: 20 s, 50 s at 1000 fps
WAVE = BEFORE + 1 + AFTER


class Learned(NamedTuple):
    """What passes know of K cells, each (K,): how many passes there were, int64; SNR after the filter, expected F1,
    share of false and of missed spikes, F0 [ADU], 1 where the polarity is the other one, evidence of spikes; 0 where
    not known."""

    passes: np.ndarray
    snr: np.ndarray
    f1: np.ndarray
    false: np.ndarray
    missed: np.ndarray
    f0: np.ndarray
    opposed: np.ndarray
    evidence: np.ndarray


class Cells:
    """K cells of masks (K, y, x); `usual` are waveforms to begin with, the likeliest first."""

    def __init__(self, masks: np.ndarray, contexts: list[Context], sign: int, usual: list[np.ndarray]) -> None:
        self.masks, self._contexts, self._sign, self._usual = masks, contexts, sign, usual
        count, features = len(contexts), max([len(c.sizes) for c in contexts], default=1)
        sizes = np.concatenate([c.sizes for c in contexts] or [np.zeros(0, np.int64)])
        self.where = Where(
            np.concatenate([c.pixels for c in contexts] or [np.zeros(0, np.int64)]),
            np.concatenate(([0], np.cumsum(sizes))).astype(np.int64),
            np.concatenate(([0], np.cumsum([len(c.sizes) for c in contexts]))).astype(np.int64),
            np.array([c.own for c in contexts], np.int64),
        )
        z = np.zeros
        self.filters = Filters(
            z((count, features)),
            z((count, features)),
            z((count, TAPS)),
            z((count, WAVE)),
            z((count, RESPONSE)),
            np.full(count, np.inf),
        )
        self.running = Running(
            z((count, features)), z((count, features)), z((count, IMAGES, features)), z((count, features, features)),
            z((count, 2)), z((count, RING)), z((count, RING)), z((count, RING)), z((count, 3)), z(count),
            z((count, TAPS)), z((count, features)), z((count, KEPT, WINDOW)), z((count, 2)), z((count, RING)), z(count),
            z((count, 2)), z((count, 2, BINS)), z(count), z(count),
            z((count, 2), np.int64),
        )  # fmt: skip
        self.learned = Learned(z(count, np.int64), *z((7, count)))
        for k in range(count):
            own = self.where.own[k]
            share = self._sizes(k)[:own] / self._sizes(k)[:own].sum()
            self.filters.weights[k, :own] = sign * share

    def _sizes(self, k: int) -> np.ndarray:
        begin, end = self.where.cells[k : k + 2]
        return np.asarray(np.diff(self.where.starts[begin : end + 1]))

    def learn(self, k: int, per_second: int, fast: bool) -> None:
        """Have a pass of cell k: the first one once it has seen a second of frames, a filter and a threshold later."""
        running, learned = self.running, self.learned
        if running.known[k, 1] < max(START_S * per_second, 2 * RING):
            return
        learned.passes[k] += 1
        sizes = self._sizes(k)
        features, own = len(sizes), self.where.own[k]
        self._learn_f0(k, sizes)
        weights, _ = spatial_weights(
            running.covariance[k, :features, :features],
            (np.arange(features) < own).astype(float),
            self._sign * running.spike_image[k, :features],
            running.counts[k, 0],
        )
        self.filters.weights[k, :features] = self._sign * weights
        variance = np.diag(running.covariance[k, :features, :features]) / max(running.weight[k, 0], 1e-9)
        self.filters.spread[k, own:features] = np.sqrt(variance[own:])
        if learned.passes[k] == 1:  # the trace is another one from now on
            running.autocovariance[k], running.weight[k, 1] = 0, 0
        elif fast:
            self._learn_spikes(k)
        if learned.passes[k] in (4, 8):  # before, spikes that were not detected yet were taken for noise
            running.autocovariance[k] *= 0.1
            running.weight[k, 1] *= 0.1
        running.spike_image[k] *= SPIKES_KEPT
        running.counts[k, 0] *= SPIKES_KEPT
        running.peaks[k] *= PEAKS_KEPT
        running.looked[k] *= PEAKS_KEPT

    def _learn_f0(self, k: int, sizes: np.ndarray) -> None:
        """Light of the cell at rest above what surrounds it; 0 where that is not above its unevenness."""
        own = self.where.own[k]
        level, around = self.running.slow[k, : len(sizes)], self.running.slow[k, own : len(sizes)]
        self.learned.f0[k] = 0
        if len(around):
            f0 = np.average(level[:own], weights=sizes[:own]) - np.average(around, weights=sizes[own:])
            self.learned.f0[k] = f0 if f0 > around.std() / 2 else 0

    def _learn_spikes(self, k: int) -> None:
        running, learned, filters = self.running, self.learned, self.filters
        noise = running.autocovariance[k] / max(running.weight[k, 1], 1e-9)
        passes, taught = learned.passes[k], int(running.counts[k, 1])
        begin = [filters.waveform[k]] if filters.waveform[k].any() else []
        if passes < OFTEN or passes % SELDOM == 0 or not begin:
            begin += self._usual
        windows = running.windows[k, : min(taught, KEPT)]
        wave = mean_waveform(windows, noise, begin)
        filters.matched[k], response = matched_filter(noise, wave)
        if passes == 2:
            running.peaks[k], running.looked[k] = 0, 0
            return
        up, down = running.peaks[k]
        down = down * running.looked[k, 0] / max(running.looked[k, 1], 1)
        found = threshold_of(up, down)
        lasting, learned.evidence[k] = min(found.evidence, learned.evidence[k]), found.evidence
        learned.opposed[k] = opposed(up, down)
        filters.threshold[k] = np.inf if learned.opposed[k] else found.level
        if known := found.evidence > GONE if learned.snr[k] > 0 else lasting > ENOUGH:
            learned.snr[k], learned.f1[k] = found.snr, found.f1
            learned.false[k], learned.missed[k] = found.false, found.missed
        else:
            for one in (learned.snr, learned.f1, learned.false, learned.missed):
                one[k] = 0
            filters.threshold[k] = max(EMPTY, filters.threshold[k])
        # those that taught are the larger ones: the height is that of all
        size = found.snr / response[0] if known and response[0] > 0 else 0.0
        filters.waveform[k] = wave * size
        # given back after a false spike, what follows below 0 would be detected next: only where hardly any is false
        trusted = min(max(found.snr - 4, 0.0), 1.0)
        filters.response[k] = size * np.where(response < 0, trusted * response, response)
        if passes < YOUNG:  # peaks of filters that knew less
            running.peaks[k] *= 0.85
            running.looked[k] *= 0.85

    def going_on(self, old: Cells) -> Cells:
        """Take over from other cells what those with the same pixels in the same place carry; returns itself."""
        pairs = zip(self.masks, old.masks, strict=False)
        for k in [n for n, (one, other) in enumerate(pairs) if np.array_equal(one, other)]:
            for mine, its in zip(self._arrays().values(), old._arrays().values(), strict=True):
                if mine.ndim > 1 and mine.shape[1:] != its.shape[1:]:  # cells of other numbers of features
                    shared = tuple(slice(0, min(a, b)) for a, b in zip(mine.shape[1:], its.shape[1:], strict=True))
                    mine[k][shared] = its[k][shared]
                else:
                    mine[k] = its[k]
        return self

    def with_more(self, masks: np.ndarray, params: VoltageParams) -> Cells:
        """Return these cells and, behind them, others of masks (n, y, x) that have seen nothing yet."""
        contexts = [*self._contexts, *(context_of(mask, params.gap_px, params.context_px) for mask in masks)]
        return Cells(np.concatenate((self.masks, masks)), contexts, self._sign, self._usual).going_on(self)

    def state(self) -> State:
        """Return all carried values as state entries, with the pixels of the cells that they are of."""
        pixels = [np.flatnonzero(mask) for mask in self.masks]
        arrays = {name: array.copy() for name, array in self._arrays().items()}
        arrays["threshold"] = np.nan_to_num(arrays["threshold"], posinf=-1)
        sizes = np.array([len(one) for one in pixels], np.int64)
        return {"cell_pixels": np.concatenate([*pixels, np.zeros(0, np.int64)]), "cell_sizes": sizes, **arrays}

    def restore(self, state: State, where: str) -> None:
        """Take over what `state` returned of cells with these masks. Raises StateError."""
        for name, array in self._arrays().items():
            if array.dtype == np.int64:
                array[:] = require_array(state, name, array, where)
            else:
                array[:] = require_finite(state, name, array, where)
        threshold = self.filters.threshold
        threshold[threshold < 0] = np.inf

    def _arrays(self) -> dict[str, np.ndarray]:
        return {**self.filters._asdict(), **self.running._asdict(), **self.learned._asdict()}


def cells_of(masks: np.ndarray, params: VoltageParams, usual: list[np.ndarray]) -> Cells:
    """Return cells of masks (K, y, x) that have seen nothing yet."""
    contexts = [context_of(mask, params.gap_px, params.context_px) for mask in masks]
    return Cells(masks, contexts, 1 if params.polarity == "positive" else -1, usual)


def masks_of_state(state: State, shape: tuple[int, int], where: str) -> np.ndarray:
    """Return the masks (K, y, x) that a state is of. Raises StateError."""
    pixels, sizes = (np.asarray(state.get(f"cell_{name}")) for name in ("pixels", "sizes"))
    fits = all(one.ndim == 1 and one.dtype == np.int64 for one in (pixels, sizes))
    if not fits or (sizes < 1).any() or sizes.sum() != len(pixels):
        raise StateError(f"{where}: state 'cell_pixels' and 'cell_sizes' must be those of the cells")
    if len(pixels) and (pixels.min() < 0 or pixels.max() >= shape[0] * shape[1]):
        raise StateError(f"{where}: state 'cell_pixels' lie outside frames of {shape}")
    masks = np.zeros((len(sizes), shape[0] * shape[1]), bool)
    for mask, part in zip(masks, np.split(pixels, np.cumsum(sizes)[:-1]) if len(sizes) else [], strict=True):
        mask[part] = True
    return masks.reshape(-1, *shape)
