"""Maximum-likelihood fits of Gaussian spots integrated over pixels (Smith et al. 2010, Nat. Methods 7:373).

The expected electrons of a pixel are m = N · Y(y) · X(x) + b, Y and X the PSF along each axis (`psf.profile`), and its
variance is v + poisson · m: poisson = 1 for electrons (Huang et al. 2013, Nat. Methods 10:653), 0 without a
calibration, where all pixels weigh the same. Fisher scoring with Levenberg–Marquardt damping solves
Σ ∂m · (d − m) / variance = 0, unbiased also where read noise makes d negative. As the PSF is separable, fifteen sums
over each column make all normal equations.

Parameters: y, x, N, b, sigma_y, sigma_x. Where one width is fitted, the two are equal.
"""

import math

import numpy as np

from ...pixels.kernels.kernel import kernel, part
from .crops import LANES, copy, fill, pixels_seen
from .psf import profile_derivatives

MLE, PHASOR, NO_FIT = range(3)
FIXED_WIDTH, ONE_WIDTH, TWO_WIDTHS = 4, 5, 6  # the number of free parameters
PARAMETERS = 6
SUMS, TOTALS = 15, 28  # of a column and of a crop
LEAST_LIGHT = 1e-3  # electrons: lower bound on a pixel's expectation, for its variance
STEPS = 40
EXACT = 1e-12  # of the first χ²: a fit that has come so near is exact
# (a step in standard errors)² that ends the fit; of the error a hundredth of a standard error is left. At 4e-4, a ninth
# more time, a five hundredth was.
SMALL_STEP = 1e-2
FARTHEST_PX, WIDEN, LEAST_PART = 1.0, 1.4, 0.3  # bounds on a step: pixels, factor of the width, part of the photons
NARROWEST_PX, WIDEST = 0.3, 0.5  # bounds on the width: pixels; parts of the crop's side
LEAST_FREE = 0.01  # lower bound on 1 − leverage, which divides a squared residual
DAMP, DAMP_MORE, DAMP_LESS, UNDAMPED = 0.1, 8.0, 0.2, 1e-3


@kernel(error_model="numpy", fastmath={"contract"})
def column_sums(crop, left, light, scratch):  # type: ignore[no-untyped-def]
    """Write the sums over columns of LANES pixels from `left` on with the model n · e · p + b; light: n, b.

    With e, f, k the profile down and its derivatives: of w = 1 / variance times 1, e, f, k, ee, ef, ek, ff, fk, kk, of
    r = w (d − m) times 1, e, f, k, and of r (d − m). As many sums as pixels in a vector: none is added up across one.
    """
    d, v, down, across, sums = crop.electrons, crop.variance, scratch.down, scratch.across, scratch.sums
    (n, b), poisson, begin = light, crop.poisson, np.uint64(left)
    fill(sums, 0.0)
    for y in range(crop.width):
        e, f, k, row = down[0, y], down[1, y], down[2, y], np.uint64(y)
        ee, ef, ek, ff, fk, kk = e * e, e * f, e * k, f * f, f * k, k * k
        for lane in range(LANES):
            i = np.uint64(lane)
            m = n * e * across[np.uint64(0), i + begin] + b
            w = 1 / (v[row, i + begin] + poisson * max(m, LEAST_LIGHT))
            residual = d[row, i + begin] - m
            r = residual * w
            sums[i] += w
            sums[i + np.uint64(LANES)] += e * w
            sums[i + np.uint64(2 * LANES)] += f * w
            sums[i + np.uint64(3 * LANES)] += k * w
            sums[i + np.uint64(4 * LANES)] += ee * w
            sums[i + np.uint64(5 * LANES)] += ef * w
            sums[i + np.uint64(6 * LANES)] += ek * w
            sums[i + np.uint64(7 * LANES)] += ff * w
            sums[i + np.uint64(8 * LANES)] += fk * w
            sums[i + np.uint64(9 * LANES)] += kk * w
            sums[i + np.uint64(10 * LANES)] += r
            sums[i + np.uint64(11 * LANES)] += e * r
            sums[i + np.uint64(12 * LANES)] += f * r
            sums[i + np.uint64(13 * LANES)] += k * r
            sums[i + np.uint64(14 * LANES)] += r * residual


@kernel(error_model="numpy", fastmath={"contract", "reassoc"})
def add_columns(sums, across, left, totals):  # type: ignore[no-untyped-def]
    """Add what columns from `left` on give to the sums over all pixels, `totals` (28,), with the profile across.

    Of products of two slopes, by y, x, N, b, then with those by the widths s (down) and t (across); of r with each; χ².
    """
    begin = np.uint64(left)
    yy = yx = xx = yn = xn = nn = yb = xb = nb = bb = 0.0
    ys = xs = ns = bs = yt = xt = nt = bt = ss = st = tt = 0.0
    gy = gx = gn = gb = gs = gt = chi2 = 0.0
    for lane in range(LANES):
        i = np.uint64(lane)
        p, q, t = across[np.uint64(0), i + begin], across[np.uint64(1), i + begin], across[np.uint64(2), i + begin]
        pp, pq, pt = p * p, p * q, p * t
        e, f, k = sums[i + np.uint64(LANES)], sums[i + np.uint64(2 * LANES)], sums[i + np.uint64(3 * LANES)]
        ee, ef, ek = (sums[i + np.uint64(4 * LANES)], sums[i + np.uint64(5 * LANES)], sums[i + np.uint64(6 * LANES)])
        fk, re = sums[i + np.uint64(8 * LANES)], sums[i + np.uint64(11 * LANES)]
        yy, yx, xx = yy + sums[i + np.uint64(7 * LANES)] * pp, yx + ef * pq, xx + ee * (q * q)
        yn, xn, nn, yb, xb, nb = yn + ef * pp, xn + ee * pq, nn + ee * pp, yb + f * p, xb + e * q, nb + e * p
        bb += sums[i]
        ys, xs, ns, bs = ys + fk * pp, xs + ek * pq, ns + ek * pp, bs + k * p
        yt, xt, nt, bt = yt + ef * pt, xt + ee * (q * t), nt + ee * pt, bt + e * t
        ss, st, tt = ss + sums[i + np.uint64(9 * LANES)] * pp, st + ek * pt, tt + ee * (t * t)
        gy, gx, gn = gy + sums[i + np.uint64(12 * LANES)] * p, gx + re * q, gn + re * p
        gb, gs, gt = gb + sums[i + np.uint64(10 * LANES)], gs + sums[i + np.uint64(13 * LANES)] * p, gt + re * t
        chi2 += sums[i + np.uint64(14 * LANES)]
    these = (yy, yx, xx, yn, xn, nn, yb, xb, nb, bb, ys, xs, ns, bs, yt, xt, nt, bt, ss, st, tt,
             gy, gx, gn, gb, gs, gt, chi2)  # fmt: skip
    for k in range(TOTALS):
        totals[k] += these[k]


@kernel(error_model="numpy", fastmath={"contract"})
def normal_equations(crop, at, free, scratch, h, g):  # type: ignore[no-untyped-def]
    """Write the Fisher information h (6, 6; its upper half) and the score g (6,) at the parameters `at`; return χ².

    crop: a square Crop; scratch: Workspace, its profiles 0 beyond the crop.
    """
    side, n, totals = crop.width, at[2], scratch.totals
    profile_derivatives(at[0], at[4], side, scratch.rows, scratch.down)
    profile_derivatives(at[1], at[5], side, scratch.rows, scratch.across)
    fill(totals, 0.0)
    for left in range(0, side, LANES):
        column_sums(crop, left, (n, at[3]), scratch)
        add_columns(scratch.sums, scratch.across, left, totals)
    yy, yx, xx, yn, xn, nn = totals[0], totals[1], totals[2], totals[3], totals[4], totals[5]
    yb, xb, nb, bb = totals[6], totals[7], totals[8], totals[9]
    ys, xs, ns, bs, yt, xt = totals[10], totals[11], totals[12], totals[13], totals[14], totals[15]
    nt, bt = totals[16], totals[17]
    ss, st, tt, gs, gt = totals[18], totals[19], totals[20], totals[25], totals[26]
    h[0, 0], h[0, 1], h[0, 2], h[0, 3] = n * n * yy, n * n * yx, n * yn, n * yb
    h[1, 1], h[1, 2], h[1, 3], h[2, 2], h[2, 3], h[3, 3] = n * n * xx, n * xn, n * xb, nn, nb, bb
    g[0], g[1], g[2], g[3] = n * totals[21], n * totals[22], totals[23], totals[24]
    if free == ONE_WIDTH:
        h[0, 4], h[1, 4], h[2, 4], h[3, 4] = n * n * (ys + yt), n * n * (xs + xt), n * (ns + nt), n * (bs + bt)
        h[4, 4], g[4] = n * n * (ss + 2 * st + tt), n * (gs + gt)
    elif free == TWO_WIDTHS:
        h[0, 4], h[1, 4], h[2, 4], h[3, 4], h[4, 4] = n * n * ys, n * n * xs, n * ns, n * bs, n * n * ss
        h[0, 5], h[1, 5], h[2, 5], h[3, 5], h[5, 5] = n * n * yt, n * n * xt, n * nt, n * bt, n * n * tt
        h[4, 5], g[4], g[5] = n * n * st, n * gs, n * gt
    return totals[27]


@kernel(error_model="numpy")
def factorise(h, free, damp, low):  # type: ignore[no-untyped-def]
    """Write the Cholesky factor of h + damp · its diagonal into low, the inverse of its diagonal in that; False where
    that is not positive definite."""
    for i in range(free):
        for j in range(i + 1):
            total = h[j, i] * (1 + damp) if i == j else h[j, i]
            for k in range(j):
                total -= low[i, k] * low[j, k]
            if i == j:
                if not total > 0:
                    return False
                low[i, i] = 1 / math.sqrt(total)
            else:
                low[i, j] = total * low[j, j]
    return True


@part(error_model="numpy")
def solve(low, free, g, step):  # type: ignore[no-untyped-def]
    """Write the solution of low · lowᵀ · step = g; low: of `factorise`."""
    for i in range(free):
        total = g[i]
        for k in range(i):
            total -= low[i, k] * step[k]
        step[i] = total * low[i, i]
    for i in range(free - 1, -1, -1):
        total = step[i]
        for k in range(i + 1, free):
            total -= low[k, i] * step[k]
        step[i] = total * low[i, i]


@part(error_model="numpy")
def errors_of(low, free, column, errors):  # type: ignore[no-untyped-def]
    """Write the standard errors (6,), the roots of the diagonal of (low · lowᵀ)⁻¹; column (6,): scratch."""
    fill(errors, math.nan)
    for c in range(free):
        column[c] = low[c, c]
        squares = column[c] ** 2
        for i in range(c + 1, free):  # down a column of the inverse of low
            total = 0.0
            for k in range(c, i):
                total -= low[i, k] * column[k]
            column[i] = total * low[i, i]
            squares += column[i] ** 2
        errors[c] = math.sqrt(squares)


@part(error_model="numpy")
def errors_of_residuals(crop, at, free, low, scratch, errors):  # type: ignore[no-untyped-def]
    """Write standard errors (6,) that hold whatever the pixels' variances are, from the residuals.

    (low · lowᵀ)⁻¹ Σ w² r² / (1 − h) · ∂m ∂mᵀ (low · lowᵀ)⁻¹, h a pixel's leverage on its own residual: White 1980,
    Econometrica 48:817; MacKinnon & White 1985, J. Econom. 29:305 (HC2). low: the Cholesky factor of Σ w ∂m ∂mᵀ.
    """
    d, v, side = crop.electrons, crop.variance, crop.width
    down, across, middle = scratch.down, scratch.across, scratch.matrices[3]
    slope, z = scratch.vectors[2], scratch.vectors[3]
    profile_derivatives(at[0], at[4], side, scratch.rows, down)
    profile_derivatives(at[1], at[5], side, scratch.rows, across)
    n = at[2]
    for c in range(PARAMETERS):
        fill(middle[c], 0.0)
    for i in range(side):
        for j in range(side):
            if not v[i, j] < math.inf:
                continue
            m = n * down[0, i] * across[0, j] + at[3]
            w = 1 / (v[i, j] + crop.poisson * max(m, LEAST_LIGHT))
            slope[0], slope[1] = n * down[1, i] * across[0, j], n * down[0, i] * across[1, j]
            slope[2], slope[3] = down[0, i] * across[0, j], 1.0
            slope[4], slope[5] = n * down[2, i] * across[0, j], n * down[0, i] * across[2, j]
            if free == ONE_WIDTH:
                slope[4] += slope[5]
            leverage = 0.0
            for c in range(free):  # z = low⁻¹ ∂m
                total = slope[c]
                for k in range(c):
                    total -= low[c, k] * z[k]
                z[c] = total * low[c, c]
                leverage += w * z[c] * z[c]
            weight = (w * (d[i, j] - m)) ** 2 / max(1 - leverage, LEAST_FREE)
            for c in range(free):
                for k in range(c + 1):
                    middle[c, k] += weight * z[c] * z[k]
    quadratic_forms(low, middle, free, z, errors)


@part(error_model="numpy")
def quadratic_forms(low, middle, free, column, errors):  # type: ignore[no-untyped-def]
    """Write the roots of the diagonal of low⁻ᵀ · middle · low⁻¹ (its lower half given); column (6,): scratch."""
    fill(errors, math.nan)
    for c in range(free):
        column[c] = low[c, c]
        for i in range(c + 1, free):
            total = 0.0
            for k in range(c, i):
                total -= low[i, k] * column[k]
            column[i] = total * low[i, i]
        square = 0.0
        for i in range(c, free):
            square += middle[i, i] * column[i] ** 2
            for k in range(c, i):
                square += 2 * middle[i, k] * column[i] * column[k]
        errors[c] = math.sqrt(square)


@part(error_model="numpy")
def part_of_step(at, step, free):  # type: ignore[no-untyped-def]
    """Return the part of a step to take: below 1 where it exceeds a bound within which the model is near linear."""
    part = FARTHEST_PX / max(FARTHEST_PX, abs(step[0]), abs(step[1]))
    if step[2] < (LEAST_PART - 1) * at[2]:
        part = min(part, (LEAST_PART - 1) * at[2] / step[2])
    for k in range(4, free):
        if step[k] > (WIDEN - 1) * at[k]:
            part = min(part, (WIDEN - 1) * at[k] / step[k])
        elif step[k] < (1 / WIDEN - 1) * at[k]:
            part = min(part, (1 / WIDEN - 1) * at[k] / step[k])
    return part


@kernel(error_model="numpy")
def take(at, part, step, free, trial):  # type: ignore[no-untyped-def]
    """Write the parameters after this part of a step."""
    for k in range(PARAMETERS):
        trial[k] = at[k] + part * step[k] if k < free else at[k]
    if free == ONE_WIDTH:
        trial[5] = trial[4]


@kernel(error_model="numpy")
def fit_spot(crop, free, at, errors, scratch):  # type: ignore[no-untyped-def]
    """Fit a square Crop from the parameters `at` (6,) on; write them and their standard errors (6,).

    Return χ², the number of pixels seen and whether the fit converged. scratch: Workspace. Whether a step raises the
    likelihood follows from the mean of its slopes at both ends (the trapezoidal rule), without logarithms.
    """
    h, h_trial, low = scratch.matrices[0], scratch.matrices[1], scratch.matrices[2]
    vectors = scratch.vectors
    g, g_trial, step, trial, column = vectors[0], vectors[1], vectors[2], vectors[3], vectors[4]
    chi2 = normal_equations(crop, at, free, scratch, h, g)
    side, damp, converged = crop.width, 0.0, False
    seen, first = pixels_seen(crop.variance), chi2
    for _ in range(STEPS):
        if not factorise(h, free, damp, low):
            damp = max(DAMP, damp * DAMP_MORE)
            continue
        solve(low, free, g, step)
        rise = 0.0
        for k in range(free):
            rise += g[k] * step[k]
        unit = 1.0 if crop.poisson > 0 else max(chi2, EXACT * first) / seen  # of variance, as all pixels weigh 1
        if rise <= SMALL_STEP * unit and damp < 1:
            take(at, 1.0, step, free, at)
            converged = True
            break
        part = part_of_step(at, step, free)
        take(at, part, step, free, trial)
        if not within(trial, free, side):
            break
        chi2_trial = normal_equations(crop, trial, free, scratch, h_trial, g_trial)
        rise_after = 0.0
        for k in range(free):
            rise_after += g_trial[k] * step[k]
        if not rise_after >= -rise:
            damp = max(DAMP, damp * DAMP_MORE)
            continue
        copy(trial, at)
        chi2 = chi2_trial
        h, h_trial, g, g_trial = h_trial, h, g_trial, g
        damp = damp * DAMP_LESS if damp > UNDAMPED else 0.0
    if not (converged and damp == 0) and not factorise(h, free, 0.0, low):
        fill(errors, math.nan)
    elif crop.measured:
        errors_of_residuals(crop, at, free, low, scratch, errors)
    else:
        errors_of(low, free, column, errors)
    if free == ONE_WIDTH:
        errors[5] = errors[4]
    return chi2, seen, converged


@part(error_model="numpy")
def within(at, free, side):  # type: ignore[no-untyped-def]
    """Whether a spot lies in its crop, and its width between the bounds of pixel and crop."""
    inside = -0.5 <= at[0] < side - 0.5 and -0.5 <= at[1] < side - 0.5
    for k in range(4, free):
        inside = inside and NARROWEST_PX <= at[k] <= WIDEST * side
    return inside


@kernel(error_model="numpy")
def phasor(d, side, b, at):  # type: ignore[no-untyped-def]
    """Write position, photons and widths from the first Fourier coefficients (Martens et al. 2018, JCP 148:123311).

    d (h, ≥ side): electrons; b: background, for the photons alone, as the coefficients do not depend on it.
    """
    turn = 2 * math.pi / side
    total = cosine_y = sine_y = cosine_x = sine_x = 0.0
    for i in range(side):
        line = 0.0
        for j in range(side):
            line += d[i, j]
        cosine_y += line * math.cos(turn * i)
        sine_y += line * math.sin(turn * i)
        total += line
    for j in range(side):
        line = 0.0
        for i in range(side):
            line += d[i, j]
        cosine_x += line * math.cos(turn * j)
        sine_x += line * math.sin(turn * j)
    at[0] = (math.atan2(sine_y, cosine_y) / turn) % side
    at[1] = (math.atan2(sine_x, cosine_x) / turn) % side
    at[2], at[3] = total - side * side * b, b
    at[4] = _width(math.hypot(sine_y, cosine_y), at[2], turn, side)
    at[5] = _width(math.hypot(sine_x, cosine_x), at[2], turn, side)


@kernel(error_model="numpy")
def _width(magnitude, photons, turn, side):  # type: ignore[no-untyped-def]
    """Return the σ of a Gaussian whose first Fourier coefficient is exp(−(turn · σ)² / 2) of its photons.

    The variance of a pixel, 1/12 px², is subtracted.
    """
    if not 0 < magnitude < photons:
        return NARROWEST_PX
    squared = 2 * math.log(photons / magnitude) / turn**2 - 1 / 12
    return min(max(math.sqrt(max(squared, 0.0)), NARROWEST_PX), WIDEST * side)
