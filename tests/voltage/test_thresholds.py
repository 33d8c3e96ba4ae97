"""Spikes and noise told apart in the heights of peaks, against heights that were drawn."""

import numpy as np
import pytest

from streamfluo.voltage import cells
from streamfluo.voltage.cells import Cells
from streamfluo.voltage.contexts import Context
from streamfluo.voltage.kernels.follow import BINS, PER_SIGMA
from streamfluo.voltage.passes import usual_waveforms
from streamfluo.voltage.thresholds import (
    DOUBTFUL,
    EMPTY,
    ENOUGH,
    GONE,
    LOWEST,
    Threshold,
    noise_tail,
    opposed,
    threshold_of,
)


def histogram(heights):
    return np.bincount(np.minimum((heights * PER_SIGMA).astype(int), BINS - 1), minlength=BINS).astype(float)


def drawn(spikes, snr, noise=1500, seed=0):
    """Histograms of upward and downward peaks: Rayleigh noise both ways, and spikes upwards."""
    rng = np.random.default_rng(seed)
    up, down = rng.rayleigh(1.0, noise), rng.rayleigh(1.0, noise)
    return histogram(np.concatenate((up, np.maximum(rng.normal(snr, 1, spikes), 0)))), histogram(down)


def best_threshold(spikes, snr, noise=1500):
    """Of the formula with everything known: F1 = 2 T / (T + N + S)."""
    from scipy.special import ndtr

    levels = np.arange(2.2, 8, 0.1)
    hits = spikes * ndtr(snr - levels)
    f1 = 2 * hits / (hits + noise * np.exp(-(levels**2) / 2) + spikes)
    return levels[f1.argmax()], f1.max()


@pytest.mark.parametrize(("spikes", "snr"), [(150, 3.5), (150, 5.0), (40, 5.0), (400, 4.0), (100, 8.0)])
def test_threshold_snr_and_f1_are_those_of_the_heights_that_were_drawn(spikes, snr):
    level, f1 = best_threshold(spikes, snr)
    found = [threshold_of(*drawn(spikes, snr, seed=seed)) for seed in range(6)]
    assert np.mean([one.snr for one in found]) == pytest.approx(snr, abs=0.35)
    assert np.mean([one.level for one in found]) == pytest.approx(level, abs=0.25)
    assert np.mean([one.f1 for one in found]) == pytest.approx(f1, abs=0.04)
    assert min(one.evidence for one in found) > ENOUGH


def test_noise_alone_gives_no_evidence_and_few_low_peaks_hardly_any():
    alone = [threshold_of(*drawn(0, 0, noise, seed)) for seed in range(10) for noise in (120, 400, 2000)]
    assert max(one.evidence for one in alone) < ENOUGH
    assert np.median([one.evidence for one in alone]) < GONE
    hard = [threshold_of(*drawn(60, 2.0, seed=seed)) for seed in range(10)]
    assert np.mean([one.f1 for one in hard]) < DOUBTFUL
    few = threshold_of(*drawn(30, 5.0, noise=60))
    assert few.evidence == 0  # fewer than 100 peaks of noise say nothing of its tail


def test_the_tail_of_the_noise_goes_on_as_its_own_gaussian():
    for width in (0.8, 1.0, 1.3):
        tails = [noise_tail(histogram(np.random.default_rng(seed).rayleigh(width, 2000))) for seed in range(8)]
        at = int(4 * width * PER_SIGMA)
        expected = 2000 * np.exp(-(4.0**2) / 2)
        assert np.mean([tail[at] for tail in tails]) == pytest.approx(expected, rel=0.6)
    assert EMPTY > 4


def test_spikes_that_go_down_are_the_other_polarity():
    up, down = drawn(60, 6.0)
    assert opposed(down, up)
    assert not opposed(up, down)
    assert not opposed(*drawn(0, 0))


def learning(monkeypatch, evidence):
    """A cell's known SNR after each pass, in which peaks have this evidence."""
    said = iter(evidence)
    monkeypatch.setattr(cells, "threshold_of", lambda up, down: Threshold(3.0, 4.0, 0.9, 0.1, 0.1, next(said)))
    one = Cells(np.ones((1, 4, 4), bool), [Context(np.arange(16), np.ones(16, np.int64), 8)], 1, usual_waveforms(1.0))
    one.running.known[0, 1], one.running.weight[0] = 10_000, 1.0
    one.running.autocovariance[0, 0] = 1.0
    one.running.covariance[0] = np.eye(16)
    one.learned.passes[0] = 2
    told = []
    for _ in evidence:
        one.learn(0, 1000, fast=True)
        told.append(bool(one.learned.snr[0] > 0))
        assert np.isfinite(one.filters.threshold[0])
        assert (one.filters.threshold[0] >= EMPTY) == (not told[-1])
    return told


def test_spikes_are_told_once_two_passes_have_evidence_and_until_it_is_gone(monkeypatch):
    sure, some, none = ENOUGH + 1, (ENOUGH + GONE) / 2, GONE - 1
    assert learning(monkeypatch, [sure, sure, some, some, none, some, sure, some, sure, sure]) == [
        False, True, True, True, False, False, False, False, False, True,
    ]  # fmt: skip


def test_no_threshold_is_so_low_that_most_peaks_of_the_noise_reach_it():
    many = threshold_of(*drawn(1500, 2.0, noise=500))  # everything is best told where spikes are three of four peaks
    assert many.level == LOWEST
