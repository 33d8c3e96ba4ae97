"""`streamfluo count`: how many fluorophores the traces of a file are made of, as a table, files and plots."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..core.errors import ConfigError, SessionError
from ..core.spec import Camera
from ..counting.report import draw_trace, write_table
from ..counting.traces import checked_traces, traces_of_file
from ..engine.loading import load
from .console import console

ROWS = 40  # of the table on screen


def count(
    traces: Annotated[Path, typer.Argument(help=".csv with a column a trace, or .npy (n, t)", show_default=False)],
    max_y: Annotated[int, typer.Option(help="most fluorophores")] = 10,
    min_y: Annotated[int, typer.Option(help="fewest fluorophores")] = 1,
    emission: Annotated[str, typer.Option(help="lognormal, or camera (electrons, or ADU with --camera)")] = "lognormal",
    pooled: Annotated[
        bool | None,
        typer.Option("--pooled/--alone", help="one dye, one camera, or each trace by itself", show_default="pooled"),
    ] = None,
    bleaching: Annotated[bool, typer.Option("--bleaching", help="fluorophores may bleach")] = False,
    scatter: Annotated[
        float | None, typer.Option(help="of brightness between traces (relative sd)", show_default="estimated")
    ] = None,
    camera: Annotated[Path | None, typer.Option(help="calibration.npz of `streamfluo calibrate`")] = None,
    p_outlier: Annotated[float, typer.Option(help="weight of outliers")] = 0.1,
    out: Annotated[Path | None, typer.Option(help="folder for what is found", show_default="TRACES-counts")] = None,
    plots: Annotated[bool, typer.Option(help="a plot of every trace")] = True,
) -> None:
    """Count the fluorophores of blinking traces: posterior, 90 % interval, parameters, a plot of each trace."""
    from ..counting import HyperParameters, estimate_y  # numba, which other commands need not wait for

    given = checked_traces(traces_of_file(load(traces)), "count")
    settings = HyperParameters(min_y=min_y, p_outlier=p_outlier)
    folder = out or traces.with_name(f"{traces.stem}-counts")
    with _progress() as progress:
        fitting = progress.add_task(f"{len(given)} traces of {given.shape[1]} frames", total=None)
        found = estimate_y(
            given, max_y, None, settings, emission=_emission(emission), pooled=pooled,
            camera=_scalars(Camera.load(camera)) if camera else None, bleaching=bleaching, brightness_scatter=scatter,
            progress=lambda done, of: progress.update(fitting, completed=done, total=of),
        )  # fmt: skip
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_table(found, folder / "counts.csv")
            np.savez(
                folder / "counts.npz", posterior=found.posterior, log_likelihood=found.log_likelihoods, y=found.y,
                parameters=found.parameters.array(), states=found.states, candidates=found.candidates,
            )  # fmt: skip
            good = [n for n in range(len(given)) if n not in found.skipped] if plots else []
            for n in progress.track(good, description="plots"):
                draw_trace(given[n], n, found, folder / f"trace_{n:04d}.png")
        except OSError as error:
            raise SessionError(f"count: {folder} cannot be written: {error.strerror}") from None
    _report(found)
    console.print(f"{folder}: counts.csv, counts.npz{', a plot of each trace' if plots else ''}", soft_wrap=True)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console,
        disable=not console.is_terminal, transient=True,
    )  # fmt: skip


def _emission(word: str):  # type: ignore[no-untyped-def]
    if word not in ("lognormal", "camera"):
        raise ConfigError(f"count: --emission is lognormal or camera, found {word!r}")
    return word


def _scalars(camera: Camera) -> Camera:
    """A calibration whose maps are replaced by their medians: a trace is a sum over pixels."""
    middle = (None if v is None else float(np.median(v)) for v in (
        camera.offset_adu, camera.gain_e_per_adu, camera.read_noise_e))  # fmt: skip
    return Camera(*middle)


def _report(found) -> None:  # type: ignore[no-untyped-def]
    table = Table("trace", "y", "90 %", "probability", "flat", "mu", "p_on", "p_off", box=None)
    for n in range(min(len(found.y), ROWS)):
        if n in found.skipped:
            table.add_row(str(n), "–", "", "", "skipped")
            continue
        k = int(found.y[n] - found.candidates[0])
        low, high = found.credible_interval[n]
        p = found.parameters
        table.add_row(
            str(n), str(found.y[n]), f"{low} to {high}", f"{found.posterior[n, k]:.2f}", "yes" if found.flat[n] else "",
            f"{p.mu[n, k]:.4g}", f"{p.p_on[n, k]:.3g}", f"{p.p_off[n, k]:.3g}",
        )  # fmt: skip
    console.print(table)
    if len(found.y) > ROWS:
        console.print(f"… and {len(found.y) - ROWS} more in counts.csv")
    if found.scatter > 0.01:
        console.print(f"brightness scatters by {found.scatter:.1%} between traces")
    if found.flat.any():
        console.print("flat: the data cannot tell; longer traces, or more of them, or a larger --max-y might")
