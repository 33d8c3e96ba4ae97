"""`measuring` and `integration` on a card: a group of THREADS threads a spot, with its crop in the block's memory."""

from .fits_gpu import FITS
from .integration import BORDER, LEAST_LIGHT, LIKELIEST, MEDIAN_VARIANCE, ROUNDS, SMALL_STEP, WEIGHTED
from .measuring import (
    AT_EDGE,
    BELOW_ZERO,
    CROWDED,
    LEFT,
    LEFT_OVER,
    NOT_CONVERGED,
    OUTSIDE,
    OWN_SIGMA,
    SATURATED,
    SURE,
    WIDTH_KEPT,
)
from .psf_gpu import PSF

SHARED_SIDE_PX = 25  # whose four images of float64, with the sums, fit the 48 KB that every block may have
NUMBERS = f"""
#define SHARED_SIDE {SHARED_SIDE_PX}
#define WEIGHTED {WEIGHTED}
#define BORDER {BORDER}
#define LIKELIEST {LIKELIEST}
#define LEAST_SEEN {LEAST_LIGHT}
#define MEDIAN_VARIANCE {MEDIAN_VARIANCE!r}
#define REWEIGHTED {ROUNDS}
#define SMALL_CHANGE {SMALL_STEP}
#define AT_EDGE {AT_EDGE}
#define SATURATED {SATURATED}
#define CROWDED {CROWDED}
#define NOT_CONVERGED {NOT_CONVERGED}
#define OUTSIDE {OUTSIDE}
#define WIDTH_KEPT {WIDTH_KEPT}
#define LEFT_OVER {LEFT_OVER}
#define BELOW_ZERO {BELOW_ZERO}
#define SURE {SURE}
#define LEFT {LEFT}
#define OWN_SIGMA {OWN_SIGMA}
#define RIM (4 * SIDE)
"""

MEASURING = (
    PSF
    + FITS
    + NUMBERS
    + """
#if SIDE <= SHARED_SIDE
#define IMAGES(memory) SHARED double electrons[SIDE * SIDE], dark[SIDE * SIDE], psf[SIDE * SIDE], image[SIDE * SIDE];
#else
#define IMAGES(memory) double *electrons = memory + 4ll * SIDE * SIDE * GROUP, *dark = electrons + SIDE * SIDE, \\
    *psf = dark + SIDE * SIDE, *image = psf + SIDE * SIDE;
#endif

struct Map { const float* values; int rows; };  // (y, x) or (1, x)
struct Sensor { Map offset, gain, variance; double saturation; };
struct Integral { double n, error, b, chi2; };

DEVICE float at_pixel(Map map, long long y, long long x, long long width)
{
    return map.values[(y % map.rows) * width + x];
}

// Write the crop from (top, left) on, less where it is not seen; its flags, and how many pixels are seen.
DEVICE int cut(
    const PIXEL* frame, long long height, long long width, int top, int left, const Sensor& sensor, const Crop& crop,
    const Scratch& scratch, int* seen)
{
    EACH(t) {
        double there = 0, full = 0;
        for (int i = t; i < SIDE * SIDE; i += THREADS) {
            const int y = top + i / SIDE, x = left + i % SIDE;
            crop.electrons[i] = 0;
            crop.variance[i] = INFINITY;
            if (y < 0 || y >= height || x < 0 || x >= width) continue;
            const float value = (float)frame[y * width + x];
            const float e = (value - at_pixel(sensor.offset, y, x, width)) * at_pixel(sensor.gain, y, x, width);
            full += value >= sensor.saturation;
            if (!(fabsf(e) < INFINITY)) continue;
            crop.electrons[i] = e;
            crop.variance[i] = at_pixel(sensor.variance, y, x, width);
            there += 1;
        }
        scratch.part[t] = there;
        scratch.part[STRIDE + t] = full;
    }
    double there = 0, full = 0;
    for (int k = 0; k < THREADS; ++k) {
        there += scratch.part[k];
        full += scratch.part[STRIDE + k];
    }
    EACH(t) {
        scratch.part[t] = 0;
        for (int i = t; i < SIDE * SIDE; i += THREADS) scratch.part[t] += crop.variance[i] < INFINITY;
    }
    *seen = 0;
    for (int k = 0; k < THREADS; ++k) *seen += (int)scratch.part[k];
    return (there < SIDE * SIDE ? AT_EDGE : 0) | (full > 0 ? SATURATED : 0);
}

DEVICE void subtract_spot(const Crop& crop, const double* psf, double n)
{
    EACH(t) {
        for (int i = t; i < SIDE * SIDE; i += THREADS) {
            if (!(crop.variance[i] < INFINITY)) continue;
            crop.electrons[i] -= n * psf[i];
            crop.variance[i] += crop.poisson * larger(n, 0.0) * psf[i];
        }
    }
}

// Whether 3 x 3 pixels beside the spot `at` hold light that it does not explain; lines, image: scratch.
DEVICE bool light_left(const Crop& crop, const double* at, double* lines, double* image, const Scratch& scratch)
{
    gaussian_image(at, lines, image);
    EACH(t) {
        double total = 0, count = 0;
        for (int i = t; i < SIDE * SIDE; i += THREADS) {
            image[i] = at[2] * image[i] + at[3];
            if (!(crop.variance[i] < INFINITY)) continue;
            const double residual = crop.electrons[i] - image[i];
            total += residual * residual;
            count += 1;
        }
        scratch.part[t] = total;
        scratch.part[STRIDE + t] = count;
    }
    double total = 0, count = 0;
    for (int k = 0; k < THREADS; ++k) {
        total += scratch.part[k];
        count += scratch.part[STRIDE + k];
    }
    const double typical = total / larger(count, 1), own = OWN_SIGMA * larger(at[4], at[5]);
    EACH(t) {
        double found = 0;
        for (int k = t; k < (SIDE - 2) * (SIDE - 2); k += THREADS) {
            const int y = 1 + k / (SIDE - 2), x = 1 + k % (SIDE - 2);
            if ((y - at[0]) * (y - at[0]) + (x - at[1]) * (x - at[1]) < own * own) continue;
            double light = 0, noise = 0;
            for (int i = y - 1; i < y + 2; ++i)
                for (int j = x - 1; j < x + 2; ++j) {
                    const int p = i * SIDE + j;
                    if (!(crop.variance[p] < INFINITY)) continue;
                    light += crop.electrons[p] - image[p];
                    noise += MEASURED ? typical : crop.variance[p] + crop.poisson * larger(image[p], 0.0);
                }
            if (light > 0 && light * light > LEFT * LEFT * noise) found = 1;
        }
        scratch.part[2 * STRIDE + t] = found;
    }
    bool found = false;
    for (int k = 0; k < THREADS; ++k) found = found || scratch.part[2 * STRIDE + k] > 0;
    return found;
}

// The median of a crop's outermost pixels, NaN of none; rim (RIM + 2): scratch.
DEVICE double border_median(const Crop& crop, double* rim, const Scratch& scratch, int* seen)
{
    const int most = SIDE > 1 ? 4 * (SIDE - 1) : 1;
    EACH(t) {
        scratch.part[t] = 0;
        for (int i = t; i < most; i += THREADS) {
            const int edge = i / (SIDE - 1), k = i % (SIDE - 1);
            const int y = edge == 0 ? 0 : edge == 1 ? k : edge == 2 ? SIDE - 1 : k + 1;
            const int x = edge == 0 ? k : edge == 1 ? SIDE - 1 : edge == 2 ? k + 1 : 0;
            const bool there = crop.variance[y * SIDE + x] < INFINITY;
            rim[i] = there ? crop.electrons[y * SIDE + x] : INFINITY;
            scratch.part[t] += there;
        }
    }
    int count = 0;
    for (int k = 0; k < THREADS; ++k) count += (int)scratch.part[k];
    *seen = count;
    if (!count) return NAN;
    EACH(t) {
        for (int i = t; i < most; i += THREADS) {
            int rank = 0;
            for (int k = 0; k < most; ++k) rank += rim[k] < rim[i] || (rim[k] == rim[i] && k < i);
            if (rank == (count - 1) / 2) rim[RIM] = rim[i];
            if (rank == count / 2) rim[RIM + 1] = rim[i];
        }
    }
    return 0.5 * (rim[RIM] + rim[RIM + 1]);
}

DEVICE Integral border(const Crop& crop, double* rim, const Scratch& scratch)
{
    int count;
    const double b = border_median(crop, rim, scratch, &count);
    EACH(t) {
        double total = 0, noise = 0, pixels = 0;
        for (int i = t; i < SIDE * SIDE; i += THREADS) {
            if (!(crop.variance[i] < INFINITY)) continue;
            total += crop.electrons[i];
            noise += crop.variance[i];
            pixels += 1;
        }
        scratch.part[t] = total;
        scratch.part[STRIDE + t] = noise;
        scratch.part[2 * STRIDE + t] = pixels;
    }
    add_up(scratch.part, 3, scratch.totals);
    const double total = scratch.totals[0], noise = scratch.totals[1], pixels = scratch.totals[2];
    const double n = total - pixels * b;
    Integral found = {n, NAN, b, NAN};
    if (MEASURED) return found;
    const double one = noise / larger(pixels, 1) + crop.poisson * larger(b, LEAST_SEEN);
    const double rest = pixels * pixels * MEDIAN_VARIANCE * one / (count > 1 ? count : 1);
    found.error = sqrt(noise + crop.poisson * larger(total, LEAST_SEEN) + rest);
    return found;
}

DEVICE Integral weighted(const Crop& crop, const double* psf, double b, const Scratch& scratch)
{
    EACH(t) {
        double all = 0, squares = 0, product = 0;
        for (int i = t; i < SIDE * SIDE; i += THREADS) {
            const double seen = crop.variance[i] < INFINITY ? psf[i] : 0.0;
            all += psf[i];
            squares += seen * seen;
            product += seen * (crop.electrons[i] - b);
        }
        scratch.part[t] = all;
        scratch.part[STRIDE + t] = squares;
        scratch.part[2 * STRIDE + t] = product;
    }
    add_up(scratch.part, 3, scratch.totals);
    const double all = scratch.totals[0], squares = scratch.totals[1], n = scratch.totals[2] / squares;
    EACH(t) {
        double error2 = 0, total = 0, count = 0;
        for (int i = t; i < SIDE * SIDE; i += THREADS) {
            const bool there = crop.variance[i] < INFINITY;
            const double light = psf[i], m = n * light + b;
            double expected = crop.variance[i] + crop.poisson * larger(m, LEAST_SEEN);
            const double residual = crop.electrons[i] - m;
            total += residual * residual / expected;
            if (MEASURED) expected = residual * residual / larger(1 - light * light / squares, LEAST_FREE);
            error2 += there ? light * light * expected : 0.0;
            count += there ? 1.0 : 0.0;
        }
        scratch.part[t] = error2;
        scratch.part[STRIDE + t] = total;
        scratch.part[2 * STRIDE + t] = count;
    }
    add_up(scratch.part, 3, scratch.totals + TOTALS);
    const double* sums = scratch.totals + TOTALS;
    const Integral found = {
        n * all, sqrt(sums[0]) * all / squares, b, (MEASURED ? NAN : sums[1]) / (sums[2] - 1)};
    return found;
}

DEVICE Integral likeliest(const Crop& crop, const double* psf, double b, const Scratch& scratch)
{
    const bool free = b != b;
    double n, variance = NAN;
    EACH(t) {
        double s[5] = {0, 0, 0, 0, 0};
        for (int i = t; i < SIDE * SIDE; i += THREADS) {
            const double seen = crop.variance[i] < INFINITY ? 1.0 : 0.0, light = psf[i] * seen;
            s[0] += light * light;
            s[1] += light;
            s[2] += seen;
            s[3] += light * crop.electrons[i];
            s[4] += crop.electrons[i];
        }
        for (int k = 0; k < 5; ++k) scratch.part[k * STRIDE + t] = s[k];
    }
    add_up(scratch.part, 5, scratch.totals);
    {
        const double pp = scratch.totals[0], p1 = scratch.totals[1], one = scratch.totals[2];
        const double gp = scratch.totals[3], g1 = scratch.totals[4], scale = pp * one - p1 * p1;
        n = free ? (one * gp - p1 * g1) / scale : (gp - b * p1) / pp;
        if (free) b = (pp * g1 - p1 * gp) / scale;
    }
    double* sums = scratch.totals + TOTALS;
    for (int round = 0; round < REWEIGHTED; ++round) {
        const double above = larger(n, 0.0), below = larger(b, LEAST_SEEN);
        EACH(t) {
            double s[5] = {0, 0, 0, 0, 0};
            for (int i = t; i < SIDE * SIDE; i += THREADS) {
                const double light = psf[i], w = 1 / (crop.variance[i] + crop.poisson * (above * light + below));
                const double r = (crop.electrons[i] - n * light - b) * w;
                s[0] += w * light * light;
                s[1] += w * light;
                s[2] += w;
                s[3] += r * light;
                s[4] += r;
            }
            for (int k = 0; k < 5; ++k) scratch.part[k * STRIDE + t] = s[k];
        }
        add_up(scratch.part, 5, sums);
        const double pp = sums[0], p1 = sums[1], one = sums[2], gp = sums[3], g1 = sums[4];
        double step_n = gp / pp, step_b = 0.0;
        variance = 1 / pp;
        if (free) {
            const double scale = pp * one - p1 * p1;
            step_n = (one * gp - p1 * g1) / scale;
            step_b = (pp * g1 - p1 * gp) / scale;
            variance = one / scale;
        }
        n += step_n;
        b += step_b;
        if (!(gp * step_n + g1 * step_b > SMALL_CHANGE)) break;
    }
    Integral found = {n, sqrt(variance), b, NAN};
    EACH(t) {
        double s[5] = {0, 0, 0, 0, 0};
        for (int i = t; i < SIDE * SIDE; i += THREADS) {
            const double light = psf[i], m = n * light + b;
            const double w = 1 / (crop.variance[i] + crop.poisson * larger(m, LEAST_SEEN));
            const double residual = crop.electrons[i] - m;
            s[0] += w * light * light;
            s[1] += w * light;
            s[2] += w;
            s[3] += residual * residual / (crop.variance[i] + crop.poisson * larger(m, LEAST_SEEN));
            s[4] += crop.variance[i] < INFINITY ? 1.0 : 0.0;
        }
        for (int k = 0; k < 5; ++k) scratch.part[k * STRIDE + t] = s[k];
    }
    add_up(scratch.part, 5, scratch.totals);
    const double count = scratch.totals[4], fitted = free ? 2 : 1;
    if (!MEASURED) {
        found.chi2 = count > fitted ? scratch.totals[3] / (count - fitted) : NAN;
        return found;
    }
    const double pp = scratch.totals[0], p1 = free ? scratch.totals[1] : 0.0, one = free ? scratch.totals[2] : 1.0;
    const double scale = pp * one - p1 * p1;
    EACH(t) {
        double error2 = 0;
        for (int i = t; i < SIDE * SIDE; i += THREADS) {
            const double light = psf[i], m = n * light + b;
            const double w = 1 / (crop.variance[i] + crop.poisson * larger(m, LEAST_SEEN));
            const double pull = w * (one * light - p1) * (crop.electrons[i] - m);
            const double leverage = w * ((one * light - 2 * p1) * light + (free ? pp : 0.0)) / scale;
            error2 += pull * pull / larger(1 - leverage, LEAST_FREE);
        }
        scratch.part[t] = error2;
    }
    add_up(scratch.part, 1, sums);
    found.error = sqrt(sums[0]) / scale;
    return found;
}

DEVICE Integral integrate(const Crop& crop, const double* psf, double b, double* rim, const Scratch& scratch)
{
    return METHOD == BORDER ? border(crop, rim, scratch)
        : METHOD == WEIGHTED ? weighted(crop, psf, b, scratch) : likeliest(crop, psf, b, scratch);
}
"""
)
