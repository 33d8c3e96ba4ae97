"""The textbook pipeline over a whole movie, in numpy and scipy: it shares no code with the operator.

Background by linear regression, a whitened matched filter, a threshold from the noise's own distribution; five passes.
"""

import numpy as np
from scipy import ndimage, signal

SPAN = 10  # frames on either side of a spike that the filter looks at


def spikes_of(movie, mask, passes=5, gap=3, width=12):
    """The frames of the spikes of one cell (n,), and its trace (t,), from a whole movie (t, y, x) and its mask."""
    flat = movie.reshape(len(movie), -1).astype(float)
    distance = ndimage.distance_transform_edt(~mask).ravel()
    around = np.flatnonzero((distance > gap) & (distance <= width))
    fast = [signal.sosfiltfilt(signal.butter(2, 5, "high", fs=1000, output="sos"), flat[:, p], axis=0)
            for p in (np.flatnonzero(mask.ravel()), around)]  # fmt: skip
    own, surroundings = fast
    modes = np.linalg.svd(surroundings - surroundings.mean(0), full_matrices=False)[0][:, :8]
    weights = np.full(own.shape[1], 1 / own.shape[1])
    template = np.exp(-np.abs(np.arange(-SPAN, SPAN + 1)) / 1.5)
    spikes = np.empty(0, int)
    for _ in range(passes):
        trace = own @ weights
        trace -= modes @ np.linalg.lstsq(modes, trace, rcond=None)[0]
        score = _filtered(trace, template, spikes)
        spikes = _above_threshold(score)
        spikes = spikes[(spikes > SPAN) & (spikes < len(trace) - SPAN)]
        if len(spikes) < 5:
            break
        template = np.mean([trace[s - SPAN : s + SPAN + 1] for s in spikes], 0)
        image = own[spikes].mean(0)
        weights = np.maximum(image, 0) / np.maximum(flat[:, mask.ravel()].mean(0), 1)  # shot noise: variance ~ mean
        weights /= weights.sum()
    return spikes, trace


def _filtered(trace, template, spikes):
    """The trace through the template over the noise's power spectrum, in robust σ."""
    noise = trace.copy()
    for s in spikes:
        noise[s - SPAN : s + SPAN + 1] -= template
    power = signal.welch(noise, nperseg=256, return_onesided=False)[1]
    lags = np.fft.ifft(power).real[: 2 * SPAN + 1]
    whitened = np.linalg.solve(lags[np.abs(np.subtract.outer(*[np.arange(2 * SPAN + 1)] * 2))], template)
    score = np.correlate(trace, whitened, "same")
    return score / (1.4826 * np.median(np.abs(score)))


def _above_threshold(score):
    """Peaks above the threshold at which 2 (found − noise) / (found + most found) is largest."""
    up = signal.find_peaks(score)[0]
    down = -score[signal.find_peaks(-score)[0]]
    levels = np.arange(2.5, 8, 0.1)
    found = np.array([(score[up] >= level).sum() for level in levels])
    spread = np.sqrt(np.mean(down[down > 0] ** 2) / 2)  # of a Gaussian's peaks: Rayleigh
    noise = (down > 0).sum() * np.exp(-(levels**2) / (2 * spread**2))
    true = np.maximum(found - noise, 0)
    f1 = 2 * true / np.maximum(found + true.max(), 1)
    return up[score[up] >= levels[np.argmax(f1)]]
