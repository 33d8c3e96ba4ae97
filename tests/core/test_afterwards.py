"""Work that a frame leaves behind is done once, by a thread of its own or by whoever needs it first."""

import threading
import time

import pytest

from streamfluo.core import afterwards
from streamfluo.core.afterwards import Afterwards


def test_a_thread_does_it_where_nobody_waits():
    work, done, by = Afterwards(), threading.Event(), []
    for n in range(3):
        work.start(lambda n=n: (by.append((n, threading.current_thread().name.partition("_")[0])), done.set()))
        assert done.wait(10)
        done.clear()
        work.wait()
    assert by == [(n, "afterwards") for n in range(3)]


def test_whoever_needs_it_before_the_thread_has_begun_does_it(monkeypatch):
    """And the thread, which looks when the work is due, does not do it again, but what was begun after it."""
    monkeypatch.setattr(afterwards, "HEAD_START_S", 0.2)
    work, by, last = Afterwards(), [], threading.Event()
    for n in range(50):
        work.start(lambda n=n: by.append((n, threading.current_thread().name)))
        work.wait()
    work.start(last.set)
    assert last.wait(10)
    assert by == [(n, "MainThread") for n in range(50)]


def test_a_second_one_who_waits_waits_for_the_first():
    work, go, begun, over = Afterwards(), threading.Event(), threading.Event(), []

    def slow():
        begun.set()
        go.wait(10)
        over.append("work")

    def wait():
        work.wait()
        over.append("waited")

    work.start(slow)
    assert begun.wait(10)
    waiting = [threading.Thread(target=wait) for _ in range(2)]
    for thread in waiting:
        thread.start()
    time.sleep(0.05)
    assert over == []
    go.set()
    for thread in waiting:
        thread.join(10)
    assert over == ["work", "waited", "waited"]


def test_what_it_raises_is_raised_once_where_it_is_waited_for():
    work = Afterwards()
    work.start(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        work.wait()
    work.wait()
    work.start(lambda: None)
    work.wait()
