"""Frames in real time with inputs beside them, recorded as a session."""

import socket
import time

import numpy as np
from toys import Movie

from streamfluo import Block, Spec, open_session
from streamfluo.engine.config import parse_config
from streamfluo.engine.engine import Engine

SPEC = Spec((6, 8), "uint16", interval_s=0.02)


class Live(Movie):
    """Frames in real time; `each` is called with the number of each."""

    def __init__(self, frames, each=lambda n: None):
        super().__init__([])
        self.spec = SPEC
        self._frames, self._each = frames, each

    def blocks(self, max_frames=32):
        began = time.monotonic()
        for n in range(self._frames):
            time.sleep(max(0.0, began + n * SPEC.interval_s - time.monotonic()))
            self._each(n)
            yield Block(n, [n * 20_000_000], np.full((1, 6, 8), n, np.uint16))


def run(tmp_path, text, frames, each=lambda n: None):
    engine = Engine(Live(frames, each), parse_config(text, "c.toml"), tmp_path / "S")
    engine.start()
    assert engine.wait(60)
    assert engine.error is None
    return open_session(tmp_path / "S")


def entry(name, uri):
    return f'[[input]]\nname = "{name}"\nuri = "{uri}"\n'


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
