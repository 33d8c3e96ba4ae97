"""How well cells of several days are matched, where they are known: python tools/bench_register.py

Each day is a movie (`sim:calcium?animal=…&seed=…`) through `extract`; components count as the true cell that their
footprint agrees with (cosine above .5). F1 is over pairs of components on two days: same id and same true cell.
`--movie` halves a recording and registers the halves as two days.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linear_sum_assignment

from streamfluo import Block, Spec, create, open_source
from streamfluo.analysis import Day, RegisteredDays, register_days
from streamfluo.calcium.extract.seeds import Seeds
from streamfluo.calcium.extracted_components import ExtractedComponents
from streamfluo.core.errors import StreamfluoError
from streamfluo.simulate import calcium

BASE = {"day_common": 0.5, "day_turn_deg": 2.0, "day_shift_px": 4.0, "day_warp_px": 0.5, "day_brightness": 0.3}
HARD = {
    "turned 20°": {"day_turn_deg": 10.0},  # sd of each day; the seeds below are chosen by their rotation
    "20 % common": {"day_common": 0.2},
    "shifted by half": {"day_shift_px": 40.0},
    "dense": {"neurons": 160},
    "deformed 2 px": {"day_warp_px": 2.0},
    "brightness × 2": {"day_brightness": 0.7},
    "dim, 6 photons": {"photons": 6.0},
}
VARIED: tuple[Mapping[str, Any], ...] = (
    {},
    {"shape": (128, 128), "neurons": 100},
    {"shape": (128, 128), "neurons": 120, "day_turn_deg": 6.0},
    {"shape": (128, 128), "day_warp_px": 1.5, "photons": 8.0},
    {"day_common": 0.3, "day_shift_px": 15.0},
    {"neurons": 30, "day_turn_deg": 8.0},
)
NOTHING: Mapping[str, Any] = {}
EDGES = (0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1.01)


class Known(NamedTuple):
    """A day and the animal's cell of each of its components, -1 for none; how the day's field is turned [°]."""

    day: Day
    cells: np.ndarray
    turn_deg: float


class _Left(NamedTuple):
    """What `extract` leaves, as a recorded step has it."""

    id: str
    snapshot: dict[str, np.ndarray]
    folder: str = "."
    sees: Any = None

    def times_s(self, index: np.ndarray) -> np.ndarray:
        """Times that nobody knows."""
        return np.full(len(index), np.nan)


def components(movie: np.ndarray, name: str, sigma_px: float, **given: Any) -> Day:
    """The accepted components of a movie (t, y, x) uint16."""
    operator = create("extract", Spec(movie.shape[1:], movie.dtype.name, 1 / 30), neuron_sigma_px=sigma_px, **given)
    for start in range(0, len(movie), 32):
        block = movie[start : start + 32]
        operator.update(Block(start, np.arange(len(block)), block))
    operator.finish()
    found = ExtractedComponents.without_values(_Left("extract", dict(operator.read())))  # type: ignore[arg-type]
    kept = found.accepted
    return Day(name, found.footprints[:, kept], found.ids[kept], operator.read(["background"])["background"])


def simulated(
    animal: int, seed: int, side: int, frames: int, extract: Mapping[str, Any] = NOTHING, **given: float
) -> Known:
    """A day of an animal, through `extract`."""
    params = {**BASE, **given}
    movie, truth = calcium(
        frames=frames, shape=(side, side), animal=animal, seed=seed, neuron_sigma_px=3.0, motion_px=0.0, **params
    )
    day = components(movie, f"{animal}-{seed}", 3.0, **extract)
    cells = sp.csc_matrix((truth["A_data"], truth["A_indices"], truth["A_indptr"]), shape=truth["A_shape"])
    cosine = (_unit(day.footprints).T @ _unit(cells)).toarray()
    row, column = linear_sum_assignment(-cosine)
    true = np.full(len(day), -1)
    good = cosine[row, column] > 0.5
    true[row[good]] = truth["animal_cell"][column[good]]
    return Known(day, true, float(truth["day_turn_deg"]))


def _unit(columns: sp.csc_matrix) -> sp.csc_matrix:
    length = np.sqrt(np.asarray(columns.multiply(columns).sum(0)).ravel())
    return columns @ sp.diags(1 / np.maximum(length, 1e-12))


def _true_ids(days: Sequence[Known]) -> np.ndarray:
    true = np.concatenate([known.cells for known in days])
    return np.where(true < 0, -1 - np.arange(len(true)), true)


def pair_counts(found: RegisteredDays, days: Sequence[Known]) -> np.ndarray:
    """Pairs on two days with the same id and the same cell, with the same id, and with the same cell."""
    true, two_days = _true_ids(days), found.day[:, None] < found.day[None]
    same_id, same = (ids[:, None] == ids[None] for ids in (found.cell, true))
    return np.array([(same_id & same & two_days).sum(), (same_id & two_days).sum(), (same & two_days).sum()])


def f1(counts: np.ndarray) -> float:
    """Of pairs."""
    return float(2 * counts[0] / max(counts[1] + counts[2], 1))


def registered(days: Sequence[Known]) -> tuple[RegisteredDays | None, str]:
    """The days registered, or None and why not."""
    try:
        return register_days([known.day for known in days]), ""
    except StreamfluoError as error:
        return None, str(error)


def reliability(found: Sequence[tuple[RegisteredDays, Sequence[Known]]]) -> None:
    """Print how often pairs of each probability are of one cell."""
    p, same = [], []
    for result, days in found:
        rows, true = result.pair_rows, _true_ids(days)
        p.append(result.pairs["probability"])
        same.append(true[rows[0]] == true[rows[1]])
    probability, true_pair = np.concatenate(p), np.concatenate(same)
    print("probability     pairs  mean   true")
    for low, high in pairwise(EDGES):
        here = (probability >= low) & (probability < high)
        if here.any():
            mean, part = probability[here].mean(), true_pair[here].mean()
            print(f"{low:5.2f} … {min(high, 1):4.2f} {here.sum():8d}  {mean:.3f}  {part:.3f}")
    print(f"Brier score {np.mean((probability - true_pair) ** 2):.5f}")


def two_days(animals: Sequence[int], side: int, frames: int) -> None:
    """Pairs of days, half of whose cells are common."""
    total, all_found = np.zeros(3), []
    for animal in animals:
        days = [simulated(animal, 10 * animal + n, side, frames) for n in range(2)]
        found, why = registered(days)
        if found is None:
            print(f"animal {animal}: {why}")
            continue
        counts = pair_counts(found, days)
        total += counts
        all_found.append((found, days))
        evidence = found.matches[found.names[1]].evidence
        sizes = f"{len(days[0].day)}, {len(days[1].day)} components, {counts[2]} common"
        print(f"animal {animal}: {sizes}, F1 {f1(counts):.3f}, {evidence.sigma:.1f} σ above chance")
    print(f"F1 {f1(total):.4f}, precision {total[0] / total[1]:.4f}, recall {total[0] / total[2]:.4f}")
    reliability(all_found)


def many_days(animal: int, count: int, side: int, frames: int) -> None:
    """Many days of one animal."""
    days = [simulated(animal, 1000 * animal + n, side, frames, photons=20.0 + 10 * (n % 2)) for n in range(count)]
    began = time.process_time()
    found, why = registered(days)
    if found is None:
        print(why)
        return
    used = [known for known in days if known.day.name in found.names]
    counts = pair_counts(found, used)
    print(f"{found}, left out {list(found.failed)}, {time.process_time() - began:.0f} s of processor")
    print(f"F1 {f1(counts):.4f}, precision {counts[0] / counts[1]:.4f}, recall {counts[0] / counts[2]:.4f}")
    reliability([(found, used)])


def varied(animals: Sequence[int], side: int, frames: int) -> None:
    """Five days of each animal, all of one kind of VARIED after the other; their first days and the next as pairs."""
    all_found: dict[str, list[tuple[RegisteredDays, Sequence[Known]]]] = {"five days": [], "two": []}
    for n, animal in enumerate(animals):
        scene = {"shape": (side, side), **VARIED[n % len(VARIED)]}
        size, length = scene.pop("shape")[0], frames if "shape" not in VARIED[n % len(VARIED)] else 4 * frames // 5
        days = [
            simulated(animal, 1000 * animal + k, size, length, **{"photons": 20.0 + 10 * (k % 2), **scene})
            for k in range(5)
        ]
        for name, part in (("five days", days), ("two", days[:2]), ("two", days[2:4])):
            found, why = registered(part)
            if found is None:
                print(f"animal {animal}, {name}: {why}")
            else:
                all_found[name].append((found, [known for known in part if known.day.name in found.names]))
    for name, group in all_found.items():
        total = sum((pair_counts(*one) for one in group), np.zeros(3))
        print(f"{name}: F1 {f1(total):.4f}, precision {total[0] / total[1]:.4f}, recall {total[0] / total[2]:.4f}")
        reliability(group)


def hard(animals: Sequence[int], names: Sequence[str], side: int, frames: int) -> None:
    """What breaks the assumptions, one at a time."""
    for name in names:
        total, failed, turns = np.zeros(3), 0, []
        for animal in animals:
            days = _turned(animal, side, frames) if "turned" in name else [
                simulated(animal, 10 * animal + n, side, frames, **HARD[name]) for n in range(2)]  # fmt: skip
            found, _ = registered(days)
            failed += found is None
            turns.append(days[1].turn_deg - days[0].turn_deg)
            total += pair_counts(found, days) if found is not None else 0
        scored = (
            f"F1 {f1(total):.3f}, precision {total[0] / max(total[1], 1):.3f}, recall {total[0] / max(total[2], 1):.3f}"
        )
        print(
            f"{name}: {scored}, refused {failed} of {len(animals)}"
            + (f", turned {min(map(abs, turns)):.0f}° to {max(map(abs, turns)):.0f}°" if "turned" in name else "")
        )
    if len(names) < len(HARD):
        return
    density = [
        (simulated(a, 10 * a, side, frames), simulated(a, 10 * a + 1, side, frames, spike_rate_hz=0.02))
        for a in animals
    ]
    total = sum(pair_counts(found, pair) for pair in density if (found := registered(pair)[0]) is not None)
    sizes = ", ".join(f"{len(a.day)} and {len(b.day)}" for a, b in density)
    print(
        f"few active on one day ({sizes} components): F1 {f1(np.array(total)) if np.ndim(total) else float('nan'):.3f}"
    )


def _turned(animal: int, side: int, frames: int) -> list[Known]:
    """A day turned by little, and one that is turned by some 20° against it."""
    from streamfluo.sources.simulate.calcium_params import CalciumParams
    from streamfluo.sources.simulate.days import DayScene

    given = {**BASE, **HARD["turned 20°"]}

    def turn(seed: int) -> float:
        params = CalciumParams(animal=animal, seed=seed, shape=(32, 32), neurons=1, neuron_sigma_px=3.0, **given)  # type: ignore[arg-type]
        return DayScene(params, 2).turn_deg

    first = 10 * animal
    other = next(seed for seed in range(first + 1, first + 1000) if 18 < abs(turn(seed) - turn(first)) < 22)
    return [simulated(animal, seed, side, frames, day_turn_deg=10.0) for seed in (first, other)]


def live(animals: Sequence[int], side: int, frames: int) -> None:
    """Today's run with the cells of the day before as seeds, whose field is matched first."""
    for animal in animals:
        before = simulated(animal, 10 * animal, side, frames)
        day = before.day
        images = tuple(day.footprints.toarray().T.reshape(-1, *day.shape))
        seeds = Seeds(images, tuple(day.ids.tolist()), int(day.ids.max()) + 1, "before", day.image)
        given = {"init": "seeded", "seeds": seeds, "match_seeds": True}
        plain, today = (simulated(animal, 10 * animal + 1, side, frames, extract) for extract in (NOTHING, given))
        cell = dict(zip(day.ids.tolist(), before.cells.tolist(), strict=True))
        carried = [(cell[i], c) for i, c in zip(today.day.ids.tolist(), today.cells.tolist(), strict=True) if i in cell]
        common = np.intersect1d(before.cells[before.cells >= 0], plain.cells)
        right = len({a for a, b in carried if a == b >= 0})
        others = sum(a != b for a, b in carried)
        print(
            f"animal {animal}: {len(today.day)} accepted, {len(plain.day)} without seeds; {len(common)} cells found on "
            f"both days without; {right} carry their id, {others} ids are on another cell"
        )


def wrong(animals: Sequence[int], side: int, frames: int) -> None:
    """Days of two animals, which must be refused."""
    for first, second in pairwise(animals):
        found, why = registered([simulated(a, 10 * a, side, frames) for a in (first, second)])
        print(f"animals {first}, {second}: {why if found is None else f'WRONG: {found}'}")


def halves(path: str, sigma_px: float) -> None:
    """A recording's halves as two days."""
    with open_source(path) as source:
        movie = np.concatenate([block.pixels for block in source.blocks()])
    middle = len(movie) // 2
    days = [components(part, name, sigma_px) for part, name in ((movie[:middle], "first"), (movie[middle:], "second"))]
    found = register_days(days)
    match = found.matches["second"]
    print(f"{len(days[0])}, {len(days[1])} components, {found}; turned {match.map.turn_deg:.3f}°, {match}")


def main() -> None:
    """Print all of it for the animals asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--animals", type=int, nargs="+", default=[611, 612, 613, 614])
    parser.add_argument("--days", type=int, default=20)
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--hard", nargs="+", default=list(HARD), choices=list(HARD))
    parser.add_argument("--parts", nargs="*", default=["two", "many", "hard", "live", "wrong"])
    parser.add_argument("--movie", help="a recording whose halves are registered")
    parser.add_argument("--sigma", type=float, default=3.0, help="size of its cells [px]")
    options = parser.parse_args()
    size = (options.side, options.frames)
    if "two" in options.parts:
        two_days(options.animals, *size)
    if "many" in options.parts:
        many_days(options.animals[0], options.days, *size)
    if "varied" in options.parts:
        varied(options.animals, *size)
    if "hard" in options.parts:
        hard(options.animals, options.hard, *size)
    if "live" in options.parts:
        live(options.animals, *size)
    if "wrong" in options.parts:
        wrong(options.animals, *size)
    if options.movie:
        halves(options.movie, options.sigma)


if __name__ == "__main__":
    main()
