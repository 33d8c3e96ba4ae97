"""Decisions that come back: another process receives them, and says when each one came.

In the process of the run its thread would wait for Python's lock, .1 to .4 ms that no other program waits.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import zmq

from ..core.errors import SourceError
from .socket import bind, new_context

END_S = 10.0


class LoopBack:
    """What `push+tcp` sends to `uri` is received by a process of its own until it is closed.

    `received` then has each decision and the time it came (UTC epoch). Raises SourceError where it does not begin.
    """

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, Any], int]] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is the run's
        )
        assert self._process.stdout is not None
        endpoint = self._process.stdout.readline().strip()
        if not endpoint:
            self._process.communicate()
            raise SourceError("the process that receives decisions did not begin; its message stands above")
        self.uri = f"push+{endpoint}"

    def close(self) -> None:
        """Receive no more."""
        if self._process.returncode is not None:
            return
        try:
            said, _ = self._process.communicate(timeout=END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            said, _ = self._process.communicate()
        for line in said.splitlines():
            received_ns, _, message = line.partition(" ")
            self.received.append((json.loads(message), int(received_ns)))


def receive() -> None:
    """Receive until standard input ends, then print when each message came, and the message."""
    context = new_context()
    socket = context.socket(zmq.PULL)
    print(bind(socket, "tcp://127.0.0.1:0", "view"), flush=True)
    poller, received = zmq.Poller(), list[tuple[int, bytes]]()
    poller.register(socket, zmq.POLLIN)
    poller.register(sys.stdin, zmq.POLLIN)
    goes_on = True
    while goes_on:
        ready = dict(poller.poll())
        while socket.poll(0):
            message = socket.recv()
            received.append((time.time_ns(), message))
        goes_on = sys.stdin.fileno() not in ready
    for received_ns, message in received:
        print(received_ns, message.decode())
    socket.close()
    context.term()


if __name__ == "__main__":
    receive()
