"""A session as one page: it runs nothing, asks for nothing, says what was lost, whatever became of the run."""

import base64
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from commands import command
from toys import Movie, Toy, block, bright_above, toys  # noqa: F401 - the fixture registers and forgets

from streamfluo import Block, Gives, Output, Plane, Source, Spec, open_session
from streamfluo.core.findings import Findings, Number
from streamfluo.core.operator import Table
from streamfluo.core.registry import register
from streamfluo.core.source import Gap, Series
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.report.page import page_of
from streamfluo.session.lock import take
from streamfluo.session.schema import sealed

EVIL = "<script>alert('x')</script><img src=http://evil.example/x.png onerror=alert(1)>\u202e\x1b[2J"
VOID = {"meta", "br", "img"}
CHAIN = f"""# a config <b>as it ran</b>
[record]
raw = true{bright_above(8000)}[[step]]
kind = "toy-foreign"
[[step]]
kind = "toy-clumsy"
"""


class Foreign(Toy):
    """What somebody's package gives: of every kind one, with words that a browser would obey."""

    gives = (
        Gives("wave", "per_frame", ("t",), "mV", "a wave"),
        Gives("each", "by_id", ("t", "id"), EVIL, f"traces {EVIL}"),
        Gives("seen", "table", ("frame", "height_um"), "", "things seen"),
        Gives("chart", "snapshot", ("x_px", "y"), "ADU^2", "A picture of its own"),
        Gives("profile", "snapshot", ("radius_px",), "", "a profile"),
        Gives("speed_px", "snapshot", (), "px", "how fast it went"),
        Gives("status", "snapshot", (), "", "in words"),
        Gives("found", "table", ("frame", "y_px", "x_px"), "px", "places"),
        Gives("lines", "snapshot", ("id", "point", "yx"), "px", "outlines"),
        Gives("seen_mean", "snapshot", ("y", "x"), "ADU", "an image of the frames"),
    )

    def update(self, block, inputs={}):
        frames = np.arange(block.index, block.stop)
        each = np.stack([np.sin(frames / 5), np.full(len(frames), np.nan)], 1)
        found = Table({"frame": frames, "y_px": np.full(len(frames), 2.0), "x_px": np.full(len(frames), np.nan)})
        found = Table({name: column[:1] if name != "x_px" else np.ones(1) for name, column in found.items()})
        seen = Table({"frame": frames, "height_um": frames / 10})
        return Output(
            block.index,
            {"wave": np.cos(frames / 9), "ids": np.array([4, 7]), "each": each, "seen": seen, "found": found},
        )

    def read(self, names=None, inputs={}):
        known = {
            "chart": np.add.outer(np.arange(12.0), np.arange(20.0)), "profile": np.arange(9.0) ** 2,
            "speed_px": np.array(2.34567), "status": np.array(EVIL),
            "lines": np.array([[[0, 0], [0, 2], [2, 2.0]]]), "seen_mean": np.arange(16.0).reshape(4, 4),
        }  # fmt: skip
        return {name: known[name] for name in self.snapshot_names(names)}


class Clumsy(Foreign):
    """Its own report fails."""

    @staticmethod
    def report(step):
        raise KeyError("what it never gave")


class Own(Toy):
    """Its own report is taken."""

    @staticmethod
    def report(step):
        return Findings("3 things", [Number("things", "3", "", "as counted")])


@pytest.fixture(scope="module")
def session(toys, tmp_path_factory):  # noqa: F811
    for operator in (Foreign, Clumsy, Own):
        register(f"toy-{operator.__name__.lower()}")(operator)
    movie = Movie([block(0, 100), Gap(100, 20, "camera"), block(120, 200)])
    movie.series = Series("movie", EVIL, frames=240, user={"objective": EVIL})
    return recorded(movie, CHAIN, tmp_path_factory.mktemp("report") / "S")


@pytest.fixture(scope="module")
def page(session):
    return page_of(session)


def recorded(source, text, folder):
    engine = Engine(source, parse_config(text, "c.toml"), folder)
    engine.start()
    assert engine.wait(60)
    assert engine.error is None
    return open_session(folder)


class Read(HTMLParser):
    """What a browser would make of a page: elements with attributes, the text of each heading, and all of it."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.headings, self.text, self._open = [], [], "", []
        self.feed(page)
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" not in self._open:
            self.text += data
        if self._open and self._open[-1] in ("h1", "h2", "h3"):
            self.headings.append(data)

    def pictures(self):
        return [attrs for tag, attrs in self.elements if tag == "img"]


def test_a_page_runs_nothing_and_asks_for_nothing(page):
    read = Read(page)
    assert {tag for tag, _ in read.elements}.isdisjoint({"script", "iframe", "object", "embed", "link", "form", "base"})
    for _, attributes in read.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("href", "srcset", "style")]
        assert attributes.get("src", "data:image/").startswith("data:image/")
    policy = next(a["content"] for _, a in read.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; style-src 'unsafe-inline'"
    )
    assert "url(" not in page
    assert "@import" not in page


def test_what_a_session_says_is_text_and_steers_nothing(page):
    assert "<script" not in page
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert Read(page).text.count("alert('x')") >= 5  # source, sender, unit, meaning, status


def test_every_picture_is_an_image_with_words_for_those_who_do_not_see_it(page):
    pictures = Read(page).pictures()
    assert len(pictures) >= 8
    for picture in pictures:
        kind, _, data = picture["src"].partition(";base64,")
        start = base64.b64decode(data)[:8]
        assert start.startswith({"data:image/jpeg": b"\xff\xd8\xff", "data:image/png": b"\x89PNG"}[kind])
        assert picture["alt"]


def test_frames_and_losses_are_those_of_the_session(page):
    text = Read(page).text
    for said in ("200\u202fframes of 240", "180\u202fframes, 20\u202fframes lost", "20\u202fframes (10 %)"):
        assert said.replace("\u202f", " ") in text.replace("\u202f", " ")
    assert "20 frames never came: lost by the camera." in text
    assert "No frame was lost" not in text


def test_what_triggers_decided_and_how_it_ended_is_told(session, page):
    text = Read(page).text
    assert f"fired{int(session.values('bright')['fired'].sum())} framesof 180" in text
    assert "the session was closed: finished" in text
    assert "Course of the run" in text
    assert session.facts["host"]["name"] in text
    assert session.series["uid"] in text
    assert "# a config <b>as it ran</b>" in text


def test_what_somebody_elses_operator_gives_is_shown_as_it_is_declared(page):
    text = Read(page).text
    for said in ("wave", "A picture of its own", "things seen", "a profile", "how fast it went", "2.35"):
        assert said in text
    assert "height" in text
    assert re.search(r"An image of the frames\. With 1 outline and \d+ places?\.", text)
    assert "8.95 (0.895 to 19.0)" in text  # of frames 0..99 and 120..199, over ten


def test_a_report_that_fails_costs_no_page(page):
    assert "Its own report could not be made (KeyError" in Read(page).text


def test_an_operators_own_report_is_taken(session, tmp_path):
    made = recorded(Movie([block(0, 10)]), '[[step]]\nkind = "toy-own"\n', tmp_path / "S")
    assert "3 things" in Read(page_of(made)).text


def test_a_killed_run_has_a_page(session, tmp_path):
    folder = interrupted(session, tmp_path)
    for part in ("snapshots", "health.json"):
        path = folder / part
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    values = folder / "values" / "moments.sfv"
    values.write_bytes(values.read_bytes()[:-100])
    text = Read(page_of(open_session(folder))).text
    assert "The run did not end by itself" in text
    assert "Damaged: values/moments.sfv" in text
    assert "the run did not live to write it" in text


def test_a_gap_that_no_memory_holds_costs_no_page(session, tmp_path):
    folder = shutil.copytree(session.path, tmp_path / "S")
    shutil.rmtree(folder / "journal")
    with (folder / "events.jsonl").open("a") as events:
        events.write(json.dumps(sealed({"event": "gap", "first": 200, "count": 1 << 60, "reason": "camera"})) + "\n")
    assert "frames never came: lost by the camera" in Read(page_of(open_session(folder))).text


def test_a_run_that_goes_on_has_a_page(tmp_path):
    folder = interrupted(recorded(Movie([block(0, 10)]), "", tmp_path / "S"), tmp_path)
    lock = take(folder)
    try:
        assert "The run goes on" in Read(page_of(open_session(folder))).text
    finally:
        lock.release()


def interrupted(session, tmp_path):
    """A copy that says it runs."""
    folder = shutil.copytree(session.path, tmp_path / "K")
    facts = json.loads((folder / "session.json").read_text())
    del facts["crc32"]
    (folder / "session.json").write_text(json.dumps(sealed({**facts, "state": "running"})))
    return folder


def test_a_session_without_frames_has_a_page(tmp_path):
    for text in ("", '[[step]]\nkind = "moments"\n'):
        made = recorded(Movie([]), text, tmp_path / f"S{len(text)}")
        read = Read(page_of(made))
        assert "0 frames" in read.text
        assert not read.pictures()


class Unseen(Movie):
    """Frames without a known pixel."""

    def __init__(self):
        super().__init__([Block(0, np.arange(40), np.full((40, 4, 4), np.nan, np.float32))])
        self.spec = Spec((4, 4), "float32")


def test_a_movie_without_a_known_pixel_has_a_page(tmp_path):
    made = recorded(Unseen(), '[[step]]\nkind = "moments"\n', tmp_path / "S")
    assert "no known pixel" in Read(page_of(made)).text


class Planes(Source):
    """Two planes, one of which has a name that is markup and lost a frame."""

    seekable = False
    spec = Spec((6, 8), "uint16", 0.5, 0.25, planes=(Plane("<b>red", 0), Plane("green", 1)))
    series = Series("several", "test", 5, 40)

    def blocks(self, max_frames=32):
        for index in range(20):
            for plane in self.spec.planes:
                if index == 7 and plane.channel == "green":
                    yield Gap(index, 1, "camera", plane.name)
                else:
                    yield Block(index, [index], np.full((1, 6, 8), index + plane.z, np.uint16), plane.channel, plane.z)

    def seek(self, index):
        pass


def test_planes_have_their_sections_apart(tmp_path):
    made = recorded(Planes(), '[[step]]\nkind = "moments"\n', tmp_path / "S")
    read = Read(page_of(made))
    assert "<b>red/0: moments" in read.headings
    assert "green/1: moments" in read.headings
    assert "19 frames, 1 lost" in read.text.replace("\u202f", " ")
    assert "1 frame of plane green/1 never came (camera)" in read.text


def test_a_page_takes_the_name_of_its_session_beside_it(session, tmp_path):
    folder = shutil.copytree(session.path, tmp_path / "one & <i>two")
    done = command("report", folder, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    out = tmp_path / "one & <i>two-report.html"
    assert f"report: {out}" in done.stdout
    read = Read(out.read_text(encoding="utf-8"))
    assert "one & <i>two " in read.headings
    assert "i" not in {tag for tag, _ in read.elements}
    assert sorted(p.name for p in tmp_path.iterdir()) == [folder.name, out.name]


@pytest.mark.parametrize(
    ("words", "error"),
    [(("nothing",), "nothing: no such session folder"), (("S", "--out", "no/page.html"), "no/page.html cannot be")],
)
def test_bad_words_are_one_line(session, tmp_path, words, error):
    (tmp_path / "S").symlink_to(session.path)
    done = command("report", *words, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert error in done.stderr


def test_values_read_record_by_record_are_the_values(session):
    whole = session.values("moments")["total_signal"]
    parts = list(session.each_record("moments"))
    assert np.array_equal(np.concatenate([p.arrays["total_signal"] for p in parts]), whole)
    index = np.concatenate([np.arange(p.index, p.index + p.frames) for p in parts])
    assert np.array_equal(index, session.index("moments"))
