"""`streamfluo list`: the operators there are, what they take and what they give."""

from __future__ import annotations

from inspect import cleandoc
from typing import Annotated

import typer
from rich.table import Table

from ..core.card import CardError, open_card
from ..core.errors import ConfigError
from ..core.freezable import Freezable
from ..core.operator import Mergeable, Operator
from ..core.params import describe
from ..core.registry import find_operator, operators
from ..core.thread_pool import usable_cores
from .console import console


def list_operators(
    kind: Annotated[str | None, typer.Argument(help="show this operator whole", show_default=False)] = None,
) -> None:
    """List the operators, or show one with its parameters and what it gives."""
    if kind is not None:
        _show(find_operator(kind, "list"))
        return
    table = Table("kind", "what it does", "gives", box=None)
    for name, operator in operators().items():
        table.add_row(name, (operator.__doc__ or "").partition("\n")[0], ", ".join(g.name for g in operator.gives))
    console.print(table)
    console.print(f"\ndevices: cpu, {usable_cores()} cores · gpu, {_card()}", soft_wrap=True)


def _card() -> str:
    """The card that there is, and which operators run on it; or why there is none."""
    there = ", ".join(name for name, operator in operators().items() if "gpu" in operator.devices)
    try:
        return f"{open_card().name}, for {there}"
    except (ConfigError, CardError) as error:
        why = str(error).removeprefix("device = 'gpu': ")
        return f"none: {why} (for {there})"


def _show(operator: type[Operator]) -> None:
    console.print(f"{operator.kind}, version {operator.version}\n\n{cleandoc(operator.__doc__ or '')}\n")
    rows = describe(operator.Params)
    if rows:
        table = Table("parameter", "type", "default", "meaning", box=None)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    table = Table("gives", "kind", "dims", "unit", "meaning", box=None)
    for g in operator.gives:
        table.add_row(g.name, g.kind, ", ".join(g.dims), g.unit, g.meaning)
    console.print(table)
    facts = [f"needs: {', '.join(operator.needs)}"] if operator.needs else []
    facts += [f"may need: {', '.join(operator.may_need)}"] if operator.may_need else []
    facts += [f"of several planes: {', '.join(operator.of_planes)}"] if operator.of_planes else []
    facts += [f"live: {', '.join(operator.live)}"] if operator.live else []
    facts += [f"decisions: {', '.join(operator.takes)}"] if operator.takes else []
    learns = issubclass(operator, Freezable) and operator.learns
    parts = "learns from a sample, then takes parts" if learns else "takes parts behind frames that warm it up"
    parts = parts if issubclass(operator, Freezable) else "no merge"
    facts += [f"devices: {', '.join(operator.devices)}", "merges" if issubclass(operator, Mergeable) else parts]
    console.print(" · ".join(facts))
