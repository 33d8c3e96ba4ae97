"""`psf` on a card: the error function and the exponential that are written out, profiles, and measured PSFs."""

from .psf import ERF_ABOVE, ERF_BELOW, ERF_REACH, EXP_REACH, INVERSE_SQRT2, INVERSE_SQRT_2PI


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(map(repr, values))


# A group is the THREADS threads of a block, which work on one spot; what is told `t` is done by one of them.
PSF = (
    f"""
#define ERF_REACH {ERF_REACH}
#define EXP_REACH {EXP_REACH}
#define INVERSE_SQRT2 {INVERSE_SQRT2!r}
#define INVERSE_SQRT_2PI {INVERSE_SQRT_2PI!r}

DEVICE double erf_of(double x)
{{
    const double above[8] = {{{_listed(ERF_ABOVE)}}};
    const double below[9] = {{{_listed(ERF_BELOW)}}};
    x = x > -ERF_REACH ? x < ERF_REACH ? x : ERF_REACH : -ERF_REACH;
    const double s = x * x * (1 / (ERF_REACH * ERF_REACH));
    double a = above[7], b = below[8];
    for (int k = 6; k >= 0; --k) a = a * s + above[k];
    for (int k = 7; k >= 0; --k) b = b * s + below[k];
    return x * a / b;
}}
"""
    + """
DEVICE double exp_of_minus(double t)
{
    const double u = (t < EXP_REACH ? t : EXP_REACH) * (-1.0 / 256);
    double e = 1 + u * (1 + u * (1.0 / 2 + u * (1.0 / 6 + u * (1.0 / 24 + u * (1.0 / 120)))));
    for (int k = 0; k < 8; ++k) e *= e;
    return e;
}

// A Gaussian along one axis in pixel k: its integral; `derivatives`, with those by centre and sigma.
DEVICE double profile_at(double centre, double sigma, int k)
{
    const double scale = INVERSE_SQRT2 / sigma, start = (-0.5 - centre) * scale;
    return 0.5 * (erf_of(start + (k + 1) * scale) - erf_of(start + k * scale));
}

// Profiles of SIDE pixels and their derivatives along y, then x, (2, 3, SIDE); scratch (2, 3, SIDE + 1).
DEVICE void profile_derivatives(const double* at, double* scratch, double* out)
{
    EACH(t) {
        for (int i = t; i < 2 * (SIDE + 1); i += THREADS) {
            const int axis = i / (SIDE + 1), k = i % (SIDE + 1);
            const double sigma = axis ? at[5] : at[4], centre = axis ? at[1] : at[0];
            const double scale = INVERSE_SQRT2 / sigma, u = (-0.5 - centre) * scale + k * scale;
            const double bell = exp_of_minus(u * u) * (INVERSE_SQRT_2PI / sigma);
            double* edge = scratch + axis * 3 * (SIDE + 1) + k;
            edge[0] = 0.5 * erf_of(u);
            edge[SIDE + 1] = bell;
            edge[2 * (SIDE + 1)] = bell * u * (1 / INVERSE_SQRT2);
        }
    }
    EACH(t) {
        for (int i = t; i < 2 * SIDE; i += THREADS) {
            const int axis = i / SIDE, k = i % SIDE;
            const double *edge = scratch + axis * 3 * (SIDE + 1) + k;
            double* to = out + axis * 3 * SIDE + k;
            to[0] = edge[1] - edge[0];
            to[SIDE] = edge[SIDE + 1] - edge[SIDE + 2];
            to[2 * SIDE] = edge[2 * (SIDE + 1)] - edge[2 * (SIDE + 1) + 1];
        }
    }
}

// The image (SIDE, SIDE) of a Gaussian whose axes are along y and x; lines (2, SIDE): scratch.
DEVICE void gaussian_image(const double* at, double* lines, double* out)
{
    EACH(t) {
        for (int i = t; i < 2 * SIDE; i += THREADS)
            lines[i] = i < SIDE ? profile_at(at[0], at[4], i) : profile_at(at[1], at[5], i - SIDE);
    }
    EACH(t) {
        for (int i = t; i < SIDE * SIDE; i += THREADS) out[i] = lines[i / SIDE] * lines[SIDE + i % SIDE];
    }
}
"""
)

# Of known spots alone: MODEL is ISOTROPIC, TURNED or SPLINE; a spline's coefficients (z, y, x) and knots [nm].
MODELS = """
struct Knots { const double* at; int count; };
struct Spline { const double* coefficients; Knots z, y, x; double pixel_y, pixel_x; };

DEVICE int cubic_basis(double at, Knots knots, double* out)
{
    const int last = knots.count - 5;
    const double* k = knots.at;
    if (!(k[3] <= at && at <= k[last + 1])) return -1;
    int low = 3, high = last;
    while (low < high) {
        const int middle = (low + high + 1) / 2;
        if (k[middle] <= at) low = middle;
        else high = middle - 1;
    }
    out[0] = 1.0;
    for (int degree = 1; degree < 4; ++degree) {
        double carried = 0.0;
        for (int r = 0; r < degree; ++r) {
            const double right = k[low + r + 1], left = k[low + 1 - degree + r], part = out[r] / (right - left);
            out[r] = carried + (right - at) * part;
            carried = (at - left) * part;
        }
        out[degree] = carried;
    }
    return low - 3;
}

DEVICE double spline_light(const Spline& psf, const double* along_z, int first, int y, int x, double at_y, double at_x)
{
    double down[4], across[4];
    const int begin = cubic_basis((y - at_y) * psf.pixel_y, psf.y, down);
    const int start = cubic_basis((x - at_x) * psf.pixel_x, psf.x, across);
    if (begin < 0 || start < 0) return 0;
    const int rows = psf.y.count - 4, columns = psf.x.count - 4;
    double light = 0;
    for (int j = 0; j < 4; ++j) {
        double line = 0;
        for (int i = 0; i < 4; ++i) {
            double value = 0;
            for (int k = 0; k < 4; ++k)
                value += along_z[k] * psf.coefficients[((first + k) * rows + begin + j) * columns + start + i];
            line += across[i] * value;
        }
        light += down[j] * line;
    }
    return light;
}

// The image (SIDE, SIDE) of a PSF at y, x [px], z [nm]; part (THREADS): scratch. False where the spline does not reach.
DEVICE bool psf_image(
    const Spline& psf, double y, double x, double z, const double* ellipse, double* lines, double* part, double* out)
{
    if (MODEL == ISOTROPIC) {
        const double at[6] = {y, x, 0, 0, ellipse[0], ellipse[1]};
        gaussian_image(at, lines, out);
        return true;
    }
    if (MODEL == TURNED) {
        const double cosine = cos(ellipse[2]), sine = sin(ellipse[2]);
        const double along = INVERSE_SQRT2 / ellipse[1], over = INVERSE_SQRT2 / ellipse[0];
        EACH(t) {
            for (int i = t; i < SIDE * SIDE; i += THREADS) {
                const double dx = i % SIDE - x, dy = i / SIDE - y;
                const double xr = dx * cosine - dy * sine, yr = dx * sine + dy * cosine;
                const double light = erf_of((xr + 0.5) * along) - erf_of((xr - 0.5) * along);
                out[i] = 0.25 * light * (erf_of((yr + 0.5) * over) - erf_of((yr - 0.5) * over));
            }
        }
        return true;
    }
    double along_z[4];
    const int first = cubic_basis(-z, psf.z, along_z);
    if (first < 0) {
        EACH(t) { for (int i = t; i < SIDE * SIDE; i += THREADS) out[i] = 0; }
        return false;
    }
    const int left = (int)ceil(x + psf.x.at[0] / psf.pixel_x), top = (int)ceil(y + psf.y.at[0] / psf.pixel_y);
    const int right = (int)floor(x + psf.x.at[psf.x.count - 1] / psf.pixel_x);
    const int bottom = (int)floor(y + psf.y.at[psf.y.count - 1] / psf.pixel_y), columns = right - left + 1;
    EACH(t) {
        part[t] = 0;
        for (int i = t; columns > 0 && i < (bottom - top + 1) * columns; i += THREADS)
            part[t] += spline_light(psf, along_z, first, top + i / columns, left + i % columns, y, x);
    }
    double total = 0;
    for (int k = 0; k < THREADS; ++k) total += part[k];
    EACH(t) {
        for (int i = t; i < SIDE * SIDE; i += THREADS) {
            const double light = spline_light(psf, along_z, first, i / SIDE, i % SIDE, y, x);
            out[i] = total > 0 ? light / total : light;
        }
    }
    return total > 0;
}
"""
