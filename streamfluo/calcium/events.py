"""Events of cells while frames come: transients with onset and amplitude, rates, who is active with whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated

import numpy as np
from msgspec import Meta

from ..core.block import Block
from ..core.errors import ConfigError, StateError
from ..core.findings import ReportedStep
from ..core.operator import NO_VALUES, Gives, Operator, Output, Presents, Table, Values
from ..core.params import Params
from ..core.registry import register
from ..core.spec import Spec
from ..core.state import State, require_array
from ..core.step_values import IDS, PRESENT
from ..core.unseen import VALID, known_values
from .onsets import Onsets, Transient
from .population import Correlations, PopulationRate, clustered
from .summary import IMAGES

_Positive = Annotated[float, Meta(gt=0)]
LEAST_FRAMES = 2  # of a rise


class EventsParams(Params, frozen=True):
    """Parameters of `events`."""

    threshold: Annotated[float, Meta(gt=0, description="least rise, in its own σ, which follows from the noise")] = 4.5
    rise_s: Annotated[
        float, Meta(gt=0, le=10, description="the mean over so long is compared with that of twice as long before [s]")
    ] = 0.2
    correlation_s: Annotated[float, Meta(gt=0, description="bins of the correlations [s]")] = 0.5
    correlated_cells: Annotated[
        int, Meta(ge=0, le=512, description="so many are correlated with each other, the first ones; 0: none")
    ] = 256
    interval_s: Annotated[_Positive | None, Meta(description="frame interval if the source does not state it [s]")] = (
        None
    )


@register("events")
class Events(Operator):
    """Transients of each cell, by the rise of its mean over the frames before; rates, amplitudes, correlations.

    The rule: the mean of the last `rise_s` less that of twice as long before exceeds `threshold` σ of this difference,
    σ from the medians of differences of consecutive frames and of bends of means over `rise_s`, renewed each 32
    frames. So drift and the decay of what was before need no baseline. On white noise that is .01 events a cell and
    minute at 30 frames a second, on real traces .1 to .6. Decays above .5 s and low frame rates need a longer `rise_s`.
    An event is given when its rise is over, some `rise_s` after the onset, with the rise of the mean as amplitude, in
    the unit of the values; a second one within `rise_s` counts as one. Values are `dff` of `extract` or `regions`, or
    what `inputs` names; denoised traces and rates have no noise, and no events. NaN, frames that are not valid, and
    cells that are not there are unknown: half of the frames of either mean must be known. Correlations are those of
    means over bins.
    Cost: .2 ms for 400 cells; state: 400 numbers a cell and 4 maps of correlated cells.
    """

    Params = EventsParams
    needs = ("dff",)
    may_need = (VALID,)
    gives = (
        Gives("active", "per_frame", ("t",), "", "share of the cells whose rise exceeds the threshold in this frame"),
        Gives(
            "transients",
            "table",
            ("frame", "id", "amplitude", "snr", "found_frame"),
            "",
            "onset, rise of the mean in the unit of the values and in its σ, and the frame that it was known in",
        ),
        Gives("ids", "snapshot", ("id",), "", "the cells, ascending, as in `rate`, `amplitude` and `correlation`"),
        Gives("rate", "snapshot", ("id",), "1/min", "events a minute in which the cell was known"),
        Gives("amplitude", "snapshot", ("id",), "", "mean amplitude of its events, NaN without one"),
        Gives("time_s", "snapshot", ("time_s",), "s", "when each of the newest bins of a second begins"),
        Gives("population_rate", "snapshot", ("time_s",), "1/s", "events a second and cell"),
        Gives("correlation", "snapshot", ("id", "id"), "", "correlation of the first cells with each other"),
        Gives("order", "snapshot", ("place",), "", "ids of the first cells, those active together side by side"),
        Gives(
            "ordered_correlation",
            "snapshot",
            ("place", "place"),
            "",
            "correlation of the first cells with each other, in the order of `order`",
        ),
    )
    presents = Presents(
        ("frames", "masks", "detection", "background"),
        ("traces", "dff", "ordered_correlation", "population_rate", "transients", "active"),
        choice=("summary", IMAGES),
    )  # fmt: skip
    live = {"threshold": 2.0}
    examples = ({"threshold": 3.0, "rise_s": 0.06, "correlation_s": 0.04, "correlated_cells": 2},)

    @staticmethod
    def measures(step: ReportedStep) -> dict[str, float]:
        """Return the median rate of the cells."""
        rate = step.snapshot.get("rate", np.empty(0))
        return {"events_per_min": float(np.nanmedian(rate))} if np.isfinite(rate).any() else {}

    def __init__(self, params: EventsParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        interval_s = params.interval_s or spec.interval_s
        if interval_s is None:
            raise ConfigError("events: rates need the frame interval; the source does not state one: set interval_s")
        self._interval_s = interval_s
        after = max(LEAST_FRAMES, round(params.rise_s / interval_s))
        self._ids = np.empty(0, np.int64)  # in order of appearance: a cell keeps its column
        self._columns: dict[int, int] = {}
        self._onsets = Onsets(after, params.threshold)
        self._correlations = Correlations(max(1, round(params.correlation_s / interval_s)), params.correlated_cells)
        self._population = PopulationRate(max(1, round(1 / interval_s)))
        self._sums = np.zeros((3, 0))  # frames in which the cell was known, its events, the sum of their amplitudes
        self._next_index = 0

    def change(self, params: EventsParams) -> None:
        self.params = params
        self._onsets.threshold = params.threshold

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        ids = np.asarray(inputs[f"dff.{IDS}"])
        values = known_values(np.asarray(inputs["dff"], float))
        if (valid := inputs.get(VALID)) is not None:
            values[~(np.asarray(valid, float) > 0)] = np.nan
        there = np.asarray(inputs[key], bool) if (key := f"dff.{PRESENT}") in inputs else None
        active, found = np.full(len(block), np.nan), list[Transient]()
        columns = self._columns_of(ids)
        for t in range(len(block)):
            here = (columns >= 0) | (np.nan_to_num(values[t]) != 0) if there is None else there[t]
            if (here & (columns < 0)).any():
                self._add(np.sort(ids[here & (columns < 0)]))
                columns = self._columns_of(ids)
            row = np.full(len(self._ids), np.nan)
            row[columns[here]] = values[t, here]
            known = ~np.isnan(row)
            self._sums[0] += known
            self._correlations.follow(block.index + t, row)
            self._population.follow(block.index + t, int(known.sum()))
            found += self._onsets.follow(block.index + t, row)
            active[t] = self._onsets.share
        self._next_index = block.stop
        return Output(block.index, {"active": active, "transients": self._counted(found)})

    def _columns_of(self, ids: np.ndarray) -> np.ndarray:
        """Return the column of each cell, -1 of those that have none yet."""
        return np.array([self._columns.get(name, -1) for name in ids.tolist()], int)

    def _add(self, ids: np.ndarray) -> None:
        self._ids = np.concatenate((self._ids, ids.astype(np.int64)))
        self._columns = {name: n for n, name in enumerate(self._ids.tolist())}
        self._sums = np.pad(self._sums, ((0, 0), (0, len(ids))))
        self._onsets.grow(len(self._ids))
        self._correlations.grow(len(self._ids))

    def _counted(self, found: list[Transient]) -> Table:
        for rise in found:
            self._sums[1:, rise.column] += 1, rise.amplitude
            self._population.add(rise.frame)
        frame, column, amplitude, snr, found_frame = np.array(found, float).reshape(-1, 5).T
        names = self._ids[column.astype(int)]
        whole = {"frame": frame.astype(np.int64), "id": names}
        return Table({**whole, "amplitude": amplitude, "snr": snr, "found_frame": found_frame.astype(np.int64)})

    def finish(self) -> Output | None:
        return Output(self._next_index, {"transients": self._counted(self._onsets.finish())})

    def read(self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES) -> Mapping[str, np.ndarray]:
        return self.reader(names)()

    def reader(
        self, names: Sequence[str] | None = None, inputs: Values = NO_VALUES
    ) -> Callable[[], Mapping[str, np.ndarray]]:
        """Who is like whom is asked on the caller's thread."""
        wanted = self.snapshot_names(names)
        order = np.argsort(self._ids)
        frames, events, amplitudes = self._sums[:, order]
        with np.errstate(all="ignore"):
            rate = np.where(frames > 0, events / (frames * self._interval_s / 60), np.nan)
            amplitude = np.where(events > 0, amplitudes / events, np.nan)
        of_cells = {"ids": self._ids[order], "rate": rate, "amplitude": amplitude}
        bins = dict(zip(("time_s", "population_rate"), self._population.read(self._interval_s), strict=True))
        found = of_cells | bins
        return partial(_read, found, self._correlations.copy(), self._ids.copy(), wanted)

    def state(self) -> State:
        parts = (self._onsets.state(), self._correlations.state(), self._population.state())
        kept = {name: value for part in parts for name, value in part.items()}
        return {"ids": self._ids.copy(), "sums": self._sums.copy(), **kept}

    def restore(self, state: State) -> None:
        ids = state.get("ids")
        sound = isinstance(ids, np.ndarray) and ids.ndim == 1 and ids.dtype == np.int64
        if not isinstance(ids, np.ndarray) or not sound or len(set(ids.tolist())) < len(ids):
            raise StateError("events: state 'ids' must be an array of different ids; the state was damaged")
        self._sums = require_array(state, "sums", np.zeros((3, len(ids))), self.kind)
        self._onsets.restore(state, len(ids), self.kind)
        self._correlations.restore(state, len(ids), self.kind)
        self._population.restore(state, self.kind)
        self._ids, self._columns = ids.copy(), {name: n for n, name in enumerate(ids.tolist())}
        self._next_index = self._onsets.next_index


def _read(
    found: dict[str, np.ndarray], correlations: Correlations, ids: np.ndarray, wanted: Sequence[str]
) -> dict[str, np.ndarray]:
    if {"correlation", "order", "ordered_correlation"} & set(wanted):
        ids = ids[: len(matrix)] if len(matrix := correlations.matrix()) < len(ids) else ids
        ascending = np.argsort(ids)
        matrix = matrix[np.ix_(ascending, ascending)]
        found["correlation"] = matrix
        if {"order", "ordered_correlation"} & set(wanted):
            order, found["ordered_correlation"] = clustered(matrix)
            found["order"] = ids[ascending][order]
    return {name: found[name] for name in wanted}
