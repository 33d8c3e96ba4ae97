"""The page in a browser: headless Chromium draws it, steered through its debugging protocol."""

import asyncio
import json
import shutil
import urllib.request
from contextlib import asynccontextmanager

import numpy as np
import pytest
from web_pages import PIXELS, told
from wire_bytes import frame, result

pytest.importorskip("websockets")
pytest.importorskip("PIL")
from declared_steps import snapshot
from test_declared import declared
from test_page_server import TOKEN, serving
from websockets.asyncio.client import connect

from streamfluo.web.server import WRONG_TOKEN

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.live, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")]

DARKEST = "Math.min(...document.querySelector('#picture').getContext('2d').getImageData(0, 0, 9, 9).data)"
TEXT = "document.querySelector('{}').textContent"
KEY = "document.querySelector('#overlay').dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowDown'}))"


@asynccontextmanager
async def browser(folder, url, dark=False, phone=False):
    """Open a page; yields `evaluate(expression)`, and at its end fails for an error that the page had."""
    flags = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--remote-debugging-port=0",
        f"--user-data-dir={folder}",
    ]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(CHROMIUM, *flags, "about:blank", stderr=pipe, stdout=pipe)
    try:
        while b"ws://" not in (line := await process.stderr.readline()):
            assert line
        port = line.decode().split("127.0.0.1:")[1].split("/")[0]
        listed = await asyncio.to_thread(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/json").read())
        target = next(each for each in json.loads(listed) if each["type"] == "page")
        async with connect(target["webSocketDebuggerUrl"], max_size=None, compression=None) as socket:
            numbers, errors = iter(range(1, 10_000)), []

            async def call(method, **params):
                number = next(numbers)
                await socket.send(json.dumps({"id": number, "method": method, "params": params}))
                while (answer := json.loads(await socket.recv())).get("id") != number:
                    source = answer.get("params", {}).get("entry", {}).get("source")
                    if answer.get("method") == "Runtime.exceptionThrown" or source in ("security", "javascript"):
                        errors.append(str(answer["params"])[:500])
                return answer["result"]

            async def evaluate(expression):
                return (await call("Runtime.evaluate", expression=expression, returnByValue=True))["result"].get(
                    "value"
                )

            size = {"width": 390, "height": 844} if phone else {"width": 1280, "height": 720}
            await call("Runtime.enable")
            await call("Log.enable")
            await call("Emulation.setDeviceMetricsOverride", **size, deviceScaleFactor=1, mobile=phone)
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            await call("Emulation.setEmulatedMedia", features=[scheme])
            await call("Page.navigate", url=url)
            yield evaluate
            await evaluate("1")
            assert errors == []
    finally:
        process.terminate()
        await process.communicate()


async def at_last(evaluate, expression, wanted):
    """What an expression of the page is, as soon as it is what is wanted; after ten seconds, whatever it is."""
    for _ in range(200):
        if (found := await evaluate(expression)) == wanted:
            break
        await asyncio.sleep(0.05)
    return found


@pytest.mark.parametrize(("dark", "phone"), [(False, False), (True, True)], ids=["screen, light", "phone, dark"])
def test_the_page_draws_what_comes_and_a_key_chooses_a_cell(tmp_path, dark, phone):
    async def scenario(server, port):
        async with browser(tmp_path, f"http://127.0.0.1:{port}/?token={TOKEN}", dark, phone) as evaluate:
            facts = TEXT.format("#facts")
            assert await at_last(evaluate, f"{facts}.startsWith('frame 9 · 2 cells')", True)
            assert await at_last(evaluate, f"{DARKEST} < 30", True)
            assert await evaluate("document.documentElement.scrollWidth <= innerWidth")
            ground = await evaluate("getComputedStyle(document.body).backgroundColor")
            assert (ground == "rgb(16, 20, 24)") == dark
            await evaluate(KEY)
            await evaluate(KEY)
            assert "cell 7" in await evaluate(facts)
            told(server.run_view, frame(77, PIXELS, step="motion"))
            assert await at_last(evaluate, f"{facts}.startsWith('frame 77 ')", True)

    serving(scenario)


CLICK = """(() => {
    const overlay = document.querySelector('#overlay'), at = overlay.getBoundingClientRect();
    const [x, y] = [(5 + .25) / 7.5 * at.width, (2 + .25) / 5.5 * at.height].map(Math.round);
    overlay.dispatchEvent(new MouseEvent('click', {clientX: at.left + x, clientY: at.top + y}));
})()"""
ORDER = "document.querySelector('#order').value = 1; document.querySelector('#order').oninput()"
COLOURS = """[...new Set((() => {
    const canvas = document.querySelector('#overlay');
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data, found = [];
    for (let n = 0; n < data.length; n += 4) if (data[n + 3] == 255) found.push(data.slice(n, n + 3).join());
    return found;
})())].join(' ')"""


# Whether pixels beneath the bars have the colour of what is fitted, far apart.
FITTED = """(() => {
  const canvas = document.querySelector('.detail.chosen canvas');
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  const name = getComputedStyle(document.documentElement).getPropertyValue('--curve-1').trim();
  const tone = [1, 3, 5].map((n) => parseInt(name.slice(n, n + 2), 16));
  const columns = new Set();
  for (let n = Math.ceil(canvas.height / 2) * canvas.width; n < canvas.width * canvas.height; n++)
    if (tone.every((part, k) => Math.abs(pixels[4 * n + k] - part) < 40)) columns.add(n % canvas.width);
  return columns.size > canvas.width / 2;
})()"""


@pytest.mark.parametrize("phone", [False, True], ids=["screen", "phone"])
def test_the_page_draws_what_operators_declare(tmp_path, phone):
    def run():
        view = declared("chosen", "number", "share", "resolution")
        told(view, snapshot(9, share=0.2, resolution=[200.0, 150]), snapshot(9, k3=PIXELS))
        photons = np.where(np.arange(40)[:, None] < 20, [[0.0, 500.0]], [[900.0, 100.0]])
        told(view, result("spots", 0, 40, ids=[0, 1], photons=photons, rates=photons))
        return told(view, snapshot(19, resolution=[190.0, 140]))

    async def scenario(server, port):
        async with browser(tmp_path, f"http://127.0.0.1:{port}/?token={TOKEN}", phone=phone) as evaluate:
            facts, details = TEXT.format("#facts"), TEXT.format("#details")
            assert await at_last(evaluate, f"{facts}.includes('3 spots by number, 0 to 3')", True)
            for note in ("order 2: 190", "20 %: worth a look", "3 spots, 1 doubtful", "spot 0 of 3, number 3"):
                assert await at_last(evaluate, f"{details}.includes('{note}')", True)
            assert "253,231,37" in await evaluate(COLOURS)  # the largest value is yellow
            await evaluate(CLICK)
            assert await at_last(evaluate, f"{details}.includes('spot 1 of 3, number 1, doubtful')", True)
            assert await at_last(evaluate, FITTED, True)  # as a line across the lower part
            await evaluate(ORDER)
            assert await at_last(evaluate, TEXT.format("#named"), "k3") == "k3"
            assert await at_last(evaluate, "document.querySelector('#colours').value", "") == ""
            assert await evaluate("document.documentElement.scrollWidth <= innerWidth")

    serving(scenario, run=run)


def test_without_the_token_the_browser_shows_one_line(tmp_path):
    async def scenario(server, port):
        async with browser(tmp_path, f"http://127.0.0.1:{port}/?token=no") as evaluate:
            said = await at_last(evaluate, "document.body.innerText.trim()", WRONG_TOKEN.strip())
            assert said == WRONG_TOKEN.strip()

    serving(scenario)
