"""Somebody who opens connections and speaks as it likes: bytes of ours on a bare socket."""

import socket as sockets
import time
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

pack = msgspec.msgpack.encode
GREEDY = pack({"type": "subscribe", "credit": 10**6})


def raw(uri):
    parts = urlsplit(uri)
    return sockets.create_connection((parts.hostname, parts.port), 5)


def zmtp(uri, kind, receive_bytes=1 << 16):
    """A connection that has shaken hands as a socket of this kind, and whose every byte is ours from then on."""
    parts, connection = urlsplit(uri), sockets.socket()
    connection.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, receive_bytes)
    connection.settimeout(5)
    connection.connect((parts.hostname, parts.port))
    connection.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32))
    ready = b"\x05READY\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind.encode()
    connection.sendall(b"\x04" + bytes([len(ready)]) + ready)
    came = b""
    while b"READY" not in came:
        came += connection.recv(4096)
    return connection


def say(connection, *messages):
    connection.sendall(b"".join(b"\x00" + bytes([len(message)]) + message for message in messages))


def hung_up(connection, within_s=5.0):
    """Whether the other side closes."""
    connection.settimeout(within_s)
    try:
        while connection.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def size_mb():
    (line,) = [n for n in Path("/proc/self/status").read_text().splitlines() if n.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def until(condition, turn=lambda: None, within_s=5.0):
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline
        turn()
        time.sleep(0.005)
    return found
