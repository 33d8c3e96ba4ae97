"""What may be asked of a daemon: done here, or passed to the processes of its sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import msgspec

from ..core.control import MAX_SESSIONS, Answer, Curate, Reload, Request, Sessions, Set, Snapshot
from ..core.errors import ConfigError, StreamfluoError, did_you_mean
from .daemon_config import DaemonConfig
from .kept_sessions import kept_sessions, newest_lines
from .run_control import done


class Asks(Protocol):
    """A source that may be asked."""

    def ask(self, request: Request) -> Future[Answer]:
        """Return the answer that is to come. Raises StreamfluoError."""


class DaemonControl:
    """Passes requests to the `sources` of a daemon, and does itself what concerns all of it.

    Nothing waits here: each answer comes when the source's process has given it.
    """

    def __init__(
        self, config: Callable[[], DaemonConfig], sources: Callable[[], Mapping[str, Asks]], reload: Callable[[], None]
    ) -> None:
        self._config, self._sources, self._reload = config, sources, reload
        self._worker = ThreadPoolExecutor(1, "sessions")

    def ask(self, request: Request) -> Future[Answer]:
        """Return the answer that is to come. Raises StreamfluoError for what cannot be done."""
        sources = self._sources()
        if request.source and request.source not in sources:
            raise ConfigError(f"no source {request.source!r}{did_you_mean(request.source, sources)}")
        if isinstance(request, Sessions):
            return self._worker.submit(self._told_sessions, request.source)
        if isinstance(request, Reload):
            self._reload()
            return done(Answer(ok=True, said="each source takes the config with its next series"))
        if isinstance(request, Set | Snapshot | Curate) and not request.source and len(sources) > 1:
            raise ConfigError(f"which source? give one of {', '.join(sources)}")
        names = [request.source] if request.source else list(sources)
        return _together({name: _asked(sources[name], request) for name in names})

    def close(self) -> None:
        """Take no more requests."""
        self._worker.shutdown(cancel_futures=True)

    def _told_sessions(self, source: str) -> Answer:
        config = self._config()
        found = kept_sessions(config.roots, config.names.depth)
        found = [kept for kept in found if source in kept.name]  # the pattern of names says where
        lines = newest_lines(found, MAX_SESSIONS)
        return Answer(ok=True, said=f"{config.folder}: {len(found)}", sessions=lines)


def _asked(source: Asks, request: Request) -> Future[Answer]:
    try:
        return source.ask(request)
    except StreamfluoError as error:
        return done(Answer(ok=False, said=str(error)))


def _together(asked: Mapping[str, Future[Answer]]) -> Future[Answer]:
    """Return one answer once all have come; it is well if one of them is."""
    whole: Future[Answer] = Future()

    def gather(_: Future[Answer]) -> None:
        if all(future.done() for future in asked.values()) and not whole.done():
            answers = {name: _answer(future) for name, future in asked.items()}
            if len(answers) == 1:
                [(name, only)] = answers.items()
                said = only.said if only.ok else f"{name}: {only.said}"
                whole.set_result(msgspec.structs.replace(only, said=said))
                return
            refusals = "; ".join(f"{name}: {one.said}" for name, one in answers.items())
            fine = any(one.ok for one in answers.values())
            whole.set_result(Answer(ok=fine, said="" if fine else refusals, sources=answers))

    for future in list(asked.values()):
        future.add_done_callback(gather)
    return whole


def _answer(future: Future[Answer]) -> Answer:
    error = future.exception()
    return future.result() if error is None else Answer(ok=False, said=str(error))
