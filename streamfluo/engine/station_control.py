"""What a station is asked by its daemon: lines of JSON that come in, an answer to each that goes out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

import msgspec

from ..core.control import Answer, Request, Start, Stop, request_of
from ..core.errors import SourceError, StreamfluoError, WireError
from .run_control import done
from .station import Station


def answer_lines(station: Station, lines: Iterable[str], tell: Callable[[Mapping[str, Any]], None]) -> None:
    """Do what the daemon asks, until it asks no more; a thread of its own."""
    for line in lines:
        try:
            asked = json.loads(line)
            number, request = asked["ask"], request_of(asked["request"])
        except (ValueError, KeyError, TypeError, RecursionError, WireError):
            continue  # the daemon has checked what it passes on
        try:
            promised = _ask(station, msgspec.structs.replace(request, source=""))
        except StreamfluoError as error:
            promised = Future()
            promised.set_exception(error)
        promised.add_done_callback(partial(_tell, tell, number))


def _tell(tell: Callable[[Mapping[str, Any]], None], number: int, made: Future[Answer]) -> None:
    tell({"answer": _told(made), "to": number})


def _ask(station: Station, request: Request) -> Future[Answer]:
    if isinstance(request, Start):
        return done(Answer(ok=True, said=station.go_on()))
    if isinstance(request, Stop):
        return done(Answer(ok=True, frame=station.next_index, said=station.hold()))
    control = station.control
    if control is None:
        raise SourceError(f"no series runs: {station.why}")
    return control(request)


def _told(made: Future[Answer]) -> dict[str, Any]:
    if made.cancelled():
        return {"ok": False, "said": "the series ended before it was done"}
    if (error := made.exception()) is not None:
        known = isinstance(error, StreamfluoError | OSError)
        return {"ok": False, "said": str(error) if known else f"{type(error).__name__}: {error}; please report this"}
    told: dict[str, Any] = msgspec.to_builtins(made.result())
    return told
