"""`known_places` on a card: a group of threads a spot and frame; one launch a round over neighbours, in which a spot
waits for those that the processor integrates before it. A frame whose spots have settled is passed over."""

from .integration import ISOTROPIC, SPLINE, TURNED
from .known_places import LEAST_OWN, NOT_MEASURED, SETTLED
from .measuring_gpu import MEASURING
from .psf_gpu import MODELS

NUMBERS = f"""
#define ISOTROPIC {ISOTROPIC}
#define TURNED {TURNED}
#define SPLINE {SPLINE}
#define LEAST_OWN {LEAST_OWN}
#define NOT_MEASURED {NOT_MEASURED}
#define SETTLED {SETTLED}
"""

# places (n, 3) and shifts (frames, 2); values (4, frames, n), flags, done, changes (frames, n); settled (frames).
KNOWN = (
    NUMBERS
    + MEASURING
    + MODELS
    + """
DEVICE bool below_zero(const Crop& crop, double b, const Scratch& scratch)
{
    if (!(crop.poisson > 0)) return false;
    EACH(t) {
        double total = 0, count = 0;
        for (int i = t; i < SIDE * SIDE; i += THREADS) {
            if (!(crop.variance[i] < INFINITY)) continue;
            total += crop.variance[i];
            count += 1;
        }
        scratch.part[t] = total;
        scratch.part[STRIDE + t] = count;
    }
    add_up(scratch.part, 2, scratch.totals);
    const double total = scratch.totals[0], count = scratch.totals[1];
    return count > 0 && b < 0 && b * b > SURE * SURE * 2 * total / (count * count);
}

DEVICE double overlap(const double* p, const double* other, const Scratch& scratch)
{
    EACH(t) {
        double pp = 0, oo = 0, po = 0;
        for (int i = t; i < SIDE * SIDE; i += THREADS) {
            pp += p[i] * p[i];
            oo += other[i] * other[i];
            po += p[i] * other[i];
        }
        scratch.part[t] = pp;
        scratch.part[STRIDE + t] = oo;
        scratch.part[2 * STRIDE + t] = po;
    }
    add_up(scratch.part, 3, scratch.totals);
    return scratch.totals[1] > 0 ? scratch.totals[2] / sqrt(scratch.totals[0] * scratch.totals[1]) : 0.0;
}

KERNEL measure_known(
    const PIXEL* frames, long long count, long long height, long long width, const float* offset,
    long long offset_rows, const float* gain, long long gain_rows, const float* variance, long long variance_rows,
    double saturation, double poisson, double sigma_y, double sigma_x, double theta, const double* coefficients,
    const double* knots, long long knots_z, long long knots_y, long long knots_x, double pixel_y, double pixel_x,
    const double* places, const long long* starts, const long long* near, long long n, const double* shifts,
    long long round, double* values, int* flags, int* done, double* changes, const int* settled,
    double* scratch_images, int* next)
{
    TICKETS(item, count * n, next) {
        IMAGES(scratch_images)
        SHARED double part[TOTALS * STRIDE], totals[2 * TOTALS], edges[6 * (SIDE + 1)], profiles[6 * SIDE];
        SHARED double rim[RIM + 2];
        const long long k = item / count, f = item % count, at = f * n + k, of_frame = f * n;
        if (settled[f] || (round && starts[k + 1] == starts[k])) continue;
        const Crop crop = {electrons, dark, poisson};
        const Scratch scratch = {part, totals, edges, profiles};
        const Sensor sensor = {{offset, (int)offset_rows}, {gain, (int)gain_rows}, {variance, (int)variance_rows},
                               saturation};
        const Spline spline = {coefficients, {knots, (int)knots_z}, {knots + knots_z, (int)knots_y},
                               {knots + knots_z + knots_y, (int)knots_x}, pixel_y, pixel_x};
        const double ellipse[3] = {sigma_y, sigma_x, theta};
        const volatile double* photons = values + of_frame;
        const volatile int *measured = flags + of_frame, *rounds = done + of_frame;
        const PIXEL* frame = frames + f * height * width;
        const double y = places[3 * k] + shifts[2 * f], x = places[3 * k + 1] + shifts[2 * f + 1];
        const long long plane = count * n;
        const bool first = measured[k] == NOT_MEASURED;
        bool inside = -0.5 <= y && y < height - 0.5 && -0.5 <= x && x < width - 0.5;
        if (inside) {
            const PIXEL pixel = frame[(long long)rint(y) * width + (long long)rint(x)];
            inside = pixel == pixel;
        }
        const int top = (int)rint(y) - SIDE / 2, left = (int)rint(x) - SIDE / 2;
        int seen, flag = OUTSIDE;
        double n_found = NAN, error = NAN, b = NAN, chi2 = NAN, change = 0.0;
        bool known = false;
        if (inside) {
            flag = cut(frame, height, width, top, left, sensor, crop, scratch, &seen);
            known = psf_image(spline, y - top, x - left, places[3 * k + 2], ellipse, profiles, part, psf);
            if (!known) flag |= NOT_CONVERGED;
        }
        for (long long i = starts[k]; i < starts[k + 1]; ++i)
            if (near[i] < k) AWAIT(rounds[near[i]] > round);
        if (known) {
            double shared = 0.0;
            for (long long i = starts[k]; i < starts[k + 1]; ++i) {
                const long long j = near[i];
                if (measured[j] == NOT_MEASURED) continue;
                const double other_y = places[3 * j] + shifts[2 * f], other_x = places[3 * j + 1] + shifts[2 * f + 1];
                const double light = photons[j];
                if (light == light && psf_image(
                        spline, other_y - top, other_x - left, places[3 * j + 2], ellipse, profiles, part, image)) {
                    subtract_spot(crop, image, light);
                    const double both = overlap(psf, image, scratch);
                    shared += both * both;
                }
                flag |= CROWDED;
            }
            int rim_pixels;
            const double border_b = METHOD == WEIGHTED ? border_median(crop, rim, scratch, &rim_pixels) : NAN;
            const Integral found = integrate(crop, psf, border_b, rim, scratch);
            n_found = found.n;
            error = found.error / sqrt(larger(1 - shared, LEAST_OWN));
            b = found.b;
            chi2 = found.chi2;
            change = first ? INFINITY : fabs(n_found - photons[k]) / error;
            if (below_zero(crop, b, scratch)) {
                flag |= BELOW_ZERO;
                error = NAN;
            }
        }
        EACH(t) {
            if (t == 0) {
                volatile double* value = values + at;
                value[0] = n_found;
                value[plane] = error;
                value[2 * plane] = b;
                value[3 * plane] = chi2;
                ((volatile int*)flags)[at] = flag;
                changes[at] = change;
                TELL(done + at, (int)round + 1);
            }
        }
    }
}

// Whether a frame's spots have settled: no photons changed by more than a part of their error in this round.
KERNEL settle(
    long long count, long long n, const long long* starts, long long round, const double* changes, int* settled)
{
    BLOCKS(f, count) {
        SHARED double largest[THREADS];
        EACH(t) {
            largest[t] = 0;
            for (long long k = t; k < n; k += THREADS) {
                const double change = changes[f * n + k];
                if (starts[k + 1] > starts[k] && change > largest[t]) largest[t] = change;
            }
        }
        EACH(t) {
            if (t == 0) {
                for (int k = 1; k < THREADS; ++k) largest[0] = larger(largest[0], largest[k]);
                if (round && largest[0] < SETTLED) settled[f] = 1;
            }
        }
    }
}
"""
)
