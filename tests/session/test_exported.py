"""Exports that are verified: to the last bit, after any kill, and never where something differs."""

import shutil

import numpy as np
import pytest
from toys import Movie, block

from streamfluo import SessionError, open_session
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.session.exported import NOTE, VERIFIABLE, differences, export_verified, note_of


def recorded(folder, frames=70):
    movie = [block(n, min(n + 7, frames)) for n in range(0, frames, 7)]
    engine = Engine(Movie(movie, str(folder)), parse_config('[record]\nraw = true\n[[step]]\nkind = "moments"'), folder)
    engine.start()
    assert engine.wait(30)
    return open_session(folder)


def export(session, to, folder, pause=lambda nbytes: None):
    return export_verified(session, to, folder / session.path.name, folder / ".aside", pause)


@pytest.mark.parametrize("to", VERIFIABLE)
def test_an_export_holds_every_bit_of_its_session_and_says_so(tmp_path, to):
    session = recorded(tmp_path / "S")
    note = export(session, to, tmp_path / "out")
    assert (note.frames, note.why) == (70, "")
    assert note_of(session.path) == note
    assert differences(session.path, lambda n: None) == ""
    kept = open_session(tmp_path / "out" / "S" / "session")
    np.testing.assert_array_equal(kept.snapshot("moments")["mean"], session.snapshot("moments")["mean"])


@pytest.mark.parametrize("to", VERIFIABLE)
@pytest.mark.parametrize("which", ["frames*", "session/health.json", "frames.csv"])
def test_one_bit_that_changed_keeps_the_session(tmp_path, to, which):
    session = recorded(tmp_path / "S")
    export(session, to, tmp_path / "out")
    found = next(p for p in sorted((tmp_path / "out" / "S").glob(which)))
    path = found if found.is_file() else max(found.rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else 0)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert differences(session.path, lambda n: None)


@pytest.mark.parametrize("to", VERIFIABLE)
def test_a_killed_export_is_begun_again_and_one_that_was_renamed_is_noted(tmp_path, to):
    session = recorded(tmp_path / "S")

    class Killed:
        def __init__(self, at):
            self.calls, self.at = 0, at

        def __call__(self, nbytes):
            self.calls += 1
            if self.calls == self.at:
                raise KeyboardInterrupt

    counting = Killed(0)
    export(recorded(tmp_path / "other" / "S"), to, tmp_path / "others", counting)
    for at in np.linspace(1, counting.calls, 6).astype(int):
        with pytest.raises(KeyboardInterrupt):
            export(session, to, tmp_path / "out", Killed(at))
        assert not (tmp_path / "out" / "S").exists()
        assert note_of(session.path) is None
    export(session, to, tmp_path / "out")
    (session.path / NOTE).unlink()
    note = export(open_session(session.path), to, tmp_path / "out")
    assert note.place == str(tmp_path / "out" / "S")
    assert differences(session.path, lambda n: None) == ""


def test_an_export_that_cannot_be_read_back_is_not_noted(tmp_path, monkeypatch):
    session = recorded(tmp_path / "S")
    from streamfluo.session import stack_writer

    write = stack_writer.write_tiff
    monkeypatch.setattr(
        stack_writer,
        "write_tiff",
        lambda path, frames, *rest: write(path, (f ^ (n == 33) for n, f in enumerate(frames)), *rest),
    )
    with pytest.raises(SessionError, match="frame 33 is read back with other pixels"):
        export(session, "tiff", tmp_path / "out")
    assert note_of(session.path) is None


def test_a_damaged_session_is_exported_and_never_counts_as_verified(tmp_path):
    session = recorded(tmp_path / "S")
    journal = session.path / "journal" / "000000.sfj"
    data = bytearray(journal.read_bytes())
    data[len(data) // 2] ^= 1
    journal.write_bytes(data)
    note = export(open_session(session.path), "tiff", tmp_path / "out")
    assert "damaged" in note.why
    assert "not verified" in differences(session.path, lambda n: None)


def test_a_session_that_went_on_is_not_exported_any_more(tmp_path):
    session = recorded(tmp_path / "S", 40)
    export(session, "tiff", tmp_path / "out")
    facts = session.path / "session.json"
    facts.write_bytes(facts.read_bytes().replace(b'"finished"', b'"aborted"'))
    assert note_of(session.path) is None


def test_the_place_of_another_session_is_left_alone(tmp_path):
    first = recorded(tmp_path / "a" / "S")
    second = recorded(tmp_path / "b" / "S", 30)
    export(first, "npy", tmp_path / "out")
    note = export(second, "npy", tmp_path / "out")
    assert note.place == str(tmp_path / "out" / "S-2")
    assert differences(first.path, lambda n: None) == differences(second.path, lambda n: None) == ""
    shutil.rmtree(tmp_path / "out" / "S-2")
    assert differences(second.path, lambda n: None)
