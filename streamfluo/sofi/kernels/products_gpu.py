"""Sums of products on a card: one thread a pixel, a cell's frames in turn, at most 24 sums in its registers.

The products are a tree, each its parent times one more factor: their sums are written out line by line, in groups, and
a group computes again the parents that it needs. A cell of 32 frames: its frames once for each group, what neighbours
and lags read again comes from the caches; 32 bytes a pixel and product of the sums, far more: 29 products of cross = 1,
30 bytes a pixel and frame; 2 additions and products in float64 for each.
"""

from collections.abc import Iterator, Sequence

GROUP = 24
Factor = tuple[int, int, int]  # lag, y, x

_KERNEL = """
KERNEL add_products_{number}(
    const PIXEL* earlier, long long n_earlier, const PIXEL* frames, long long count, long long pixels, long long width,
    const double* pivot, double* sums)
{{
    ITEMS(i, pixels) {{
{begin}
        for (long long t = 0; t < count; ++t) {{
{lines}
        }}
{end}
    }}
}}
"""
_EXACTLY = """
DEVICE const PIXEL* frame_at(
    const PIXEL* earlier, long long n_earlier, const PIXEL* frames, long long f, long long pixels)
{
    return f < n_earlier ? earlier + f * pixels : frames + (f - n_earlier) * pixels;
}

DEVICE void add_exactly(double a, double* high)
{
    const double s = *high + a;
    const double b = s - *high;
    high[1024] += (*high - (s - b)) + (a - b);
    *high = s;
}
"""

# Two reads of the frames more, where a product has 32 bytes a pixel and cell.
WITH_TOTAL = """
KERNEL tile_differences(
    const PIXEL* frames, long long n, long long pixels, const double* pivot, long long tiles, double* totals)
{
    BLOCKS(b, n * tiles) {
        SHARED double part[THREADS];
        const long long f = b / tiles, first = b % tiles * TILE;
        const long long stop = first + TILE < pixels ? first + TILE : pixels;
        EACH(t) {
            double sum = 0;
            for (long long i = first + t; i < stop; i += THREADS) {
                const double d = (double)frames[f * pixels + i] - pivot[i];
                sum += d == d ? d : 0;
            }
            part[t] = sum;
        }
        for (int half = THREADS / 2; half; half /= 2) {
            EACH(t) { if (t < half) part[t] += part[t + half]; }
        }
        EACH(t) { if (t == 0) totals[b] = part[0]; }
    }
}

KERNEL frame_differences(const double* of_tiles, long long n, long long tiles, double* totals)
{
    ITEMS(f, n) {
        double sum = 0;
        for (long long tile = 0; tile < tiles; ++tile) sum += of_tiles[f * tiles + tile];
        totals[f] = sum;
    }
}

KERNEL add_with_total(
    const PIXEL* frames, long long n, long long pixels, const double* pivot, const double* totals, double* sums)
{
    ITEMS(i, pixels) {
        double sum = sums[i];
        for (long long f = 0; f < n; ++f) sum += ((double)frames[f * pixels + i] - pivot[i]) * totals[f];
        sums[i] = sum;
    }
}
"""


def products_source(parents: Sequence[int], factors: Sequence[Factor]) -> str:
    """Return the kernels add_products_0, 1 … of products: the parent of each (−1: none), and its last factor."""
    tree = _Tree(parents, factors)
    groups = [tree.order[a : a + GROUP] for a in range(0, len(parents), GROUP)]
    return _EXACTLY + "".join(tree.kernel(number, group) for number, group in enumerate(groups))


class _Tree:
    """Products, each behind its parent, and all that have a parent next to each other."""

    def __init__(self, parents: Sequence[int], factors: Sequence[Factor]) -> None:
        self._parents, self._factors = parents, factors
        self._children = {p: [q for q, parent in enumerate(parents) if parent == p] for p in range(-1, len(parents))}
        self.order = list(self._below(-1))

    def kernel(self, number: int, group: Sequence[int]) -> str:
        """Return the kernel of these products."""
        needed = set(group)
        for q in group:
            while (q := self._parents[q]) >= 0:
                needed.add(q)
        used = sorted({self._factors[q] for q in needed})
        names = {factor: f"d{k}" for k, factor in enumerate(used)}
        places = sorted({(y, x) for _, y, x in used})
        at = {place: f"at{k}" for k, place in enumerate(places)}
        begin = [f"const long long {at[y, x]} = i + {y} * width + ({x});" for y, x in places]
        begin += [f"const double pivot_{a} = {a} < pixels ? pivot[{a}] : 0;" for a in at.values()]
        begin += [f"double s{q} = 0;" for q in group]
        lines = []
        for lag in sorted({factor[0] for factor in used}):
            lines.append(f"const PIXEL* row{lag} = frame_at(earlier, n_earlier, frames, t + {lag}, pixels);")
        for factor in used:
            a = at[factor[1:]]
            difference = f"(double)row{factor[0]}[{a}] - pivot_{a}"
            lines.append(f"const double {names[factor]} = {a} < pixels ? {difference} : 0;")
        lines += self._lines(-1, needed, set(group), names)
        many = len(self._parents)
        end = [f"add_exactly(s{q}, sums + ((i / 1024 * {many} + {q}) * 2) * 1024 + i % 1024);" for q in group]
        inside = {"begin": _indented(begin, 8), "lines": _indented(lines, 12), "end": _indented(end, 8)}
        return _KERNEL.format(number=number, **inside)

    def _below(self, parent: int) -> Iterator[int]:
        for q in self._children[parent]:
            yield q
            yield from self._below(q)

    def _lines(
        self, parent: int, needed: set[int], group: set[int], names: dict[tuple[int, int, int], str]
    ) -> list[str]:
        found = []
        for q in self._children[parent]:
            if q in needed:
                factor = names[self._factors[q]]
                found.append(f"const double p{q} = {factor if parent < 0 else f'p{parent} * {factor}'};")
                found += [f"s{q} += p{q};"] if q in group else []
                found += self._lines(q, needed, group, names)
        return found


def _indented(lines: Sequence[str], by: int) -> str:
    return "\n".join(" " * by + line for line in lines)
