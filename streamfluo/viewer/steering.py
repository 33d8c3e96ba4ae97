"""Asking the program that is watched for something, without waiting for its answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ..core.errors import StreamfluoError
from ..network.control_client import Control


def steer(uri: str, step: str, param: str, value: Any, tell: Callable[[str], None]) -> None:
    """Change a live parameter of a step, on a thread; `tell` is told what came of it."""

    def ask() -> None:
        try:
            with Control(uri) as control:
                answer = control.set(step, param, value)
            tell(f"{step}.{param} changed from frame {answer.frame} on")
        except StreamfluoError as error:
            tell(f"{step}.{param} not changed: {error}")

    threading.Thread(target=ask, name="steer", daemon=True).start()
