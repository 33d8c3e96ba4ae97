"""A catalogue of 200 sessions in headless Chromium: it loads, filters and sorts, and runs nothing from the data."""

import asyncio
import sys
from pathlib import Path

import pytest
from facility import EVIL, copied, make

pytest.importorskip("websockets")
sys.path.append(str(Path(__file__).parents[1] / "web"))  # how Chromium is steered
from test_in_browser import CHROMIUM, at_last, browser

from streamfluo.catalogue.database import opened, put, transaction
from streamfluo.catalogue.entry import Entry, Measured
from streamfluo.catalogue.page import write_page
from streamfluo.catalogue.scan import scan

pytestmark = [pytest.mark.live, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")]

SHOWN = "[...document.querySelectorAll('#sessions tbody tr')].filter((row) => !row.hidden)"
COUNT = "document.querySelector('#count').textContent"
SET = "(() => {{ const e = document.querySelector('#{}'); e.value = {!r}; e.{}(); }})()"


@pytest.fixture(scope="module")
def page(tmp_path_factory, recorded):
    folder = tmp_path_factory.mktemp("facility")
    make(folder / "shelf", [recorded / "first", recorded / "other"], 199)
    copied(recorded / "first", folder / "shelf/x" / EVIL.replace("/", "∕"), mouse=EVIL, rig=EVIL, source="javascript:0")
    scan(folder / "shelf", folder / "catalogue.sqlite")
    assert write_page(folder / "catalogue.sqlite", folder / "page") == 200
    return folder / "page"


def look(page, tmp_path, scenario, **how):
    async def run():
        async with browser(tmp_path, page.as_uri(), **how) as evaluate:
            await at_last(evaluate, "document.readyState", "complete")
            await scenario(evaluate)

    asyncio.run(run())


@pytest.mark.parametrize(("dark", "phone"), [(False, False), (True, True)], ids=["screen, light", "phone, dark"])
def test_200_sessions_are_shown_and_nothing_of_them_is_run(page, tmp_path, dark, phone):
    async def scenario(evaluate):
        assert await at_last(evaluate, COUNT, "200 sessions") == "200 sessions"
        took_ms = await evaluate("performance.timing.loadEventEnd - performance.timing.navigationStart")
        assert took_ms < 5000
        assert await evaluate("document.title") == "streamfluo catalogue"
        assert await evaluate("document.scripts.length") == 1
        seen = "document.querySelector('#sessions img').naturalWidth > 0"
        assert await at_last(evaluate, seen, True)
        ground = await evaluate("getComputedStyle(document.body.parentNode).backgroundColor")
        assert (ground == "rgb(22, 25, 28)") == dark
        assert phone or await evaluate("document.documentElement.scrollWidth <= innerWidth")

    look(page / "index.html", tmp_path, scenario, dark=dark, phone=phone)


def test_words_numbers_choices_and_dates_filter_and_columns_sort(page, tmp_path):
    async def scenario(evaluate):
        await evaluate(SET.format("words", "M07", "oninput"))
        assert 0 < await evaluate(f"{SHOWN}.length") < 40
        assert await evaluate(f"{SHOWN}.every((row) => (row.textContent + row.dataset.words).includes('M07'))")
        await evaluate(SET.format("words", "frames>=64 lost=0", "oninput"))
        readable = await evaluate(f"{SHOWN}.length")
        assert 150 < readable < 200
        await evaluate(SET.format("words", "frames>64", "oninput"))
        assert await evaluate(COUNT) == "0 of 200 sessions"
        assert await evaluate("!document.querySelector('#none').hidden")
        await evaluate(SET.format("words", "", "oninput"))
        await evaluate(SET.format("state", "unreadable", "oninput"))
        assert await evaluate(f"{SHOWN}.length") == 3
        await evaluate(SET.format("state", "", "oninput"))
        await evaluate(SET.format("since", "2026-06-01", "oninput"))
        await evaluate(SET.format("until", "2026-06-30", "oninput"))
        days = await evaluate(f"{SHOWN}.map((row) => row.cells[1].dataset.value.slice(0, 7)).join(' ')")
        assert {*days.split()} == {"2026-06"}
        await evaluate(SET.format("since", "", "oninput"))
        await evaluate(SET.format("until", "", "oninput"))
        await evaluate("document.querySelector('th[data-name=name] button').click()")
        names = await evaluate(f"{SHOWN}.map((row) => row.cells[2].firstChild.textContent.toLowerCase())")
        assert names == sorted(names)
        await evaluate(SET.format("sorting", "mean_adu", "onchange"))
        column = "[...document.querySelectorAll('th')].findIndex((h) => h.dataset.name == 'mean_adu')"
        values = await evaluate(f"{SHOWN}.map((row) => row.cells[{column}].dataset.value ?? null)")
        known = [float(value) for value in values if value is not None]
        assert known == sorted(known, reverse=True)
        assert values[len(known) :] == [None] * (200 - len(known))
        assert await evaluate(f"getComputedStyle({SHOWN}[0].cells[{column}]).display") == "table-cell"
        await evaluate("document.querySelector('#gallery').click()")
        assert await evaluate("getComputedStyle(document.querySelector('#sessions tbody')).display") == "grid"

    look(page / "index.html", tmp_path, scenario)


def test_a_session_s_page_runs_nothing(page, tmp_path):
    evil = next(path for path in (page / "sessions").iterdir() if "javascript:0" in path.read_text(encoding="utf-8"))

    async def scenario(evaluate):
        assert await evaluate("document.scripts.length") == 0
        assert (await evaluate("document.title")).startswith("<script>document.title='run'<")
        assert await evaluate("document.body.innerText.includes('onerror=')")
        assert await evaluate("[...document.links].every((a) => a.protocol === 'file:')")
        assert await evaluate("document.querySelector('img.large').naturalWidth > 0")

    look(evil, tmp_path, scenario)


def test_of_many_sessions_the_rows_are_made_as_one_looks_and_all_are_searched(tmp_path):
    with opened(tmp_path / "many.sqlite", write=True) as connection, transaction(connection):
        for n in range(1000):
            began = f"2026-{1 + n % 12:02d}-{1 + n % 28:02d}T10:00:00Z"
            fields = {"path": f"/data/{n}", "name": f"s{n:04d}", "state": "finished", "frames": n, "began": began}
            put(connection, Entry(fields, [Measured("a", "extract", "cells", n / 2)]), {})
    assert write_page(tmp_path / "many.sqlite", tmp_path / "page") == 1000

    async def scenario(evaluate):
        assert await at_last(evaluate, COUNT, "1000 sessions") == "1000 sessions"
        assert await evaluate(f"{SHOWN}.length") == 200
        await evaluate("scrollTo(0, document.body.scrollHeight)")
        assert await at_last(evaluate, f"{SHOWN}.length >= 400", True)
        await evaluate("document.querySelector('#more').click()")
        assert await evaluate(f"{SHOWN}.length") >= 600
        await evaluate(SET.format("words", "s0999", "oninput"))
        assert await evaluate(f"{SHOWN}.map((row) => row.cells[2].firstChild.textContent).join()") == "s0999"
        assert await evaluate("document.querySelector('#more').hidden")
        await evaluate(SET.format("words", "cells>=450", "oninput"))
        assert await evaluate(COUNT) == "100 of 1000 sessions"
        await evaluate(SET.format("words", "", "oninput"))
        await evaluate("document.querySelector('th[data-name=frames] button').click()")
        frames = await evaluate(f"{SHOWN}.map((row) => Number(row.cells[5].dataset.value))")
        assert frames == list(range(999, 799, -1))

    (tmp_path / "browser").mkdir()
    look(tmp_path / "page/index.html", tmp_path / "browser", scenario)
