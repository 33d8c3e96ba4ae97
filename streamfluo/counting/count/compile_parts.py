"""What compiles the kernels of count in parts: whole traces' likelihood takes 12 s of a core, the rest 4 s."""

from __future__ import annotations

import numpy as np

from ...core.spec import Spec
from ..checks import residuals
from ..kernels.crosschecks import bleaching_steps
from ..kernels.likelihood import evaluate
from .filter import OnlineFilter
from .learning import model_of
from .params import CountParams

_TRACE, _PARAMETERS = np.full((2, 1), np.nan), np.array([[1.0, 1.0, 1.0, 0.1, 0.1, 0.1]])


def compile_likelihood(params: CountParams, spec: Spec) -> None:
    """Compile what fits whole traces."""
    for slopes in (False, True):
        evaluate(_TRACE, _PARAMETERS, model_of(params, 1.0), slopes)


def compile_filter(params: CountParams, spec: Spec) -> None:
    """Compile what counts while frames arrive, and what checks it."""
    model = model_of(params, 1.0)
    online = OnlineFilter(1, model)
    typical = np.tile(_PARAMETERS, (len(model.candidates), 1))
    online.begin(model, typical[None], typical)
    online.advance(_TRACE)
    residuals(_TRACE, np.array([model.max_emitters]), _PARAMETERS, model)


def compile_steps(params: CountParams, spec: Spec) -> None:
    """Compile what is read of traces before their model is known."""
    bleaching_steps(np.zeros(8))
