"""The queue between two threads: in order, bounded by bytes, emptied after it is closed."""

import threading
import time

import pytest

from streamfluo.engine.byte_queue import ByteQueue


def in_thread(job, *args):
    thread = threading.Thread(target=job, args=args, daemon=True)
    thread.start()
    return thread


def test_items_come_out_in_order_and_what_waits_outlives_the_close():
    queue = ByteQueue(1000)
    for n in range(5):
        queue.put(n, 10)
    queue.close()
    assert [queue.get() for _ in range(6)] == [0, 1, 2, 3, 4, None]
    assert queue.backlog == 0
    assert queue.peak_backlog == 50


def test_what_comes_after_the_close_is_dropped():
    queue = ByteQueue(1000)
    queue.close()
    queue.put("late", 10)
    assert queue.get() is None


def test_put_waits_for_room():
    queue = ByteQueue(100)
    queue.put("first", 60)
    producer = in_thread(queue.put, "second", 60)
    time.sleep(0.05)
    assert producer.is_alive()
    assert queue.get() == "first"
    producer.join(5)
    assert not producer.is_alive()
    assert queue.get() == "second"
    assert queue.peak_backlog == 60


def test_an_item_larger_than_the_queue_passes_alone():
    queue = ByteQueue(100)
    queue.put("large", 1000)
    assert queue.get() == "large"


def test_items_without_bytes_never_wait_on_an_empty_queue():
    queue = ByteQueue(1)
    queue.put("a", 0)
    queue.put("b", 5)
    assert queue.get() == "a"


@pytest.mark.parametrize("full", [False, True])
def test_closing_wakes_whoever_waits(full):
    queue = ByteQueue(100)
    if full:
        queue.put("first", 100)
    waiting = in_thread(queue.put, "second", 60) if full else in_thread(queue.get)
    time.sleep(0.05)
    assert waiting.is_alive()
    queue.close()
    waiting.join(5)
    assert not waiting.is_alive()


def test_two_threads_hand_over_everything_within_the_bound():
    queue, got = ByteQueue(64), []
    consumer = in_thread(lambda: got.extend(iter(queue.get, None)))
    for n in range(2000):
        queue.put(n, 1 + n % 20)
    queue.close()
    consumer.join(10)
    assert got == list(range(2000))
    assert queue.peak_backlog <= 64
