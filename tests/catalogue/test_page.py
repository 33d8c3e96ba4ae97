"""A catalogue as HTML: every word from a session is text, links lead to files, only our own script may run."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from facility import EVIL, changed, copied

from streamfluo.catalogue.database import CatalogueError, opened
from streamfluo.catalogue.page import MARK, link, write_page
from streamfluo.catalogue.scan import scan

VOID = {"meta", "br", "img", "input"}
NAMES = (
    "plain", "<img src=x onerror=alert(1)>", "'\"><svg onload=alert(1)>", "javascript:alert(1)", "x\u202egnp.exe",
    "a&lt;b;%3Cscript%3E", "-report", "&#106;avascript:alert(1)", "{{constructor.constructor('alert(1)')()}}",
)  # fmt: skip


class Read(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.text, self.scripts, self._open = [], "", "", []
        self.feed(path.read_text(encoding="utf-8"))
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "script" in self._open:
            self.scripts += data
        elif "style" not in self._open:
            self.text += data

    def policy(self):
        return next(a["content"] for _, a in self.elements if a.get("http-equiv") == "Content-Security-Policy")


@pytest.fixture
def written(tmp_path, first):
    shelf = tmp_path / "shelf"
    for name in NAMES:
        session = copied(
            first, shelf / name, source=EVIL, rig=EVIL, camera=EVIL, mouse="</script><script>alert(1)</script>"
        )
        (session / "config.toml").write_text(f"# {EVIL}\n</pre><script>alert(2)</script>\n")
        changed(session, lambda facts: facts["host"].update(name=EVIL) or facts["versions"].update({EVIL: EVIL}))
        changed(session, lambda facts: facts["steps"]["moments"]["params"].update({EVIL: EVIL}))
    (shelf / "plain-report.html").write_text("a report")
    changed(shelf / "-report", lambda facts: facts.update(state=f"failed: {EVIL}"))
    scan(shelf, tmp_path / "catalogue.sqlite")
    write_page(tmp_path / "catalogue.sqlite", tmp_path / "page")
    return tmp_path / "page"


def pages(written):
    return {path: Read(path) for path in (written / "index.html", *(written / "sessions").glob("*.html"))}


def test_every_word_of_a_session_is_text(written):
    read = pages(written)
    assert len(read) == len(NAMES) + 1
    for path, page in read.items():
        tags = [tag for tag, _ in page.elements]
        assert {*tags}.isdisjoint({"iframe", "object", "embed", "link", "form", "base", "svg", "video"})
        assert tags.count("script") == (path.name == "index.html")
        for _, attributes in page.elements:
            assert not [name for name in attributes if name.startswith("on") or name in ("style", "srcset", "srcdoc")]
        assert "\u202e" not in path.read_text(encoding="utf-8")
        assert "<script>document.title='run'</script>" in page.text


def test_only_our_script_may_run_and_nothing_is_loaded_from_elsewhere(written):
    for path, page in pages(written).items():
        nothing = "default-src 'none'; base-uri 'none'; form-action 'none'; img-src 'self'; style-src 'unsafe-inline'"
        digest = base64.b64encode(hashlib.sha256(page.scripts.encode()).digest()).decode()
        assert page.policy() == nothing + (f"; script-src 'sha256-{digest}'" if path.name == "index.html" else "")
        text = path.read_text(encoding="utf-8")
        assert "url(" not in text
        assert "@import" not in text
    shown = (Path(written).parent / "page/index.html").read_text(encoding="utf-8")
    assert "innerHTML" not in shown
    assert "eval(" not in shown


def test_links_lead_to_files_that_are_there(written):
    for path, page in pages(written).items():
        for tag, attributes in page.elements:
            if (url := attributes.get("href", attributes.get("src"))) is not None:
                assert tag in ("a", "img")
                assert urlsplit(url).scheme == ""
                assert (path.parent / unquote(url)).resolve().exists(), url


def test_a_session_s_page_links_to_its_folder_and_report(written):
    [page] = [p for p in pages(written).values() if p.text.lstrip().startswith("plain ")]
    links = [a["href"] for tag, a in page.elements if tag == "a"]
    assert links == ["../index.html", "../../shelf/plain", "../../shelf/plain-report.html"]


def test_no_link_is_a_scheme(tmp_path):
    assert link(tmp_path / "javascript:alert(1)", tmp_path) == "javascript%3Aalert%281%29"
    assert link(tmp_path / "a b" / "c?d#e", tmp_path / "x") == "../a%20b/c%3Fd%23e"


def test_details_that_were_forged_in_the_file_are_text_or_nothing(written, tmp_path):
    forged = json.dumps({"warnings": [EVIL, {"a": EVIL}], "steps": {"s": EVIL, "t": {"params": [EVIL]}}, "gaps": "x",
                         "planes": [EVIL], "versions": [EVIL]})  # fmt: skip
    with opened(tmp_path / "catalogue.sqlite", write=True) as connection:
        connection.execute("UPDATE texts SET details = ?", (forged,))
        connection.execute("UPDATE texts SET details = '{' WHERE session = 2")
        connection.execute("UPDATE previews SET png = ?", (b"<svg onload=alert(1)>",))
        connection.execute("UPDATE sessions SET state = ?, began = ?, steps = ?", (EVIL, EVIL, EVIL))
    write_page(tmp_path / "catalogue.sqlite", written)
    assert not list((written / "previews").iterdir())
    for page in pages(written).values():
        assert [tag for tag, _ in page.elements].count("script") <= 1
        assert not [a for _, a in page.elements if any(name.startswith("on") for name in a)]


def test_a_page_is_written_anew_and_nothing_else_is_replaced(written, tmp_path):
    assert (written / MARK).is_file()
    (tmp_path / "shelf/plain").rename(tmp_path / "aside")
    scan(tmp_path / "shelf", tmp_path / "catalogue.sqlite")
    write_page(tmp_path / "catalogue.sqlite", written)
    [page] = [p for p in pages(written).values() if p.text.lstrip().startswith("plain ")]
    assert "gone" in page.text
    assert [a["href"] for tag, a in page.elements if tag == "a"][1:] == ["../../shelf/plain-report.html"]
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/thesis.tex").touch()
    with pytest.raises(CatalogueError, match="exists and is no page of a catalogue"):
        write_page(tmp_path / "catalogue.sqlite", tmp_path / "theirs")
    assert (tmp_path / "theirs/thesis.tex").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.endswith((".part", ".old"))]


def test_a_catalogue_of_broken_sessions_alone_has_a_page(tmp_path, first):
    session = copied(first, tmp_path / "shelf/one")
    for name in ("session.json", "session.copy.json"):
        (session / name).write_text(f"{{{EVIL}")
    scan(tmp_path / "shelf", tmp_path / "c.sqlite")
    assert write_page(tmp_path / "c.sqlite", tmp_path / "page") == 1
    page = Read(tmp_path / "page/index.html")
    assert "unreadable" in page.text
    assert re.search(r"1 session\b", page.text)


def test_a_page_that_cannot_be_put_in_place_leaves_the_one_that_is_there(tmp_path, first, monkeypatch):
    copied(first, tmp_path / "shelf/one")
    scan(tmp_path / "shelf", tmp_path / "c.sqlite")
    write_page(tmp_path / "c.sqlite", tmp_path / "page")
    rename = Path.rename

    def refused(path, to):
        if path.name == "page.part":
            raise OSError(28, "No space left on device")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(CatalogueError, match="No space left on device"):
        write_page(tmp_path / "c.sqlite", tmp_path / "page")
    assert (tmp_path / "page" / "index.html").is_file()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("page")) == ["page"]
