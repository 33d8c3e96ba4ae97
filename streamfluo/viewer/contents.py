"""What stands in the dock of a panel that is no image."""

from __future__ import annotations

from collections.abc import Callable

from .arrangement import EVENTS, STEERING
from .chosen_panel import ChosenPanel
from .heat_panel import HeatPanel
from .histogram_panels import CountsPanel, GaugePanel, HistogramPanel, OverTimePanel
from .lines_panel import LinesPanel
from .model import Model
from .panels import Panel
from .plot_panels import CurvePanel
from .recording_panel import RecordingPanel
from .scatter_panels import IntervalPanel, ScatterPanel
from .steering import Steering
from .steering_panel import SteeringPanel
from .table_panels import EventsPanel, NumbersPanel, TablePanel
from .trace_panel import TracePanel, beside
from .words import names_along

Simple = HistogramPanel | CountsPanel | GaugePanel | OverTimePanel | ChosenPanel | LinesPanel
PlotPanel = TracePanel | CurvePanel | HeatPanel | ScatterPanel | IntervalPanel | TablePanel | NumbersPanel | Simple
OwnPanel = EventsPanel | SteeringPanel | RecordingPanel
OF_ONE: dict[str, Callable[[Panel, Model], Simple]] = {
    "histogram": HistogramPanel, "counts": CountsPanel, "gauge": GaugePanel, "over_time": OverTimePanel,
    "chosen": ChosenPanel, "lines": LinesPanel,
}  # fmt: skip


def own_of(name: str, model: Model, steering: Steering) -> OwnPanel:
    """Return what stands in a dock that every run has."""
    if name == EVENTS:
        return EventsPanel(model)
    return SteeringPanel(model, steering) if name == STEERING else RecordingPanel(model)


def plot_of(panel: Panel, model: Model) -> PlotPanel:
    """Return what draws a panel, of several planes in the one chosen."""
    here = model.here(panel) or next(iter(model.members(panel).values()))
    if panel.kind == "trace":
        facts = model.facts_of(panel)
        interval_s = facts[3] if facts else None
        traces = TracePanel(model.traces[here.id], panel.name, panel.unit, interval_s, beside(here, model))
        traces.name(names_along(panel.dims[-1]) if len(panel.dims) == 2 else ())
        if (here.step, here.name) in model.drawn.over_time:
            traces.show_all()
        return traces
    if panel.kind == "table":
        return TablePanel(here, model)
    if panel.kind == "scatter":
        return ScatterPanel(here, model)
    if panel.kind in OF_ONE:
        return OF_ONE[panel.kind](here, model)
    if panel.kind == "heat":
        return HeatPanel(here, model)
    if panel.kind == "interval":
        return IntervalPanel(here, model.traces[here.id])
    return NumbersPanel(here, model) if panel.kind == "numbers" else CurvePanel(here, model)
