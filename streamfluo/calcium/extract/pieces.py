"""Pieces of one cell, such as those of a dendrite: components that carry one signal, given as one."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from ...core.errors import StateError
from ...core.state import State
from .components import Components
from .params import ExtractParams

BIN = 5  # frames
SIGNAL_BINS = 400  # of so many frames, that signals are compared over: 67 s at 30 Hz
LEAST_BINS = 60
LEAST_SPREAD = 6.0  # bins that the activity of both is spread over: two cells may share a transient by chance
SIGMAS = 2.0  # by which a correlation is sure
SURE_LOSS = 0.1  # below `merge_corr`, that what is sure of a correlation may be
WITHIN = 10.0  # neuron_sigma_px between the footprints of two pieces that may be one
NONE = -1  # `whole` of a component that is no piece


class Signals:
    """The newest SIGNAL_BINS bins of each component's demixed activity, by id."""

    def __init__(self) -> None:
        self._ids = np.empty(0, np.int64)
        self._bins = np.empty((0, SIGNAL_BINS))
        self._seen = np.empty(0, np.int64)  # bins of each

    def add(self, cells: Components, number: int) -> None:
        """Add the bin `number` that ends now."""
        self._align(cells["id"])
        self._bins[:, number % SIGNAL_BINS] = cells["bin_sum"]
        self._seen += 1

    def _align(self, ids: np.ndarray) -> None:
        """Have a row for each of these components, in their order."""
        if not np.array_equal(ids, self._ids):
            bins, seen = np.zeros((len(ids), SIGNAL_BINS)), np.zeros(len(ids), np.int64)
            _, mine, before = np.intersect1d(ids, self._ids, return_indices=True)
            bins[mine], seen[mine] = self._bins[before], self._seen[before]
            self._ids, self._bins, self._seen = ids.copy(), bins, seen

    def of(self, cells: Components, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the signals (K, SIGNAL_BINS), the bin `number` last, and how many bins of each are known (K,)."""
        self._align(cells["id"])
        order = (number + 1 + np.arange(SIGNAL_BINS)) % SIGNAL_BINS
        return self._bins[:, order], np.minimum(self._seen, SIGNAL_BINS)

    def state(self) -> State:
        """Return all carried values as state entries."""
        return {"signal_ids": self._ids.copy(), "signal_bins": self._bins.copy(), "signal_seen": self._seen.copy()}

    def restore(self, state: State) -> None:
        """Restore what `state` returned. Raises StateError."""
        ids, bins, seen = (np.asarray(state.get(f"signal_{name}")) for name in ("ids", "bins", "seen"))
        counts = ids.ndim == 1 and ids.dtype == seen.dtype == np.int64 and seen.shape == ids.shape
        if not counts or bins.shape != (len(ids), SIGNAL_BINS) or not np.isfinite(bins).all():
            raise StateError("extract: state 'signal' must be finite bins by id; the state was damaged")
        self._ids, self._bins, self._seen = ids.copy(), bins.astype(float), seen.copy()


class Compared(NamedTuple):
    """Which pairs (K, K) of signals are surely one, and which are surely not."""

    one: np.ndarray
    apart: np.ndarray


def compared(signals: np.ndarray, seen: np.ndarray, noise: np.ndarray, shared: np.ndarray, least: float) -> Compared:
    """Return which pairs of signals (K, bins) are one, up to a factor and their noise.

    `seen` (K,) bins of each are known, the last ones; `noise` (K,) is the noise's variance in a bin, `shared` (K, K)
    its covariance, that of footprints that overlap. The correlation without noise is
    ρ = (cov − shared) / √((var − noise) (var' − noise')), Spearman 1904, Am. J. Psychol. 15:72. One are those of
    `least` or more, less SIGMAS of its error `least` − SURE_LOSS, whose activity is spread over LEAST_SPREAD bins,
    (Σ s²)² / Σ s⁴; apart those below `least` − SURE_LOSS.
    """
    found = Compared(*np.zeros((2, len(signals), len(signals)), bool))
    for bins in np.unique(seen[seen >= LEAST_BINS]).tolist():
        both = np.minimum(seen[:, None], seen) == bins  # pairs whose common bins these are
        rows = np.flatnonzero(seen >= bins)
        here = np.ix_(rows, rows)
        part = signals[rows, -bins:]
        part = part - part.mean(1, keepdims=True)
        products, extra = part @ part.T / bins, noise[rows]
        own = np.diag(products) - extra
        clear = (own > extra / 4)[:, None] & (own > extra / 4) & both[here]
        own = np.maximum(own, 1e-30)
        scale = np.sqrt(own[:, None] * own)
        correlation = (products - shared[here]) / scale
        error = np.sqrt(extra[:, None] * extra + extra[:, None] * own + own[:, None] * extra) / scale / np.sqrt(bins)
        joint = np.maximum(part, 0)
        spread = (joint @ joint.T) ** 2 / np.maximum((joint**2) @ (joint**2).T, 1e-30)
        sure = correlation - SIGMAS * error >= least - SURE_LOSS
        found.one[here] |= clear & (correlation >= least) & sure & (spread >= LEAST_SPREAD)
        found.apart[here] |= clear & (correlation < least - SURE_LOSS)
    np.fill_diagonal(found.one, False)
    return found


def groups(one: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return for each component (K,) the lowest id of those that pairs (K, K) connect it with, its own included."""
    lowest = ids.copy()
    while True:
        new = np.minimum(
            lowest, np.where(one, lowest[None], np.iinfo(np.int64).max).min(1, initial=np.iinfo(np.int64).max)
        )
        if np.array_equal(new, lowest):
            return lowest
        lowest = new


class Held(Protocol):
    """Signals that are compared: those of the newest bins, or of a whole recording."""

    def of(self, cells: Components, number: int, /) -> tuple[np.ndarray, np.ndarray]: ...


def merge_pieces(cells: Components, signals: Held, bins: int, params: ExtractParams) -> list[tuple[int, int]]:
    """Make pieces of accepted components whose signals are one; return the ids of new pieces and of their wholes.

    `bins` have ended so far. A piece is demixed as before, and gives its activity to its whole, that of the lowest id.
    """
    held, seen = signals.of(cells, bins - 1)
    known = np.isin(cells["whole"], cells["id"]) | cells["accepted"]
    judged = cells["verdict"] != 0
    known &= ~(judged | np.isin(cells["whole"], cells["id"][judged]))
    able = np.flatnonzero(known & ~cells["apart"])
    if len(able) < 2:
        return []
    noise = np.where(cells["own_noise"] > 0, cells["own_noise"], cells["live_noise"])[able]
    overlap = np.zeros((len(able), len(able)))
    place = {int(k): n for n, k in enumerate(able)}
    for n, k in enumerate(able.tolist()):
        for slot, other in enumerate(cells.neighbour[k, : cells.neighbours[k]].tolist()):
            if other in place:
                overlap[n, place[other]] = cells.overlap[k, slot] / np.sqrt(cells.energy[k] * cells.energy[other])
    frames = float(BIN)
    shared = -frames * overlap * noise[:, None] * noise
    one, apart = compared(held[able], seen[able], frames * noise**2, shared, params.least_merge_corr)
    one &= _gaps(cells, able) <= WITHIN * params.neuron_sigma_px
    before = cells["whole"][able]
    was = (before[:, None] == cells["id"][able]) | (before == cells["id"][able][:, None])
    one |= was & ~apart  # what is one stays so, unless it is seen to be another: where two cross, one may be silent
    lowest = groups(one, cells["id"][able])
    made: list[tuple[int, int]] = []
    rows = {int(i): int(k) for i, k in zip(cells["id"][able], able, strict=True)}
    for k, i in zip(able.tolist(), lowest.tolist(), strict=True):
        if i == cells.id[k]:
            if cells.whole[k] != NONE:
                cells.accepted[k] = True
            cells.whole[k], cells.share[k], cells.ratio[k] = NONE, 0, 1
        elif cells.whole[k] != i:
            if cells.whole[k] == NONE:
                made.append((int(cells.id[k]), i))
            cells.whole[k] = i
            cells.accepted[k] = False
    for i in np.unique(lowest[lowest != cells["id"][able]]).tolist():
        cells.accepted[rows[i]] = True
        members = able[lowest == i]
        weigh(cells, members, rows[i], held)
    return made


def weigh(cells: Components, members: np.ndarray, whole: int, held: np.ndarray) -> None:
    """Set the share that each piece (n,) has in the activity of the whole, and its own in units of that.

    x_k = r_k c + noise: c = Σ r_k x_k / σ_k² / Σ r_k² / σ_k², with r_k the slope of its signal on the whole's.
    """
    for k in members:
        if not cells.own_noise[k]:
            cells.own_noise[k] = cells.live_noise[k]
    noise2 = cells.own_noise[members] ** 2
    part = held[members] - held[members].mean(1, keepdims=True)
    own = held[whole] - held[whole].mean()
    ratio = part @ own / max(float(own @ own) - BIN * len(own) * float(cells.own_noise[whole]) ** 2, 1e-30)
    ratio = np.where(members == whole, 1.0, np.maximum(ratio, 0))
    weight = ratio / np.maximum(noise2, 1e-30)
    cells.share[members] = weight / float((ratio * weight).sum())
    cells.ratio[members] = ratio


def split(cells: Components, whole: int) -> list[int]:
    """Take the component with an id apart; return the rows of its pieces and its own, none of which is merged again."""
    rows = np.flatnonzero((cells["whole"] == whole) | (cells["id"] == whole)).tolist()
    for k in rows:
        cells.whole[k], cells.share[k], cells.ratio[k], cells.own_noise[k] = NONE, 0, 1, 0
        cells.apart[k], cells.accepted[k] = True, True
    return rows


def combined(cells: Components, raw: np.ndarray) -> np.ndarray:
    """Return demixed activity (n, K), that of wholes from all their pieces."""
    rows = cells.wholes()
    pieces = np.flatnonzero(rows >= 0)
    if not len(pieces):
        return raw
    given = raw.copy()
    heads = np.unique(rows[pieces])
    given[:, heads] = cells["share"][heads] * raw[:, heads]
    np.add.at(given.T, rows[pieces], (cells["share"][pieces] * raw[:, pieces]).T)
    return given


def _gaps(cells: Components, rows: np.ndarray) -> np.ndarray:
    """Return the distance [px] between the boxes round the footprints of components, pair by pair."""
    low, high = np.empty((len(rows), 2)), np.empty((len(rows), 2))
    for n, k in enumerate(rows.tolist()):
        y, x = np.nonzero(cells.box[k])
        at = np.stack([y, x], 1) + cells.origin[k] if len(y) else np.zeros((1, 2)) + cells.origin[k]
        low[n], high[n] = at.min(0), at.max(0)
    apart = np.maximum(0, np.maximum(low[:, None] - high, low - high[:, None]))
    return np.asarray(np.hypot(apart[..., 0], apart[..., 1]))
