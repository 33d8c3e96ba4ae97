"""A sender that pushes a series of frames, and the source that takes them."""

import threading
from contextlib import contextmanager

import msgspec
import zmq
from toy_server import FRAMES

from streamfluo import open_source

SERIES = {"series_uid": "pushed", "dtype": "<u2", "shape": [8, 9]}


def image(seq, index=None, **changes):
    fields = dict(type="image", **SERIES, seq=seq, index=seq if index is None else index, nbytes=144)
    return [{**fields, **changes}, FRAMES[seq % 300].tobytes()]


START = [dict(type="start", **SERIES, interval_s=0.02, source="their camera", frames=300)]
END = [dict(type="end", **SERIES, seq=20, frames=20)]


def free_port():
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        return socket.bind_to_random_port("tcp://127.0.0.1")


@contextmanager
def pushed(*messages, encode=msgspec.msgpack.encode):
    """A source that is sent these messages; a header that is bytes goes as it is."""
    uri = f"tcp://127.0.0.1:{free_port()}"
    context = zmq.Context()

    def send():
        with context.socket(zmq.PUSH) as socket:
            socket.setsockopt(zmq.SNDHWM, 0)
            socket.setsockopt(zmq.LINGER, 5000)  # what a source that was closed did not take would be kept for ever
            socket.connect(uri)
            for head, *parts in messages:
                socket.send_multipart([head if isinstance(head, bytes) else encode(head), *parts])

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        with open_source(f"ingest+{uri}") as source:
            yield source
    finally:
        thread.join(5)
        context.term()
