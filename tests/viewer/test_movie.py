"""What a window shows as a movie: H.264 that players play, with the times at which it was seen, whatever ends it."""

import contextlib
import sys
import time

import numpy as np
import pytest

pytest.importorskip("PySide6")
pytest.importorskip("av")

import av
from processes import Process, called
from PySide6.QtGui import QColor, QImage, QPainter
from systems import needs_signals
from toys import Movie, block

from streamfluo.core.errors import ConfigError, SourceError
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine
from streamfluo.viewer.movie import LAST_S, MovieWriter, Recording, _Camera, _pixels

COLOURS = ("#c81e1e", "#1ec81e", "#1e1ec8", "#c8c8c8", "#202020")


def picture(n, width=161, height=91):
    """A picture of one colour with a white square in its corner."""
    image = QImage(width, height, QImage.Format.Format_RGB32)
    image.fill(QColor(COLOURS[n % len(COLOURS)]))
    painter = QPainter(image)
    painter.fillRect(0, 0, 24, 24, QColor("white"))
    painter.end()
    return image


def written(path, count=12, fps=10.0, **size):
    with MovieWriter(path, fps) as writer:
        for n in range(count):
            writer.add(picture(n, **size), n / fps)
    return path


def frames_of(path):
    """(time [s], pixels) of each frame that a player would show, and what the file says of itself."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        facts = (context.name, context.pix_fmt, context.width, context.height)
        frames = []
        with contextlib.suppress(av.error.InvalidDataError, av.error.EOFError):  # a torn last one
            for frame in container.decode(stream):
                frames.append((float(frame.pts * frame.time_base), frame.to_ndarray(format="rgb24")))
    return facts, frames


def boxes_of(data):
    """(name, where it begins, where it ends) of each box of an MP4."""
    found, at = [], 0
    while at < len(data):
        stop = at + int.from_bytes(data[at : at + 4], "big")
        found.append((data[at + 4 : at + 8], at, stop))
        at = stop
    return found


def test_every_picture_is_read_back_with_its_time_and_its_colours(tmp_path):
    facts, frames = frames_of(written(tmp_path / "m.mp4"))
    assert facts == ("h264", "yuv420p", 160, 90)
    assert np.allclose([at_s for at_s, _ in frames], np.arange(12) / 10, atol=1e-3)
    for n, (_, pixels) in enumerate(frames):
        colour = QColor(COLOURS[n % len(COLOURS)])
        seen = pixels[40:, 60:].reshape(-1, 3).mean(0)
        assert np.abs(seen - [colour.red(), colour.green(), colour.blue()]).max() < 10, (n, seen)
        assert pixels[4:20, 4:20].min() > 225


def test_the_file_is_one_that_browsers_and_quicktime_play(tmp_path):
    data = written(tmp_path / "m.mp4", 25).read_bytes()
    boxes = [name for name, _, _ in boxes_of(data)]
    assert boxes[:2] == [b"ftyp", b"moov"]  # what a player needs comes first
    assert boxes.count(b"moof") >= 3  # a fragment a second at least
    assert b"avc1" in data


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 1])
def test_what_was_written_plays_when_the_rest_never_came(tmp_path, share):
    """Cut within the pictures of a fragment, as one that is larger than a write is; its head goes with the first."""
    whole = written(tmp_path / "m.mp4", 60, width=640, height=480).read_bytes()
    late = [(at, stop) for name, at, stop in boxes_of(whole) if name == b"mdat" and at > len(whole) / 2]
    at, stop = late[0]
    (tmp_path / "cut.mp4").write_bytes(whole[: at + 8 + round(share * (stop - at - 8))])
    _, frames = frames_of(tmp_path / "cut.mp4")
    assert 20 <= len(frames) < 60
    colour = QColor(COLOURS[0])
    assert np.abs(frames[0][1][300, 300] - np.array([colour.red(), colour.green(), colour.blue()])).max() < 10


def test_pixels_of_a_picture_do_not_go_with_it():
    pixels = _pixels(picture(0, 640, 480), 640, 480)  # lines of whole words: the picture's memory would do as it is
    assert pixels.flags.owndata


def test_pictures_late_or_of_another_size_are_shown_when_they_came(tmp_path):
    with MovieWriter(tmp_path / "m.mp4", 10) as writer:
        for at_s, size in ((0.0, (100, 60)), (0.73, (50, 60)), (0.73, (100, 60)), (2.0, (400, 240))):
            writer.add(picture(0, *size), at_s)
    _, frames = frames_of(tmp_path / "m.mp4")
    assert np.allclose([at_s for at_s, _ in frames], [0, 0.73, 0.731, 2.0], atol=1e-6)
    assert {pixels.shape for _, pixels in frames} == {(60, 100, 3)}
    assert frames[1][1][30, 5].max() < 40  # black beside a narrow one
    assert frames[1][1][50, 50, 0] > 180


@pytest.mark.parametrize(
    ("name", "error"), [("m.avi", "writes an MP4; name it so, m.mp4"), ("no/m.mp4", "the movie cannot be written")]
)
def test_a_file_that_cannot_be_is_refused(tmp_path, name, error):
    with pytest.raises((ConfigError, SourceError), match=error):
        MovieWriter(tmp_path / name, 10)


def test_without_pyav_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError, match=r'--record needs PyAV; install it with pip install "streamfluo\[formats\]"'):
        MovieWriter(tmp_path / "m.mp4", 10)


def camera(open_window, path, **asked):
    """A camera before a window, and a function that lets it look so many seconds after it was made."""
    window, _ = open_window()
    writer = MovieWriter(path, 10)
    quits = []

    class App:
        def quit(self):
            quits.append(True)

    looking = _Camera(App(), window, writer, Recording(path, **asked))
    looking.stop()
    return window, writer, looking, quits


def test_it_begins_with_a_picture_and_ends_after_so_many(open_window, tmp_path, monkeypatch):
    window, writer, looking, quits = camera(open_window, tmp_path / "m.mp4", frames=3)
    now_s = looking._opened_s
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    looking._tick()
    assert writer.frames == 0, "nothing to see yet"
    next(iter(window.model.pictures.values())).pixels = np.zeros((2, 2))
    for n in range(3):
        assert not quits
        looking._tick()
        now_s += 0.1
        assert writer.frames == n + 1
    assert quits
    writer.close()


def test_it_goes_on_for_a_second_after_the_stream(open_window, tmp_path, monkeypatch):
    window, writer, looking, quits = camera(open_window, tmp_path / "m.mp4")
    next(iter(window.model.pictures.values())).pixels = np.zeros((2, 2))
    now_s = looking._opened_s
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    assert window.model.link == "live"
    looking._tick()
    now_s += 60
    looking._tick()
    assert not quits
    window.model.ended = "finished"
    looking._tick()
    assert not quits
    now_s += LAST_S
    looking._tick()
    assert quits
    writer.close()


def test_a_session_is_recorded_by_a_command(tmp_path):
    engine = Engine(Movie([block(0, 40)]), parse_config('[[step]]\nkind = "moments"\n', "c.toml"), tmp_path / "S")
    engine.start()
    assert engine.wait(60)
    words = ("view", "S", "--record", "m.mp4", "--frames", 4, "--fps", 20, "--size", "701x501")
    done = called(*words, cwd=tmp_path, timeout=90)
    assert (done.returncode, done.stderr) == (0, "")
    assert "movie: m.mp4, 4 pictures" in done.stdout
    facts, frames = frames_of(tmp_path / "m.mp4")
    assert facts == ("h264", "yuv420p", 700, 500)
    assert len(frames) == 4
    assert frames[-1][1].std() > 5  # a window, not an empty one


def test_two_ends_at_once_are_one_line(tmp_path):
    words = ("view", "tcp://127.0.0.1:9", "--record", "m.mp4", "--frames", 4, "--seconds", 2)
    done = called(*words, cwd=tmp_path, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "one of --seconds, --frames" in done.stderr


@needs_signals
@pytest.mark.slow
def test_a_movie_whose_program_was_killed_plays(tmp_path):
    np.save(tmp_path / "noise.npy", np.random.default_rng(0).integers(0, 4096, (64, 128, 128), np.uint16))
    with Process("replay", "noise.npy", "--bind", "tcp://127.0.0.1:0", "--fps", 50, "--loop", cwd=tmp_path) as replay:
        endpoint = replay.stdout.readline().rsplit(" at ", 1)[1].strip()
        with Process("view", endpoint, "--record", "m.mp4", "--size", "640x480", cwd=tmp_path) as viewer:
            until = time.monotonic() + 60
            movie = tmp_path / "m.mp4"
            while time.monotonic() < until and not (movie.exists() and movie.stat().st_size):
                time.sleep(0.1)
            time.sleep(4)
            viewer.kill()
            viewer.communicate()
        replay.kill()
        replay.communicate()
    _, frames = frames_of(movie)
    assert len(frames) >= 10
    assert frames[-1][1].std() > 20
