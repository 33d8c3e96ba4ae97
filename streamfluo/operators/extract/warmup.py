"""Every kernel compiled for the types that will come, before the first frame."""

from __future__ import annotations

import numpy as np

from ...kernels.outlines import outline
from ...kernels.shapes import add_shifted
from ...kernels.demixing import whiten
from ...kernels.residual import peaks
from .birth import give_birth
from .buffer import SCALE, Buffer
from .components import Components
from .detection import Detector
from .learning import learn_shape, take_bin
from .proposal import Proposal, refine
from .scene import Scene
from .settling import Settling


def compile_kernels(dtype: np.dtype, modes: int) -> None:
    """Run every kernel once on a scene of a few pixels."""
    pass
