"""Moving tissue with its truth: a band-limited scene shifted in Fourier space, with photon and read noise."""

import numpy as np
import scipy.ndimage as ndi

PAD = 16
COUNTS, OFFSET, READ_E = 20.0, 100.0, 1.0


def scene(shape, seed=0):
    """Mean photons of each pixel about 1, PAD pixels beyond `shape` on each side: shading, structure, somata."""
    rng = np.random.default_rng(seed)
    size = tuple(side + 2 * PAD for side in shape)

    def blobs(sigma):
        image = ndi.gaussian_filter(rng.standard_normal(size), sigma, mode="wrap")
        return image / image.std()

    tissue = np.clip(1 + 0.15 * blobs(25) + 0.08 * blobs(6) + 0.06 * blobs(2), 0.2, None)
    for _ in range(size[0] * size[1] // 500):
        y, x = rng.uniform(0, size[0]), rng.uniform(0, size[1])
        yy, xx = np.ogrid[: size[0], : size[1]]
        r = np.hypot(yy - y, xx - x)
        tissue += rng.uniform(0.1, 0.5) * np.exp(-(((r - 3) / 1.5) ** 2))
    return ndi.gaussian_filter(tissue, 0.7)


def seen_at(tissue, shift_px):
    """The scene with its tissue moved by (dy, dx), the field without the padding."""
    return moved(np.fft.rfft2(tissue), tissue.shape, shift_px)


def moved(spectrum, shape, shift_px):
    """`seen_at` of the tissue (shape) that has this spectrum."""
    fy, fx = np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1])
    phase = np.exp(-2j * np.pi * shift_px[0] * fy)[:, None] * np.exp(-2j * np.pi * shift_px[1] * fx)
    return np.fft.irfft2(spectrum * phase, shape)[PAD:-PAD, PAD:-PAD]


def record(tissue, shifts_px, photons, seed=0, illumination=None):
    """A movie (t, y, x) uint16 of the tissue at these shifts."""
    rng, spectrum = np.random.default_rng(seed), np.fft.rfft2(tissue)
    light = photons * np.ones(len(shifts_px)) if illumination is None else photons * np.asarray(illumination)
    frames = []
    for t, shift in enumerate(shifts_px):
        mean = np.maximum(moved(spectrum, tissue.shape, shift), 0) * light[t]
        electrons = rng.poisson(mean) + READ_E * rng.standard_normal(mean.shape)
        frames.append(np.clip(np.rint(electrons * COUNTS + OFFSET), 0, 65535).astype(np.uint16))
    return np.array(frames)


def drift(frames, seed=0, step_px=0.25, reach_px=3.0):
    """Shifts (t, 2) of an animal: a mean-reverting random walk."""
    rng = np.random.default_rng(seed)
    shifts = np.zeros((frames, 2))
    for t in range(1, frames):
        shifts[t] = 0.97 * shifts[t - 1] + step_px * rng.standard_normal(2)
    return np.clip(shifts, -reach_px, reach_px)


def bound_px(tissue, photons):
    """Cramér–Rao bound of a rigid shift against the known scene, 2-D RMSE: photon noise and read noise."""
    mean = seen_at(tissue, (0, 0)) * photons
    slopes = [(seen_at(tissue, -h) - seen_at(tissue, h)) / 0.02 * photons for h in 0.01 * np.eye(2)]
    information = [[np.sum(a * b / (mean + READ_E**2)) for a in slopes] for b in slopes]
    return float(np.sqrt(np.trace(np.linalg.inv(information))))


def errors_px(shifts_px, truth_px, skip):
    """Errors (t, 2) after the first `skip` frames, the template's offset subtracted."""
    error = np.asarray(shifts_px)[skip:] - truth_px[skip:]
    return error - np.median(error, axis=0)


def interpolation_weights(fraction, count, order):
    """Textbook: least-squares weights for waves up to 0.8 of Nyquist, exact for polynomials up to `order`."""
    at, omega = np.arange(count) - (count // 2 - 1), np.linspace(0, 0.8 * np.pi, 400)
    weight = 1 / np.sqrt(1 + (omega / 0.3) ** 2)
    waves, wanted = np.exp(1j * np.outer(omega, at)), np.exp(1j * omega * fraction)
    exact = np.array([at.astype(float) ** n for n in range(order + 1)]) * 1e6
    rows = np.vstack([(waves * weight[:, None]).real, (waves * weight[:, None]).imag, exact])
    right = [(wanted * weight).real, (wanted * weight).imag, 1e6 * fraction ** np.arange(order + 1)]
    return np.linalg.lstsq(rows, np.concatenate(right), rcond=None)[0]


def rmse_px(errors):
    return float(np.sqrt((errors**2).sum(1).mean()))
