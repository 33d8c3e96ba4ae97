"""Pages as they are served, with real sockets: who is let in, and that nobody keeps the others waiting."""

import asyncio
import re
import socket
from contextlib import asynccontextmanager
from importlib.resources import files

import pytest
from web_pages import PIXELS, by_kind, running, told, unpacked
from wire_bytes import frame

pytest.importorskip("websockets")
pytest.importorskip("PIL")
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from streamfluo.core.errors import ConfigError, SourceError
from streamfluo.network.watching import Watch
from streamfluo.web import server as server_module
from streamfluo.web.access import POLICY, Place
from streamfluo.web.server import MAX_CONNECTIONS, MAX_VISITORS, SCRIPTS, PageServer, serve_pages
from streamfluo.web.visitor import IN_FLIGHT

TOKEN = "a-token-for-tests"
NOBODY = "tcp://127.0.0.1:9"


def serving(scenario, hz=200.0, run=running):
    """Serve a run that has told something, and let `scenario(server, port)` look at it."""

    async def whole():
        with Watch(NOBODY) as watch:
            server = PageServer(watch, NOBODY, TOKEN, hz)
            server.run_view = run()
            served = asyncio.get_running_loop().create_future()
            ended = asyncio.create_task(
                server.serve(Place("127.0.0.1", 0), lambda: served.done() and done.is_set(), served.set_result)
            )
            done = asyncio.Event()
            try:
                await asyncio.wait([served, ended], return_when=asyncio.FIRST_COMPLETED)
                await asyncio.wait_for(scenario(server, served.result().port), 30)
            finally:
                done.set()
                await ended

    asyncio.run(whole())


async def asked(port, path, *lines, verb="GET"):
    """Ask for a file as a browser does; returns status, headers in lower case, body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "\r\n".join([f"{verb} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *lines, "", ""])
    writer.write(head.encode("latin-1"))
    answer = (await reader.read()).decode()
    writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    first, *headers = head.split("\r\n")
    return int(first.split()[1]), {k.lower(): v for k, v in (line.split(": ", 1) for line in headers)}, body


@asynccontextmanager
async def page(port, token=TOKEN, origin="own", **options):
    """A page's WebSocket."""
    options["origin"] = f"http://127.0.0.1:{port}" if origin == "own" else origin
    async with connect(f"ws://127.0.0.1:{port}/ws?token={token}", compression=None, **options) as socket_:
        yield socket_


async def a_turn(socket_):
    """Read the messages of one turn."""
    messages = []
    while not messages or unpacked(messages[-1])[0]["kind"] != "turn":
        messages.append(await asyncio.wait_for(socket_.recv(), 5))
    return by_kind(messages)


async def a_picture(socket_):
    """Draw turns until one has a picture."""
    while "picture" not in (turn := await a_turn(socket_)):
        await socket_.send(f'{{"seen": {turn["turn"][0]["number"]}}}')
    return turn


def test_the_page_and_its_parts_are_served_and_load_nothing_from_elsewhere():
    async def scenario(server, port):
        for path in (f"/?token={TOKEN}", "/style.css", "/page.js", "/icon.svg"):
            status, headers, body = await asked(port, path)
            assert (status, headers["content-security-policy"]) == (200, POLICY)
            assert headers["cache-control"] == "no-store"
            assert len(body.encode()) == int(headers["content-length"])
        assert (await asked(port, "/../server.py"))[0] == 404

    serving(scenario)


@pytest.mark.parametrize(
    "path", ["/", "/?token=", "/?token=a-token-for-test", "/?token=A-TOKEN-FOR-TESTS", "/ws?token=no"]
)
def test_without_the_token_a_page_is_refused_in_one_line(path, caplog):
    async def scenario(server, port):
        status, _, body = await asked(port, path)
        assert status == 403
        assert body == "no token, or a wrong one: open the address that `streamfluo web` printed\n"

    serving(scenario)
    assert "127.0.0.1 refused, without the token" in caplog.text
    assert TOKEN not in caplog.text


def test_only_with_token_and_from_our_page_a_socket_opens():
    async def scenario(server, port):
        for refused in ({"token": "no"}, {"origin": None}, {"origin": "http://evil.example"}, {"origin": "null"}):
            with pytest.raises(InvalidStatus, match="403"):
                async with page(port, **refused):
                    pass
        async with page(port) as socket_:
            assert {"run", "health", "picture", "outlines", "curves"} <= (await a_turn(socket_)).keys()

    serving(scenario)


def test_several_pages_see_the_same_and_each_what_it_wants():
    async def scenario(server, port):
        async with page(port) as one, page(port) as other:
            first, second = await a_turn(one), await a_turn(other)
            assert first["picture"][0] == second["picture"][0]
            await other.send('{"seen": 1, "want": {"curves": 1, "page": 1}}')
            assert (await a_turn(other))["curves"][0]["ids"] == [7]
            await one.send('{"seen": 1}')
            told(server.run_view, frame(77, PIXELS, step="motion"))
            assert "curves" not in (turn := await a_picture(one))
            assert turn["picture"][0]["index"] == 77

    serving(scenario)


@pytest.mark.parametrize(
    "rude",
    ["", "x", '{"stop": true}', b"\x00\x01", "[" * 1000, '{"want": {"picture": "' + "x" * 5000 + '"}}', "flood"],
    ids=["nothing", "x", "stop", "bytes", "deep", "huge", "flood"],
)
def test_a_page_that_says_what_it_may_not_is_hung_up_on_alone(rude):
    async def scenario(server, port):
        async with page(port) as good, page(port) as bad:
            await a_turn(good)
            with pytest.raises(ConnectionClosed):  # noqa: PT012
                for _ in range(1 if rude != "flood" else 500):
                    await bad.send(rude if rude != "flood" else '{"seen": 0}')
                while True:
                    await asyncio.wait_for(bad.recv(), 10)
            assert bad.close_code in (1008, 1009)
            await good.send('{"seen": 1}')
            told(server.run_view, frame(78, PIXELS, step="motion"))
            assert (await a_picture(good))["picture"][0]["index"] == 78

    serving(scenario)


def test_what_is_no_http_is_no_news(caplog, capfd):
    async def scenario(server, port):
        for bytes_ in (
            b"\x16\x03\x01\x02\x00\x01\x00",
            b"GET /x HTTP/1.1\r\n" + b"a: b\r\n" * 300,
            b"POST /x HTTP/1.1\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(bytes_)
            if writer.can_write_eof():
                writer.write_eof()
            await asyncio.wait_for(reader.read(), 5)
            writer.close()
        async with page(port) as socket_:
            await a_turn(socket_)

    serving(scenario)
    assert caplog.text == capfd.readouterr().err == ""


def test_who_does_not_read_costs_a_bounded_buffer_and_nobody_else():
    async def scenario(server, port):
        async with page(port) as good, page(port, max_queue=1, close_timeout=0.1) as slow:
            (connection,) = [c for c in server.visitors if c.remote_address[1] == slow.local_address[1]]
            await a_turn(good)
            await good.send('{"seen": 1}')
            for index in range(100, 120):
                told(server.run_view, frame(index, PIXELS, step="motion"))
                turn = await a_picture(good)
                assert turn["picture"][0]["index"] == index
                await good.send(f'{{"seen": {turn["turn"][0]["number"]}}}')
            assert server.visitors[connection].turns <= IN_FLIGHT
            assert connection.transport.get_write_buffer_size() < 2**20

    serving(scenario)


async def pages(server, wanted):
    """How many pages there are, as soon as they are so many; after five seconds, however many they are."""
    for _ in range(1000):
        if len(server.visitors) == wanted:
            break
        await asyncio.sleep(0.005)
    return len(server.visitors)


def test_a_page_that_takes_nothing_is_hung_up_on(monkeypatch):
    monkeypatch.setattr(server_module, "SEND_S", 0.05)
    large = "x" * (8 << 20)

    async def scenario(server, port):
        server.run_view.offers = {"program": large}  # more than the sockets between them hold
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lines = [
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {'A' * 22}==",
        ]
        head = [f"GET /ws?token={TOKEN} HTTP/1.1", "Host: h", "Origin: http://h", *lines, "", ""]
        sock.sendall("\r\n".join(head).encode("ascii"))
        assert await pages(server, 1) == 1
        assert await pages(server, 0) == 0
        sock.close()

    serving(scenario)


def test_more_pages_than_there_is_room_for_are_told_so(monkeypatch):
    monkeypatch.setattr(server_module, "MAX_VISITORS", 2)

    async def scenario(server, port):
        async with page(port), page(port):
            with pytest.raises(InvalidStatus, match="503"):
                async with page(port):
                    pass
        async with page(port) as socket_:
            await a_turn(socket_)

    serving(scenario)


def test_connections_that_say_nothing_do_not_keep_a_newcomer_out():
    async def scenario(server, port):
        async with page(port) as before:
            idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS + 20)]
            await a_turn(before)
            assert (await asked(port, f"/?token={TOKEN}"))[0] == 200
            async with page(port) as socket_:
                await a_turn(socket_)
            assert len(server._strangers) <= MAX_CONNECTIONS - MAX_VISITORS
            for _, writer in idle:
                writer.close()

    serving(scenario)


def test_a_place_that_is_taken_and_an_endpoint_that_is_none_are_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = Place("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(ConfigError, match="cannot listen there: Address already in use"):
            serve_pages(NOBODY, place, TOKEN, 10.0, lambda: True, lambda place: None)
    with pytest.raises(ConfigError, match=r"203\.0\.113\.7:0: cannot listen there: \w+"):
        serve_pages(NOBODY, Place("203.0.113.7", 0), TOKEN, 10.0, lambda: True, lambda place: None)
    with pytest.raises(SourceError, match="not an endpoint"):
        serve_pages("tcp:/nowhere", Place("127.0.0.1", 0), TOKEN, 10.0, lambda: True, lambda place: None)


def test_nothing_in_the_page_makes_html_of_text_or_loads_what_is_not_ours():
    folder = files("streamfluo.web") / "page"
    html, style = ((folder / name).read_text("utf-8") for name in ("index.html", "style.css"))
    script = "".join((folder / name).read_text("utf-8") for name in SCRIPTS)
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(|setAttribute\(\"on", script
    )
    assert not re.search(r"<script(?! src)|\son\w+=|style=|javascript:", html)
    assert not re.search(r"https?://|@import", html + style)
    assert {file.name for file in folder.iterdir()} == {*SCRIPTS, "index.html", "style.css", "icon.svg"}
    assert "textContent" in script
    assert re.findall(r"https?://[^\"`']*", script) == []


def test_cells_have_the_colours_that_they_have_in_the_window():
    pytest.importorskip("PySide6")
    from streamfluo.viewer.theme import CURVES, DARK_CURVES

    style = (files("streamfluo.web") / "page" / "style.css").read_text("utf-8")
    found = [colour for _, colour in sorted(re.findall(r"--curve-(\d): (#\w{6})", style.partition("@media")[0]))]
    dark = [c for _, c in sorted(re.findall(r"--curve-(\d): (#\w{6})", style.partition("@media")[2]))]
    assert (tuple(found), tuple(dark)) == (CURVES, DARK_CURVES)
