"""Tunnels: who has an account on another computer reaches its programs through one connection of ssh, without keys.

OpenSSH does it, with what it knows of hosts, keys and jumps: its SOCKS proxy leads to every port there. A socket
connects to a port of this process's, which the proxy carries on: libzmq's own way through SOCKS (4.3.5) aborts the
process when nobody listens at the other end.
"""

from __future__ import annotations

import atexit
import shutil
import socket as sockets
import subprocess
import threading
import time
from contextlib import suppress

from ..core.errors import SourceError

PATIENCE_S = 60.0  # until a tunnel stands: somebody may have to type a passphrase
CONNECT_S = 15  # for ssh to reach the other computer
ALIVE_S = 5  # a link that is silent for three times as long is broken off
LONGEST_REST_S = 30.0
_LOOK_S = 0.05
_PIECE_BYTES = 1 << 18
_HERE = "127.0.0.1"


class Tunnel:
    """`ssh -N -D` to `computer`, begun again whenever it ends; `leads_to` gives the way to a port there.

    Raises SourceError where ssh is not installed, or ends before the tunnel stands, with what it said.
    """

    def __init__(self, computer: str) -> None:
        self._computer = computer
        self._ssh = shutil.which("ssh")
        if self._ssh is None:
            raise SourceError(f"?ssh={computer}: there is no ssh here; install OpenSSH's client")
        with sockets.create_server((_HERE, 0)) as free:
            self._proxy: tuple[str, int] = free.getsockname()
        self._ways: dict[tuple[str, int], sockets.socket] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._ended: int | None = None
        self._said = b""
        # On Linux ssh ends with the thread that began it, also after a kill -9: one thread begins them all.
        threading.Thread(target=self._run, name=f"ssh {computer}", daemon=True).start()
        self._wait()

    def leads_to(self, host: str, port: int) -> str:
        """Return the endpoint on this machine that leads to a port, seen from the other computer."""
        with self._lock:
            if (host, port) not in self._ways:
                way = self._ways[host, port] = sockets.create_server((_HERE, 0))
                threading.Thread(target=self._accept, args=(way, host, port), name="tunnel", daemon=True).start()
            return f"tcp://{_HERE}:{self._ways[host, port].getsockname()[1]}"

    def close(self) -> None:
        """End the tunnel."""
        self._closed.set()
        if self._process is not None:
            self._process.terminate()
        for way in self._ways.values():
            with suppress(OSError):
                way.shutdown(sockets.SHUT_RDWR)  # wakes who waits for a connection; closing does not
            way.close()

    def _run(self) -> None:
        rest_s, batch = 1.0, False
        while not self._closed.is_set():
            began = time.monotonic()
            self._process = subprocess.Popen(self._command(batch), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
            self._said = self._process.communicate()[1]
            self._ended = self._process.returncode
            batch = True  # whoever could type a passphrase may have gone
            rest_s = 1.0 if time.monotonic() - began > LONGEST_REST_S else min(2 * rest_s, LONGEST_REST_S)
            self._closed.wait(rest_s)

    def _command(self, batch: bool) -> list[str]:
        options = {
            "ExitOnForwardFailure": "yes",
            "ConnectTimeout": CONNECT_S,
            "ServerAliveInterval": ALIVE_S,
            "ServerAliveCountMax": 3,
            "BatchMode": "yes" if batch else "no",
        }
        dies_with_us = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
        told = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        proxy = f"{_HERE}:{self._proxy[1]}"
        return [*dies_with_us, str(self._ssh), "-N", "-D", proxy, *told, "--", self._computer]

    def _wait(self) -> None:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and self._ended is None:
            with suppress(OSError), sockets.create_connection(self._proxy, 1):
                return
            time.sleep(_LOOK_S)
        self.close()
        lines = self._said.decode(errors="replace").splitlines()
        why = next((line.strip() for line in reversed(lines) if line.strip()), f"no tunnel within {PATIENCE_S:g} s")
        raise SourceError(f"?ssh={self._computer}: {why}; try: ssh {self._computer} true")

    def _accept(self, way: sockets.socket, host: str, port: int) -> None:
        while not self._closed.is_set():
            with suppress(OSError):  # closed; the connection broke before it was taken
                near = way.accept()[0]
                threading.Thread(target=self._carry, args=(near, host, port), name="tunnel", daemon=True).start()

    def _carry(self, near: sockets.socket, host: str, port: int) -> None:
        """Carry one connection until either side ends it: at once where nobody listens, or ssh is not there."""
        with near, suppress(OSError), sockets.create_connection(self._proxy, CONNECT_S) as far:
            _ask_proxy(far, host, port)
            for side in (near, far):
                side.settimeout(None)
                side.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
            back = threading.Thread(target=_pump, args=(far, near), name="tunnel", daemon=True)
            back.start()
            _pump(near, far)
            back.join()


def tunnel_to(computer: str) -> Tunnel:
    """Return this process's tunnel to a computer; the first call makes it. Raises SourceError as Tunnel."""
    with _lock:
        if computer not in _tunnels:
            _tunnels[computer] = Tunnel(computer)
            atexit.register(_tunnels[computer].close)
        return _tunnels[computer]


def _ask_proxy(far: sockets.socket, host: str, port: int) -> None:
    """Have a SOCKS5 server (RFC 1928) connect to a port. Raises OSError where it does not."""
    name = host.strip("[]").encode()
    far.sendall(b"\x05\x01\x00")
    if _exactly(far, 2) != b"\x05\x00":
        raise OSError("no SOCKS5 server")
    far.sendall(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + port.to_bytes(2, "big"))
    if _exactly(far, 10)[:4] != b"\x05\x00\x00\x01":  # ssh tells 0.0.0.0:0
        raise OSError("nobody listens there")


def _exactly(far: sockets.socket, count: int) -> bytes:
    came = b""
    while len(came) < count:
        if not (piece := far.recv(count - len(came))):
            raise OSError("the proxy hung up")
        came += piece
    return came


def _pump(source: sockets.socket, sink: sockets.socket) -> None:
    """Carry bytes one way; where either side ends, both do."""
    piece = memoryview(bytearray(_PIECE_BYTES))
    with suppress(OSError):
        while count := source.recv_into(piece):
            sink.sendall(piece[:count])
    for side in (source, sink):
        with suppress(OSError):
            side.shutdown(sockets.SHUT_RDWR)


_tunnels: dict[str, Tunnel] = {}
_lock = threading.Lock()
