"""The pool of threads: what is shared out is done once, in order where it must, and a fault comes back."""

import os
import subprocess
import sys
import textwrap
import threading
from contextvars import ContextVar

import pytest

from streamfluo.core import thread_pool
from streamfluo.core.thread_pool import LEAST_NS, ThreadPool, in_bands, pool_of, using

THREADS = [2, 4, 16]  # of the last more than this machine has cores


@pytest.fixture(params=THREADS)
def pool(request):
    pool = ThreadPool(request.param)
    yield pool
    pool.end()


def test_bands_cover_all_rows_once_and_are_given_in_order(pool):
    with using(pool):
        bands = in_bands(103, LEAST_NS, lambda first, stop: list(range(first, stop)))
    assert [row for band in bands for row in band] == list(range(103))
    assert len(bands) == min(thread_pool.BANDS_A_THREAD * pool.threads, 103)


def test_more_bands_than_rows_are_not_made(pool):
    with using(pool):
        assert in_bands(3, LEAST_NS, lambda first, stop: (first, stop)) == [(0, 1), (1, 2), (2, 3)]


def test_what_is_small_is_done_by_the_thread_that_brings_it_in_one_piece(pool):
    with using(pool):
        assert in_bands(100, LEAST_NS - 1, lambda *band: (band, threading.get_ident())) == [
            ((0, 100), threading.get_ident())
        ]
    assert in_bands(100, 1e12, lambda *band: band) == [(0, 100)]  # without a pool
    assert not pool._made


def test_what_needs_others_is_done_behind_them(pool):
    needs, done = [(), (0,), (0,), (1, 2), (), (3, 4), (5,)], []
    for _ in range(50):
        done.clear()
        pool.in_order(needs, done.append)
        assert sorted(done) == list(range(len(needs)))
        assert all(done.index(before) < done.index(n) for n, needed in enumerate(needs) for before in needed)


def test_several_threads_take_part(pool):
    """Two things that wait for each other can only be done at the same time."""
    meet, met = threading.Barrier(2, timeout=20), []
    for share in (lambda do: pool.in_order([(), ()], do), lambda do: pool.all_of(2, do)):
        share(lambda n: met.append((n, meet.wait())))
    assert sorted(n for n, _ in met) == [0, 0, 1, 1]
    assert sorted(turn for _, turn in met) == [0, 0, 1, 1]


def test_bands_within_steps_are_all_done(pool):
    found = []

    def step(n):
        pool.all_of(5, lambda m: found.append((n, m)))

    for _ in range(20):
        found.clear()
        pool.in_order([(), (), (0,), (1,)], step)
        assert sorted(found) == [(n, m) for n in range(4) for m in range(5)]


def test_the_first_fault_comes_back_and_what_stands_behind_it_is_not_begun(pool):
    done = []

    def do(n):
        if n in (1, 2):
            raise ValueError(f"number {n}")
        done.append(n)

    with pytest.raises(ValueError, match="number 1"):
        pool.in_order([(), (0,), (1,), (2,)], do)
    assert done == [0]
    with pytest.raises(ValueError, match=r"number [12]"):
        pool.all_of(3, do)
    pool.in_order([(), (0,)], lambda n: None)  # it goes on


def test_a_thread_of_the_pool_has_the_context_of_who_brings_the_work(pool):
    said, meet = ContextVar("said", default="nothing"), threading.Barrier(2, timeout=20)

    def hear(n):
        meet.wait()  # one of the two is a thread of the pool
        return said.get()

    said.set("this")
    with using(pool):
        heard = []
        pool.all_of(2, lambda n: heard.append(hear(n)))
    assert heard == ["this", "this"]


def test_after_its_end_work_is_done_by_who_brings_it(pool):
    pool.in_order([(), ()], lambda n: None)
    pool.end()
    where = []
    pool.all_of(4, lambda n: where.append(threading.get_ident()))
    assert set(where) == {threading.get_ident()}


def test_there_is_one_pool_of_a_size():
    assert pool_of(3) is pool_of(3)
    assert pool_of(3) is not pool_of(2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_makes_threads_of_its_own_and_ends():
    """Forked while a thread of the pool is amid something; the child shares work out, and both end by themselves."""
    program = """
        import os, threading, warnings
        from streamfluo.core.thread_pool import pool_of
        warnings.simplefilter("ignore", DeprecationWarning)
        pool, meet, goes_on = pool_of(2), threading.Barrier(2, timeout=20), threading.Event()
        def do(n):
            meet.wait()
            if n == 0:
                goes_on.wait(20)
        other = threading.Thread(target=pool.all_of, args=(2, do))
        other.start()
        while not pool._made: pass
        if not (child := os.fork()):
            both = threading.Barrier(2, timeout=20)
            pool.all_of(2, lambda n: both.wait())
            os._exit(7)
        goes_on.set()
        other.join()
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    told = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, timeout=60)
    assert (told.returncode, told.stdout.strip()) == (0, b"7"), told.stderr
