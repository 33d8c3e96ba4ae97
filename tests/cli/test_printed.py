"""What files and streams name is shown as text: nothing of theirs steers the terminal."""

import json
import logging

import pytest
from rich.table import Table
from rich.tree import Tree
from toys import LEVEL, ONES, Movie, config, toys  # noqa: F401

from streamfluo import SourceError
from streamfluo.cli import cli
from streamfluo.cli import console as printing
from streamfluo.cli.console import LogFormatter, console, errors, one_line, printable
from streamfluo.cli.inspect import inspect
from streamfluo.cli.status import status_table
from streamfluo.core import wire
from streamfluo.engine.engine import Engine
from streamfluo.session.schema import sealed

CLEAR, TITLE, COPY = "\x1b[2J", "\x1b]0;owned\x07", "\x1b]52;c;cm0gLXJm\x07"
STRANGE = {
    "clear the screen": (CLEAR, r"\x1b[2J"),
    "a title": (TITLE, r"\x1b]0;owned\x07"),
    "the clipboard": (COPY, r"\x1b]52;c;cm0gLXJm\x07"),
    "one byte for escape and bracket": ("\x9b2J", r"\x9b2J"),
    "back to the line's start": ("frames 9\rframes 0", r"frames 9\rframes 0"),
    "backspaces": ("a\b\bc", r"a\x08\x08c"),
    "writing turned round": ("a\u202egnp.fit", r"a\u202egnp.fit"),
    "half a character": ("a\udc80", r"a\udc80"),
    "text": ("σ = 0.108 µm – 12 × 16\n\tnext", "σ = 0.108 µm – 12 × 16\n\tnext"),
}


def table_of(text):
    table = Table(text, title=text)
    table.add_row(text)
    return table


@pytest.mark.parametrize(("text", "shown"), STRANGE.values(), ids=STRANGE)
def test_control_characters_are_spelt_out_and_text_stays(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize("wrap", [str, table_of, Tree], ids=["line", "table", "tree"])
@pytest.mark.parametrize("text", [CLEAR, TITLE, COPY, "\x9b2J", "a\rb"])
def test_no_escape_reaches_the_terminal_in_whatever_is_printed(wrap, text):
    with console.capture() as captured:
        console.print(wrap(text))
    assert not {"\x1b", "\x9b", "\r", "\x07"} & set(captured.get())
    assert printable(text) in captured.get()


def test_an_error_is_one_line(monkeypatch):
    def fail():
        raise SourceError(f"x.tif: no channel {CLEAR}\nstreamfluo: all is well")

    monkeypatch.setattr(cli, "app", fail)
    with errors.capture() as captured, pytest.raises(SystemExit):
        cli.main()
    assert captured.get() == "streamfluo: x.tif: no channel \\x1b[2J\\nstreamfluo: all is well\n"
    assert one_line("a\nb") == "a\\nb"


def test_a_log_line_is_text():
    record = logging.LogRecord("streamfluo", logging.WARNING, "", 0, "%s: dropped", (f"tcp://x{CLEAR}",), None)
    assert LogFormatter("streamfluo: %(message)s").format(record) == r"streamfluo: tcp://x\x1b[2J: dropped"


def test_a_session_is_inspected_without_obeying_it(toys, tmp_path):  # noqa: F811
    engine = Engine(Movie(ONES[:20]), config(LEVEL), tmp_path / "S")
    engine.start()
    assert engine.wait(20)
    facts = json.loads((tmp_path / "S" / "session.json").read_text())
    facts["series"]["source"] = TITLE + "m.tif"
    facts["steps"]["level"]["gives"][0]["meaning"] = CLEAR
    facts["started"] = COPY
    facts["versions"]["streamfluo"] = "1\n9999 frames in the journal, 0 lost in 0 gaps"
    facts.pop("crc32")
    (tmp_path / "S" / "session.json").write_text(json.dumps(sealed(facts)))
    with (tmp_path / "S" / "events.jsonl").open("a") as file:
        file.write(json.dumps(sealed({"event": "muted", "step": "level", "frame": 3, "error": CLEAR})) + "\n")
    with console.capture() as captured:
        inspect(tmp_path / "S")
    assert "\x1b" not in captured.get()
    assert "\x07" not in captured.get()
    assert captured.get().count(r"\x1b[2J") == 2
    assert "\n9999 frames" not in captured.get()


def test_what_a_server_says_of_itself_is_text():
    report = wire.Status(program=TITLE, state=CLEAR, counters={COPY: {CLEAR: 1}, "lately": [CLEAR]})
    hello = wire.Hello(series={"source": CLEAR}, endpoints={"results": CLEAR})
    with console.capture() as captured:
        console.print(status_table("tcp://x", hello, report))
    assert "\x1b" not in captured.get()
    assert printing.console is console
