"""What a soak records: series by their names alone, and a cable that can be cut."""

from __future__ import annotations

import socket as sockets
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from streamfluo import Block, Source, Spec
from streamfluo.core.source import Series

FPS, SHAPE = 100, (48, 64)


def movie(uid: str, frames: int) -> np.ndarray:
    """The frames of a series (n, y, x), by its name alone."""
    seed = int.from_bytes(uid.encode(), "little") % 2**32
    return np.random.default_rng(seed).integers(0, 4096, (frames, *SHAPE), np.uint16)


class Movie(Source):
    """A series in memory."""

    def __init__(self, uid: str, frames: int) -> None:
        self.spec, self.series = Spec(SHAPE, "u2", interval_s=1 / FPS), Series(uid, f"soak:{uid}", frames=frames)
        self._pixels, self._next = movie(uid, frames), 0

    def blocks(self, max_frames: int = 32) -> Iterator[Block]:
        while self._next < len(self._pixels):
            start, self._next = self._next, min(self._next + max_frames, len(self._pixels))
            yield Block(start, np.arange(start, self._next) * 10**9 // FPS, self._pixels[start : self._next])

    def seek(self, index: int) -> None:
        self._next = index


class Cable:
    """A TCP connection to `port` through `here`, which can be cut."""

    def __init__(self, port: int) -> None:
        self._port, self._out_until = port, 0.0
        self._open: list[sockets.socket] = []
        self._listener = sockets.create_server(("127.0.0.1", 0))
        self.here = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, for_s: float) -> None:
        """End what is connected, and let nobody through for so long."""
        self._out_until = time.monotonic() + for_s
        for end in self._open:
            with suppress(OSError):
                end.shutdown(sockets.SHUT_RDWR)
        self._open.clear()

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            try:
                if time.monotonic() < self._out_until:
                    raise ConnectionError
                far = sockets.create_connection(("127.0.0.1", self._port), 1)
            except OSError:
                near.close()
                continue
            self._open += [near, far]
            threading.Thread(target=self._connect, args=(near, far), daemon=True).start()

    def _connect(self, near: sockets.socket, far: sockets.socket) -> None:
        back = threading.Thread(target=self._carry, args=(far, near), daemon=True)
        back.start()
        self._carry(near, far)
        back.join()
        for end in (near, far):
            end.close()

    @staticmethod
    def _carry(one: sockets.socket, other: sockets.socket) -> None:
        with suppress(OSError):
            while data := one.recv(1 << 16):
                other.sendall(data)
        with suppress(OSError):
            other.shutdown(sockets.SHUT_WR)  # what comes the other way still may
