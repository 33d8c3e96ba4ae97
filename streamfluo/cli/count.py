"""`streamfluo count`: the number of fluorophores in the traces of a file, as a table, files and plots."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_type_hints

import numpy as np
import typer
from rich.table import Table

from ..core.errors import ConfigError, SessionError
from ..core.spec import Camera
from ..engine.loading import load
from .console import console
from .progress import step_progress

if TYPE_CHECKING:
    from ..counting import Counts

ROWS = 40  # of the printed table


class CountOptions(NamedTuple):
    """The options of `streamfluo count`."""

    max_emitters: Annotated[int, typer.Option(max=50, help="largest number of fluorophores")] = 10
    min_emitters: Annotated[int, typer.Option(help="smallest number of fluorophores")] = 0
    emission: Annotated[str, typer.Option(help="lognormal, or camera (electrons, or ADU with --camera)")] = "lognormal"
    pooled: Annotated[
        bool | None,
        typer.Option("--pooled/--alone", help="traces share dye and camera, or not", show_default="pooled"),
    ] = None
    bleaching: Annotated[bool, typer.Option("--bleaching", help="fluorophores may bleach")] = False
    scatter: Annotated[
        float | None,
        typer.Option(help="relative standard deviation of brightness between traces", show_default="estimated"),
    ] = None
    illumination: Annotated[
        Path | None, typer.Option(help="how it ran: mean of each frame less the offset, .csv or .npy (t,)")
    ] = None
    background: Annotated[Path | None, typer.Option(help="of the traces in each frame, .csv or .npy")] = None
    camera: Annotated[Path | None, typer.Option(help="calibration.npz of `streamfluo calibrate`")] = None
    p_outlier: Annotated[float, typer.Option(help="probability of an outlier")] = 0.01
    out: Annotated[Path | None, typer.Option(help="folder for the results", show_default="TRACES-counts")] = None
    plots: Annotated[bool, typer.Option(help="a plot of every trace")] = True


def count(
    traces: Annotated[Path, typer.Argument(help=".csv with one column per trace, or .npy (n, t)", show_default=False)],
    **chosen: Any,
) -> None:
    """Count the fluorophores in blinking traces: posterior, 90 % interval, parameters, a plot of each trace."""
    from ..counting.report import draw_trace, write_table  # numba, which other commands need not wait for
    from ..counting.traces import checked_traces, traces_of_file

    options = CountOptions(**chosen)
    array = checked_traces(traces_of_file(load(traces)), "count")
    folder = options.out or traces.with_name(f"{traces.stem}-counts")
    with step_progress() as progress:
        fitting = progress.add_task(f"{len(array)} traces of {array.shape[1]} frames", total=None)
        found = _estimate(array, options, lambda done, of: progress.update(fitting, completed=done, total=of))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_table(found, folder / "counts.csv")
            np.savez(
                folder / "counts.npz", posterior=found.posterior, log_likelihood=found.log_likelihoods, y=found.y,
                parameters=found.parameters.array(), states=found.states, candidates=found.candidates,
            )  # fmt: skip
            good = [n for n in range(len(array)) if n not in found.skipped] if options.plots else []
            for n in progress.track(good, description="plots"):
                draw_trace(array[n], n, found, folder / f"trace_{n:04d}.png")
        except OSError as error:
            raise SessionError(f"count: {folder} cannot be written: {error.strerror}") from None
    _report(found)
    plots = ", a plot of each trace" if options.plots else ""
    console.print(f"{folder}: counts.csv, counts.npz{plots}", soft_wrap=True)


# Typer reads the options from the signature: they are the fields of CountOptions.
_types = get_type_hints(CountOptions, include_extras=True)
count.__signature__ = Signature(  # type: ignore[attr-defined]
    [
        *list(signature(count, eval_str=True).parameters.values())[:1],
        *(Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=_types[name])
          for name, default in CountOptions._field_defaults.items()),
    ]
)  # fmt: skip


def _estimate(traces: np.ndarray, options: CountOptions, progress: Callable[[int, int], None]) -> Counts:
    from ..counting import HyperParameters, estimate_y

    if options.emission not in ("lognormal", "camera"):
        raise ConfigError(f"count: --emission is lognormal or camera, found {options.emission!r}")
    if options.max_emitters < options.min_emitters:
        raise ConfigError(
            f"count: --max-emitters = {options.max_emitters} is below --min-emitters = {options.min_emitters}"
        )
    hyper = HyperParameters(min_y=options.min_emitters, p_outlier=options.p_outlier)
    return estimate_y(
        traces, options.max_emitters, None, hyper, emission=options.emission, pooled=options.pooled,
        camera=_scalars(Camera.load(options.camera)) if options.camera else None, bleaching=options.bleaching,
        brightness_scatter=options.scatter, progress=progress,
        illumination=_course(options.illumination), background=_course(options.background),
    )  # fmt: skip


def _course(path: Path | None) -> np.ndarray | None:
    """Return a course over the frames (1, t) or (n, t) from a file."""
    from ..counting.traces import checked_traces, traces_of_file

    return None if path is None else checked_traces(traces_of_file(load(path)), f"count: {path.name}")


def _scalars(camera: Camera) -> Camera:
    """Return a calibration with the medians of its maps: a trace is a sum over pixels."""
    middle = (None if v is None else float(np.median(v)) for v in (
        camera.offset_adu, camera.gain_e_per_adu, camera.read_noise_e))  # fmt: skip
    return Camera(*middle)  # type: ignore[arg-type]


def _report(found: Counts) -> None:
    """Print the table of the first traces, and what holds for all."""
    table = Table("trace", "emitters", "90 %", "probability", "flat", "doubtful", "mu", "p_on", "p_off", box=None)
    for n in range(min(len(found.y), ROWS)):
        if n in found.skipped:
            table.add_row(str(n), "–", "", "", "", "skipped")
            continue
        k = int(found.y[n] - found.candidates[0])
        low, high = found.credible_interval[n]
        p = found.parameters
        table.add_row(
            str(n), str(found.y[n]), f"{low} to {high}", f"{found.posterior[n, k]:.2f}", "yes" if found.flat[n] else "",
            str(found.doubts[n]),
            f"{p.mu[n, k]:.4g}", f"{p.p_on[n, k]:.3g}", f"{p.p_off[n, k]:.3g}",
        )  # fmt: skip
    console.print(table)
    if len(found.y) > ROWS:
        console.print(f"… and {len(found.y) - ROWS} more in counts.csv")
    if found.scatter > 0.01:
        console.print(f"brightness scatters by {found.scatter:.1%} between traces")
    if found.half_lit:
        console.print(f"{found.half_lit:.1%} of the frames are left out: fluorophores switched within them")
    if found.doubtful.any():
        console.print(
            f"doubtful: the model could not have made {found.doubtful.sum()} of {len(found.y)} traces "
            "(illumination or background that drifts, fluorophores that differ, light of neighbours, fast blinking); "
            "their intervals go from a third of the number to twice"
        )
    if found.flat.any():
        console.print(
            "flat: the data do not determine the number; try longer or more traces, or a larger --max-emitters"
        )
