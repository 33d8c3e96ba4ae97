"""What other streams said when a frame came, as values that steps can take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from ..core.block import Block
from ..core.errors import ConfigError
from ..core.input import INPUTS
from ..core.operator import NO_VALUES, Gives, Operator, Output, Values
from ..core.params import Params
from ..core.registry import register
from ..core.spec import Spec
from ..core.state import State


class InputParams(Params, frozen=True):
    """Parameters of `input`."""

    name: Annotated[str, Meta(min_length=1, description="the name of the [[input]]")] = "input"
    columns: Annotated[int, Meta(ge=1, le=256, description="how many numbers a sample has")] = 1
    labels: Annotated[
        tuple[str, ...], Meta(description="of an input of texts: those that count, by whose place they become numbers")
    ] = ()


@register("input")
class InputValues(Operator):
    """The newest sample of an input when each frame arrived, as recorded with it: a rerun gives the same ones.

    Numbers as `value`, NaN where the frame had none; of texts `label`, the place in `labels` of the one that came last,
    NaN for another. State: none.
    """

    Params = InputParams
    gives = (Gives("value", "per_frame", ("t", "column"), "", "the newest sample, NaN where there was none"),)
    examples = ({"labels": ("left", "right")}, {"columns": 2})

    def __init__(self, params: InputParams, spec: Spec, device: str = "cpu") -> None:
        super().__init__(params, spec, device)
        if len(set(params.labels)) != len(params.labels):
            raise ConfigError("input: each of labels is another text")
        self._place: Mapping[str, int] = {text: n for n, text in enumerate(params.labels)}
        if params.labels:
            self.gives = (
                Gives("label", "per_frame", ("t",), "", f"which of {', '.join(params.labels)}: 0, 1, …, NaN"),
            )

    def update(self, block: Block, inputs: Values = NO_VALUES) -> Output:
        said = [self._said(block.user.get(index)) for index in range(block.index, block.stop)]
        if self._place:
            labels = [self._place.get(one, np.nan) if isinstance(one, str) else np.nan for one in said]
            return Output(block.index, {"label": np.array(labels, float)})
        value = np.full((len(block), self.params.columns), np.nan)
        for row, one in zip(value, said, strict=True):
            if isinstance(one, list | tuple):
                row[: min(len(one), len(row))] = one[: len(row)]
        return Output(block.index, {"value": value})

    def _said(self, user: Mapping[str, Any] | None) -> Any:
        said = None if user is None else user.get(INPUTS)
        found = said.get(self.params.name) if isinstance(said, Mapping) else None
        if isinstance(found, list | tuple) and not all(isinstance(one, int | float) for one in found):
            return None
        return found

    def state(self) -> State:
        return {}

    def restore(self, state: State) -> None:
        """There is nothing to take over."""
