"""Serves pages on one run: connections, what each may cost, and the clock that feeds them."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.resources import files

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from ..core.errors import ConfigError
from ..network.watching import Watch
from .access import HEADERS, Place, is_own_page, is_token
from .run_view import RunView
from .visitor import MAX_MESSAGE_BYTES, Visitor

TICK_S = 1 / 30  # what came is taken so often
MAX_VISITORS = 32
MAX_CONNECTIONS = 128  # with those that have not said yet what they want
HANDSHAKE_S = 10.0
SEND_S = 20.0  # who takes nothing for so long is hung up on
MESSAGES_A_S = 40  # of a page: it says once that it drew, and what it wants when somebody clicks
REFUSED_LOG_S = 10.0
NICE = 10  # where processors are short the recording comes first
SCRIPTS = ("page.js", "shown.js", "drawing.js", "picture.js", "plots.js", "declared.js")
PAGES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    **{f"/{name}": (name, "text/javascript; charset=utf-8") for name in SCRIPTS},
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
SOCKET = "/ws"
WRONG_TOKEN = "no token, or a wrong one: open the address that `streamfluo web` printed\n"

log = logging.getLogger("streamfluo")
_silent = logging.getLogger("streamfluo.websockets")  # what strangers send is no news
_silent.setLevel(logging.CRITICAL)


class PageServer:
    """Serves pages that show what a data endpoint tells, to who has the token. One thread, one connection to the run.

    A page gets what is newest when it has drawn the last; nothing is kept for it. `hz` pictures a second at most.
    """

    def __init__(self, watch: Watch, uri: str, token: str, hz: float = 10.0) -> None:
        self.run_view = RunView(uri)
        self._watch, self._token, self._turn_s = watch, token, 1 / hz
        self.visitors: dict[ServerConnection, Visitor] = {}
        self._strangers: dict[ServerConnection, None] = {}  # the oldest first
        self._turned = asyncio.Event()
        self._files = {path: (files(__package__) / "page" / name).read_bytes() for path, (name, _) in PAGES.items()}
        self._refused, self._refused_at = 0, -REFUSED_LOG_S

    async def serve(self, place: Place, stopped: Callable[[], bool], started: Callable[[Place], None]) -> None:
        """Serve until `stopped`; `started` is told where, once. Raises ConfigError for a place that cannot be had."""
        try:
            server = await serve(
                self._visit,
                place.host,
                place.port,
                process_request=self._answer,
                create_connection=self._counted(),
                compression=None,  # pictures are compressed, and a compressor takes 300 kB a page
                max_size=MAX_MESSAGE_BYTES,
                max_queue=4,
                open_timeout=HANDSHAKE_S,
                close_timeout=1,
                server_header=None,
                logger=_silent,
            )
        except OSError as error:
            number = error.errno or 0  # of a name that nobody knows it is below 0
            reason = os.strerror(number) if number > 0 else error.strerror or str(error)
            raise ConfigError(f"--bind {place.host}:{place.port}: cannot listen there: {reason}") from None
        try:
            started(Place(place.host, _port(server)))
            await self._watch_on(stopped)
        finally:
            server.close()
            for connection in [*self._strangers, *self.visitors]:
                connection.transport.abort()
            await server.wait_closed()

    async def _watch_on(self, stopped: Callable[[], bool]) -> None:
        run, due_s = self.run_view, 0.0
        while not stopped():
            for message, payload in self._watch.turn():
                run.model.take(message, payload)
            run.model.connection(self._watch.connected, self._watch.denied)
            now_s = time.monotonic()
            run.look(now_s)
            if now_s >= due_s:
                due_s = max(due_s + self._turn_s, now_s)
                self._ask()
                self._turned.set()
                self._turned = asyncio.Event()
            await asyncio.sleep(TICK_S)

    def _ask(self) -> None:
        """Ask the run for what all pages together show; what nobody sees is not sent and not computed."""
        visitors = list(self.visitors.values())
        pictures = {panel.id: panel for visitor in visitors if (panel := visitor.picture()) is not None}
        details = {panel.id: panel for visitor in visitors for _, panel in visitor.details()}
        topics, previews = self.run_view.needs(pictures.values(), details.values())
        self._watch.want(topics, previews)

    # Who comes

    def _counted(self) -> type[ServerConnection]:
        """Connections that are counted; where there are too many, the one goes that has said nothing for longest."""
        strangers = self._strangers

        class Counted(ServerConnection):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                strangers[self] = None
                if len(strangers) > MAX_CONNECTIONS - MAX_VISITORS:
                    oldest = next(iter(strangers))
                    del strangers[oldest]
                    oldest.transport.abort()

            def connection_lost(self, exc: Exception | None) -> None:
                strangers.pop(self, None)
                super().connection_lost(exc)

        return Counted

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer a request for a file, or let a WebSocket in (None)."""
        path = request.path.partition("?")[0]
        if path in (SOCKET, "/") and not is_token(request.path, self._token):
            self._tell_refused(connection)
            return _said(403, "Forbidden", WRONG_TOKEN)
        if path == SOCKET:
            return self._refusal(request)
        if path not in PAGES:
            return _said(404, "Not Found", "there is no such page here\n")
        return _response(200, "OK", self._files[path], PAGES[path][1])

    def _refusal(self, request: Request) -> Response | None:
        if not is_own_page(_only(request, "Origin"), _only(request, "Host")):
            return _said(403, "Forbidden", "a page from elsewhere may not look here\n")
        if len(self.visitors) >= MAX_VISITORS:
            return _said(503, "Service Unavailable", f"{MAX_VISITORS} pages look already; close one\n")
        return None

    def _tell_refused(self, connection: ServerConnection) -> None:
        self._refused += 1
        if time.monotonic() - self._refused_at >= REFUSED_LOG_S:
            address = (connection.remote_address or ("?",))[0]
            log.warning("web: %s refused, without the token (%d so far)", address, self._refused)
            self._refused_at = time.monotonic()

    async def _visit(self, connection: ServerConnection) -> None:
        """Serve one page until it goes, says what it may not, or takes nothing."""
        self._strangers.pop(connection, None)
        if len(self.visitors) >= MAX_VISITORS:
            return
        visitor = self.visitors[connection] = Visitor(self.run_view)
        sending = asyncio.create_task(self._send(connection, visitor))
        try:
            await self._listen(connection, visitor)
        except ConnectionClosed:
            pass
        except ValueError:
            await connection.close(1008, "a page says what it wants and what it has drawn, nothing else")
        finally:
            del self.visitors[connection]
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending

    async def _listen(self, connection: ServerConnection, visitor: Visitor) -> None:
        room, since_s = float(MESSAGES_A_S), time.monotonic()
        async for text in connection:
            now_s = time.monotonic()
            room, since_s = min(MESSAGES_A_S, room + (now_s - since_s) * MESSAGES_A_S) - 1, now_s
            if room < 0:
                raise ValueError("too many messages")
            visitor.take(text, now_s)

    async def _send(self, connection: ServerConnection, visitor: Visitor) -> None:
        """Send each turn, one after the other; who does not take them is hung up on."""
        try:
            while True:
                for message in visitor.turn(time.monotonic()):
                    await asyncio.wait_for(connection.send(message), SEND_S)
                await self._turned.wait()
        except ConnectionClosed:
            pass
        except TimeoutError:
            connection.transport.abort()
        except Exception as error:  # of one page: the others go on
            log.exception("web: %s", error)
            connection.transport.abort()


def serve_pages(
    uri: str, place: Place, token: str, hz: float, stopped: Callable[[], bool], started: Callable[[Place], None]
) -> None:
    """Serve pages on a data endpoint until `stopped`. Raises SourceError for a malformed one, ConfigError for a place
    that cannot be had."""
    with Watch(uri) as watch:
        if hasattr(os, "nice"):
            os.nice(NICE)

        async def run() -> None:
            await PageServer(watch, uri, token, hz).serve(place, stopped, started)

        asyncio.run(run())


def _said(status: int, reason: str, line: str) -> Response:
    return _response(status, reason, line.encode(), "text/plain; charset=utf-8")


def _response(status: int, reason: str, body: bytes, kind: str) -> Response:
    told = {"Connection": "close", "Content-Type": kind, "Content-Length": str(len(body)), **HEADERS}
    return Response(status, reason, Headers(told), body)


def _only(request: Request, name: str) -> str | None:
    values = request.headers.get_all(name)
    return values[0] if len(values) == 1 else None


def _port(server: Server) -> int:
    return int(next(iter(server.sockets)).getsockname()[1])
