"""Values of before: the last of them are told who comes late, of a run as of its session, in bounded pieces."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
from test_publisher import Held, ones, running, until
from toys import block
from wire_bytes import fed, hello, result, status

from streamfluo import SourceError, open_session
from streamfluo.core import wire
from streamfluo.core.operator import Gives
from streamfluo.core.source import Gap
from streamfluo.core.step_values import StepValues, sized
from streamfluo.engine.past_message import PAGE_BYTES
from streamfluo.engine.recent_looks import MAX_LOOKS, RecentLooks
from streamfluo.engine.recent_values import PIECE_FRAMES, TABLES_BYTES, RecentValues
from streamfluo.engine.session_view import SessionView
from streamfluo.engine.written_values import WrittenValues
from streamfluo.network.watching import Watch
from streamfluo.session import landmarks
from streamfluo.session import values as values_module
from streamfluo.session.values import ValuesWriter, each_record, records_before
from streamfluo.viewer.earlier import Earlier
from streamfluo.viewer.model import Model

GIVES = {
    "cells": {
        "ids": Gives("ids", "by_id", ("id",), "", ""),
        "trace": Gives("trace", "by_id", ("t", "id"), "", ""),
        "born": Gives("born", "per_frame", ("t",), "", ""),
        "field": Gives("field", "per_frame", ("t", "y", "x", "yx"), "", ""),
        "found": Gives("found", "table", ("frame",), "", ""),
    }
}
MEANS = "kind = 'moments'"
MANY = 1 << 24
PATIENCE_S = 20.0  # beside other tests


def values(index, frames=1, ids=(1, 2)):
    at = np.arange(index, index + frames)
    arrays = {
        "ids": np.array(ids, np.int32),
        "trace": (at[:, None] + 100.0 * np.array(ids)).astype(np.float32),
        "born": at.astype(float),
        "field": np.zeros((frames, 4, 4, 2)),
        "found/frame": at,
    }
    return StepValues("cells", index, frames, arrays, sized(arrays))


def told(recent, before=MANY, names=(), nbytes=MANY):
    message, parts = recent.page(wire.Past(step="cells", names=names, before=before), nbytes)
    return message, {h.name: part for h, part in zip(message.arrays, parts, strict=True)}


def filled(*pieces, **options):
    recent = RecentValues("uid", GIVES, **options)
    for piece in pieces:
        recent.put(piece)
        recent.settle()
    return recent


def test_the_last_values_before_a_frame_are_told_as_one_run():
    message, arrays = told(filled(*(values(n) for n in range(150))), before=140)
    assert (message.index, message.count, message.before, message.series_uid) == (0, 140, 140, "uid")
    assert np.array_equal(arrays["trace"], np.arange(140)[:, None] + np.array([100.0, 200.0]))
    assert arrays.keys() == {"ids", "trace", "born"}, "tables, and fields that no viewer plots, are not kept"


def test_names_that_are_asked_for_come_alone_and_ids_with_those_that_have_them():
    recent = filled(*(values(n) for n in range(3)))
    assert told(recent, names=("born",))[1].keys() == {"born"}
    assert told(recent, names=("trace",))[1].keys() == {"ids", "trace"}
    assert told(recent, names=("field", "nonsense"))[0].count == 0


def test_who_was_not_born_yet_has_no_value():
    recent = filled(*(values(n) for n in range(100)), *(values(n, ids=(2, 7)) for n in range(100, 130)))
    message, arrays = told(recent)
    place = {name: n for n, name in enumerate(arrays["ids"].tolist())}
    assert (message.index, message.count, sorted(place)) == (0, 130, [1, 2, 7])
    assert np.array_equal(arrays["trace"][:, place[2]], np.arange(130) + 200.0)
    assert np.isnan(arrays["trace"][:100, place[7]]).all()
    assert np.isnan(arrays["trace"][100:, place[1]]).all()


def test_a_hole_ends_an_answer_and_the_next_one_goes_on_behind_it():
    recent = filled(*(values(n) for n in range(40)), *(values(n) for n in range(50, 60)))
    first = told(recent)[0]
    assert (first.index, first.count) == (50, 10)
    second = told(recent, before=50)[0]
    assert (second.index, second.count) == (0, 40)
    assert told(recent, before=0)[0].count == 0


def test_an_answer_has_so_many_bytes_at_most_and_the_rest_comes_when_it_is_asked_for():
    many = tuple(range(1000))
    recent = filled(*(values(n, 32, many) for n in range(0, 1600, 32)), max_bytes=1 << 30)
    before, seen = MANY, []
    while (found := told(recent, before, ("trace",)))[0].count:
        message, arrays = found
        assert sum(a.nbytes for a in arrays.values()) <= PAGE_BYTES
        assert np.array_equal(arrays["trace"][:, 3], np.arange(message.index, message.index + message.count) + 300.0)
        seen.append((message.index, message.index + message.count))
        before = message.index
    assert [stop for _, stop in seen] == [1600, *(start for start, _ in seen[:-1])]
    assert seen[-1][0] == 0
    assert told(recent, names=("trace",), nbytes=20_000)[0].count == 3
    assert told(recent, names=("trace",), nbytes=100)[0].count == 0, "one row is more than what is allowed"


def test_memory_is_bounded_and_what_is_oldest_goes():
    recent = filled(*(values(n) for n in range(5000)), max_bytes=100_000)
    assert recent.nbytes <= 100_000
    first = told(recent)[0]
    assert first.index + first.count == 5000
    assert 0 < first.index < 5000 - PIECE_FRAMES


def test_of_a_table_that_is_named_the_newest_rows_are_told_in_so_many_bytes():
    recent = filled(*(values(n) for n in range(100)))
    message, arrays = told(recent, before=3, names=("found",))
    assert (message.count, message.before, message.kind) == (0, 3, "values")
    assert {name: a.tolist() for name, a in arrays.items()} == {"found/frame": list(range(100))}
    assert told(recent, names=("found",), nbytes=80)[1]["found/frame"].tolist() == list(range(90, 100))
    assert told(recent, names=("found",), nbytes=7)[1] == {}
    many = filled(*(values(n, 20_000) for n in range(0, 400_000, 20_000)))
    assert sum(many._rows_nbytes.values()) <= TABLES_BYTES
    rows = told(many, names=("found",))[1]["found/frame"]
    assert rows.tolist() == list(range(400_000 - len(rows), 400_000))
    assert 80_000 <= len(rows) < 140_000


@pytest.fixture
def writer(tmp_path, monkeypatch):
    monkeypatch.setattr(landmarks, "STRETCH_BYTES", 5000)
    made = ValuesWriter(tmp_path / "cells.sfv", "uid")
    yield made
    made.close()


def written(writer, first, stop, frames=1):
    for index in range(first, stop, frames):
        writer.add(values(index, frames))
        writer.flush()


def test_what_memory_has_no_more_is_read_from_what_is_written_while_it_is(writer):
    written(writer, 0, 400)
    recent = filled(*(values(n) for n in range(400)), max_bytes=20_000, older=WrittenValues({"cells": writer}).before)
    assert told(recent)[0].index > 200
    before, traces = MANY, []
    while (found := told(recent, before, ("trace",), nbytes=1000))[0].count:
        traces.insert(0, found[1]["trace"])
        before = found[0].index
        if before > 200:
            written(writer, writer_stop(writer), writer_stop(writer) + 2)
    assert before == 0
    assert np.array_equal(np.concatenate(traces), np.arange(400)[:, None] + np.array([100.0, 200.0]))
    assert told(recent, 100)[1].keys() == {"ids", "trace", "born"}, "as memory has them"
    assert told(recent, 100, ("field",))[0].count == 0
    assert told(recent, 0)[0].count == 0


def writer_stop(writer):
    return next(records_before(writer, MANY)).index + 1


def test_a_question_reads_little_of_a_large_file(writer, monkeypatch):
    written(writer, 0, 400)
    read = []
    monkeypatch.setattr(
        values_module, "each_record", lambda path, uid, data: read.append(len(data)) or each_record(path, uid, data)
    )
    assert next(records_before(writer, 300)).index == 299
    assert 0 < sum(read) < 20_000 < writer.nbytes


def test_landmarks_are_bounded(monkeypatch):
    monkeypatch.setattr(landmarks, "MAX_LANDMARKS", 16)
    marks = landmarks.Landmarks()
    for n in range(1000):
        marks.note(n * landmarks.STRETCH_BYTES, n)
    found = marks.all(None, b"")
    assert len(found) < 16
    assert found[0] == (0, 0)
    assert found[-1][1] > 800


def test_of_a_run_that_goes_on_what_it_wrote_before_is_read_too_and_what_was_torn_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(landmarks, "STRETCH_BYTES", 5000)
    first = ValuesWriter(tmp_path / "cells.sfv", "uid")
    written(first, 0, 50)
    kept = first.nbytes
    written(first, 50, 60)
    first.close()
    again = ValuesWriter(tmp_path / "cells.sfv", "uid", kept)
    written(again, 50, 90)
    with (tmp_path / "cells.sfv").open("ab") as file:
        file.write(b"SFLUORC2 torn")
    found = [record.index for record in records_before(again, 80)]
    assert found == list(range(79, -1, -1))
    again.close()


def test_where_nothing_is_written_or_the_disk_is_gone_there_is_nothing_before(writer):
    assert list(WrittenValues({"cells": writer}).before("cells", 9)) == []
    assert list(WrittenValues({}).before("cells", 9)) == []
    written(writer, 0, 5)
    writer.path.unlink()
    assert list(WrittenValues({"cells": writer}).before("cells", 9)) == []


def looked(looks, before=MANY, nbytes=MANY):
    message, parts = looks.answer(wire.Past(step="sofi", names=("change",), before=before), nbytes)
    return message, {h.name: part.tolist() for h, part in zip(message.arrays, parts, strict=True)}


def test_what_a_short_snapshot_was_at_each_look_is_told_over_the_whole_run():
    looks = RecentLooks("uid", {"sofi": {"change": Gives("change", "snapshot", ("order",), "", "")}})
    assert looked(looks) == (wire.Result(series_uid="uid", step="sofi", kind="snapshot", index=0, count=0,
                                         arrays=(), before=MANY), {})  # fmt: skip
    for index in (5, 5, 9, 7, 12):
        looks.put("sofi", index, {"change": np.array([index, 2.0]), "picture": np.zeros((9, 9))})
    message, arrays = looked(looks, before=12)
    assert (message.count, message.index, message.kind) == (2, 9, "snapshot")
    assert arrays == {"change": [[5, 2], [9, 2]], "frames": [5, 9]}
    for index in range(13, 20_000):
        looks.put("sofi", index, {"change": np.array([index, 2.0])})
    frames = looked(looks)[1]["frames"]
    assert frames[0] == 5
    assert frames[-1] > 19_900
    assert MAX_LOOKS / 2 - 10 <= len(frames) <= MAX_LOOKS
    assert max(np.diff(frames)) <= 4 * 20_000 / MAX_LOOKS
    few = looked(looks, nbytes=240)[1]["frames"]
    assert len(few) <= 10
    assert few[-1] == frames[-1]
    assert looks.answer(wire.Past(step="sofi", names=("nothing",), before=9), MANY) is None


def test_a_step_that_is_not_there_is_refused():
    with pytest.raises(SourceError, match="no step 'nobody' gives values here"):
        RecentValues("uid", GIVES).page(wire.Past(step="nobody", before=3), MANY)


def asked(endpoint, *questions):
    answers = []
    with Watch(endpoint) as watch:
        for question in questions:
            watch.ask_before(*question)
            found, until_s = [], time.monotonic() + 10
            while not found and time.monotonic() < until_s:
                found = [(m, p) for m, p in watch.turn() if isinstance(m, wire.Error | wire.Result)]
                time.sleep(0.01)
            answers += found
    return answers


@pytest.mark.parametrize("session", [False, True], ids=["while it runs", "of its session"])
def test_nobody_needs_to_have_watched(tmp_path, session):
    source = Held([*ones(40), Gap(40, 5), block(45, 60)], hold=(42,))
    questions = [("moments", "total_signal", MANY), ("moments", "total_signal", 45), ("nobody", "total_signal", 9)]
    with running(source, MEANS, out=tmp_path / "S") as (engine, _):
        until(lambda: engine.session.journal.frames == 55 and told_of(engine) == 60)
        answers = [] if session else asked(engine.publisher.endpoint, *questions)
    whole = open_session(tmp_path / "S").values("moments")["total_signal"]
    if session:
        with SessionView(open_session(tmp_path / "S")) as shown:
            answers = asked(shown.endpoint, *questions)
    (newest, newest_arrays), (earlier, earlier_arrays), (error, _) = answers
    assert (newest.index, newest.count, newest.before) == (45, 15, MANY)
    assert (earlier.index, earlier.count, earlier.before) == (0, 40, 45)
    assert np.array_equal(np.append(earlier_arrays["total_signal"], newest_arrays["total_signal"]), whole)
    assert "no step 'nobody' gives values here" in error.reason


def test_a_viewer_that_comes_late_has_the_traces_of_before_and_those_of_while_it_did_not_look():
    source = Held(ones(120), hold=(60, 70, 90, 100))
    with running(source, MEANS) as (engine, _), Watch(engine.publisher.endpoint) as watch:
        model = Model(engine.publisher.endpoint)
        earlier, name = Earlier(model, watch), "per_frame/moments/total_signal"

        def looked(shows=True):
            for message in watch.turn():
                model.take(*message)
            model.connection(watch.connected)
            shown = [model.panels[name]] if shows and name in model.panels else []
            watch.want(model.topics(shown, []), ())
            earlier.turn(shown)
            return model.traces[name].since()[0].tolist() if name in model.traces else []

        until(lambda: looked() and engine.publisher._watched)
        source.go.release()
        until(lambda: looked() == list(range(70)))
        until(lambda: looked(False) and not engine.publisher._watched - {"series/", "health/", "event/"})
        source.go.release()
        until(lambda: told_of(engine) == 90)
        assert looked(False)[-1] == 69
        until(lambda: looked() and "values/moments/" in engine.publisher._watched)
        source.go.release()
        until(lambda: looked() == list(range(100)))


def test_a_hole_that_is_one_is_asked_about_once_and_a_program_that_says_nothing_is_left_alone(monkeypatch):
    monkeypatch.setattr("streamfluo.viewer.earlier.NO_ANSWER_S", 0.0)
    monkeypatch.setattr("streamfluo.viewer.earlier.LOOK_S", 0.0)
    asked, model = [], fed(hello(), status())
    model.connection(True)
    watch = SimpleNamespace(ask_before=lambda step, name, before: asked.append(before))
    earlier, panel = Earlier(model, watch), model.panels["per_frame/motion/shift_px"]
    earlier.turn([panel])
    earlier.turn([panel])
    for index, count in ((5, 3), (20, 4)):
        fed(result("motion", index, count, shift_px=np.zeros((count, 2))), model=model)
        for _ in range(6):
            earlier.turn([panel])
            time.sleep(0.001)
    assert asked == [5, 20]


def test_of_a_session_that_is_longer_than_a_trace_what_is_looked_at_comes(tmp_path, monkeypatch):
    monkeypatch.setattr("streamfluo.viewer.model.RECORDED_FRAMES", 60)
    monkeypatch.setattr("streamfluo.engine.session_view.MAX_FRAMES", 20)
    monkeypatch.setattr("streamfluo.engine.past_message.PAGE_FRAMES", 16)
    with running(Held([block(0, 200)], hold=()), MEANS, out=tmp_path / "S"):
        pass
    name = "per_frame/moments/total_signal"
    with SessionView(open_session(tmp_path / "S")) as shown, Watch(shown.endpoint) as watch:
        model = Model(shown.endpoint)
        earlier = Earlier(model, watch)

        def looked():
            for message in watch.turn():
                model.take(*message)
            model.connection(watch.connected)
            panels = [model.panels[name]] if name in model.panels else []
            watch.want(model.topics(panels, []), ())
            earlier.turn(panels)
            return model.traces[name].since()[0].tolist() if name in model.traces else []

        until(lambda: looked() == list(range(140, 200)))
        model.looking_at = 50
        until(lambda: looked() == list(range(21, 81)))
        model.looking_at = 0
        until(lambda: looked() == list(range(31)))
        model.looking_at = None
        until(lambda: looked() == list(range(140, 200)))
    whole = open_session(tmp_path / "S").values("moments")["total_signal"]
    assert np.array_equal(model.traces[name].since()[1][:, 0], whole[140:])


def test_of_a_run_that_goes_on_what_is_looked_at_comes_from_what_it_wrote_and_goes_again(tmp_path, monkeypatch):
    for name, frames in (
        ("engine.recent_values.MAX_FRAMES", 32), ("engine.recent_values.PIECE_FRAMES", 8),
        ("engine.past_message.PAGE_FRAMES", 16),
        ("viewer.earlier.AROUND_FRAMES", 30), ("viewer.earlier.LOOK_S", 0.02),
    ):  # fmt: skip
        monkeypatch.setattr(f"streamfluo.{name}", frames)
    source = Held([*ones(100), Gap(100, 5), *ones(190, 105)], hold=(186,))
    name = "per_frame/moments/total_signal"
    with running(source, MEANS, out=tmp_path / "S") as (engine, _), Watch(engine.publisher.endpoint) as watch:
        until(lambda: told_of(engine) == 190, PATIENCE_S)
        writer = engine.session.values["moments"]
        until(lambda: sum(r.frames for r in records_before(writer, MANY)) + writer.waiting_frames == 185, PATIENCE_S)
        writer.flush()  # a quarter second's wait for more, which here is more than memory has
        model = Model(engine.publisher.endpoint)
        earlier = Earlier(model, watch)

        def looked():
            for message in watch.turn():
                model.take(*message)
            model.connection(watch.connected)
            panels = [model.panels[name]] if name in model.panels else []
            watch.want(model.topics(panels, []), ())
            for trace in model.traces.values():
                trace.capacity = 40
            earlier.turn(panels)
            return model.traces[name].around(model.looking_at).since()[0].tolist() if name in model.traces else []

        until(lambda: looked() == list(range(150, 190)), PATIENCE_S)
        model.looking_at = 80
        until(lambda: looked() == list(range(65, 95)), PATIENCE_S)
        values = model.traces[name].around(80).since()[1][:, 0].copy()
        model.looking_at = 70  # what is there stays
        assert looked() == list(range(65, 95))
        model.looking_at = 102  # in a gap
        until(lambda: looked() == [*range(82, 100), *range(105, 117)], PATIENCE_S)
        model.looking_at = 3
        until(lambda: looked() == list(range(18)), PATIENCE_S)
        assert model.traces[name].since()[0].tolist() == list(range(150, 190)), "the newest stay"
        model.looking_at = None
        assert looked() == list(range(150, 190))
        assert model.traces[name].before is None
    whole = open_session(tmp_path / "S").values("moments")["total_signal"]
    assert np.array_equal(values, whole[65:95])


def told_of(engine):
    message, _ = engine.publisher._recent.page(wire.Past(step="moments", before=MANY), MANY)
    return message.index + message.count
