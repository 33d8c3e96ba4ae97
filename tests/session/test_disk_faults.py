"""A disk that refuses any kind of file, or two at once: a run goes on or ends with a word, and resumes to every bit."""

import contextlib
import errno
from itertools import combinations

import pytest
from toys import LEVEL, ONES, Movie, toys  # noqa: F401

from streamfluo import SessionError, open_session
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.session import files, recording
from streamfluo.session.record_file import RecordFile

KINDS = ("journal", "values", "snapshots", "events", "checkpoint", "health", "session")
MOMENTS = 'kind = "moments"\nafter = "source"'


def run(folder, resume=False):
    settings = parse_config(f"[record]\nraw = true\ncheckpoint_s = 0.001\n[[step]]\n{LEVEL}\n[[step]]\n{MOMENTS}")
    engine = Engine(Movie(ONES[:60], wait=0.0005), settings, folder, resume=resume)
    engine.start()
    assert engine.wait(30)


def kind_of(path):
    return {".sfj": "journal", ".sfv": "values", ".jsonl": "events"}.get(path.suffix) or next(
        (kind for kind in KINDS if path.name.startswith(kind) or path.parent.name == kind), None
    )


class Disk:
    """Refuses some writes of these kinds: of records the third to the fifth, of other files the first."""

    def __init__(self, kinds, error):
        self.error = error
        self.written = dict.fromkeys(kinds, 0)
        self.refused = 0

    def ask(self, kind):
        if kind not in self.written:
            return
        self.written[kind] += 1
        first, last = (3, 5) if kind in ("journal", "values") else (1, 1)
        if first <= self.written[kind] <= last:
            self.refused += 1
            raise OSError(self.error, "refused")


@pytest.fixture
def disk(monkeypatch):
    """Puts a disk in front of all that is written."""

    def refusing(kinds, error):
        disk = Disk(kinds, error)
        write, written_aside, line = RecordFile._write, files._written_aside, files.LineFile._write

        def _write(self, buffer):
            disk.ask(kind_of(self.path))
            return write(self, buffer)

        @contextlib.contextmanager
        def _written_aside(path, keep=None):
            disk.ask(kind_of(path))
            with written_aside(path, keep) as file:
                yield file

        def _line(self):
            disk.ask("events")
            line(self)

        monkeypatch.setattr(RecordFile, "_write", _write)
        monkeypatch.setattr(files, "_written_aside", _written_aside)
        monkeypatch.setattr(files.LineFile, "_write", _line)
        monkeypatch.setattr(recording, "RETRY_S", 0.005)
        return disk

    return refusing


@pytest.fixture(scope="module")
def whole(tmp_path_factory, toys):  # noqa: F811
    folder = tmp_path_factory.mktemp("whole") / "S"
    run(folder)
    return folder


def content(folder):
    session = open_session(folder)
    found = {("frame", n): pixels.tobytes() for n, _, pixels in session.each_frame(0, 1 << 62)}
    for step in session.steps:
        found[step, "index"] = session.index(step).tobytes()
        found |= {(step, name): a.tobytes() for name, a in session.values(step).items()}
        found |= {(step, name): a.tobytes() for name, a in session.snapshot(step).items()}
    return found


SINGLE = [(kind,) for kind in KINDS]
FAULTS = [
    *(pytest.param(kinds, errno.ENOSPC, id=" and ".join(kinds)) for kinds in [*SINGLE, *combinations(KINDS, 2)]),
    *(pytest.param(kinds, errno.EACCES, id=f"{kinds[0]}, forbidden") for kinds in SINGLE),
]


@pytest.mark.parametrize(("kinds", "error"), FAULTS)
def test_whatever_is_refused_the_run_resumes_to_every_bit(tmp_path, whole, disk, monkeypatch, kinds, error):
    refusing = disk(kinds, error)
    with contextlib.suppress(SessionError):
        run(tmp_path / "S")
    assert refusing.refused
    if (tmp_path / "S" / "session.json").exists():
        before = open_session(tmp_path / "S")
        assert before.state == "finished" or before.state.startswith(("failed", "interrupted"))
    monkeypatch.undo()
    run(tmp_path / "S", resume=True)
    assert open_session(tmp_path / "S").state == "finished"
    assert content(tmp_path / "S") == content(whole)
    assert open_session(tmp_path / "S").damaged == ()
