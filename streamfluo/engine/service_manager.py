"""What systemd is told of a service, after sd_notify(3): READY, STATUS, WATCHDOG, RELOADING, STOPPING."""

from __future__ import annotations

import os
import socket
import time


class ServiceManager:
    """The service manager that started this program, by NOTIFY_SOCKET; without one nothing is told."""

    def __init__(self) -> None:
        address = os.environ.pop("NOTIFY_SOCKET", "")  # not for the programs that we start
        self._address = "\0" + address[1:] if address.startswith("@") else address
        mine = os.environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = os.environ.pop("WATCHDOG_USEC", "0")
        self.watchdog_s = int(usec) / 1e6 if mine and usec.isdecimal() else 0.0

    def tell(self, **said: str | int) -> None:
        """Tell it, `READY=1, STATUS="3 sources"`; one that does not listen is no fault of ours."""
        if not self._address or not hasattr(socket, "AF_UNIX"):
            return
        text = "\n".join(f"{name}={str(value)[:400]}" for name, value in said.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
                out.setblocking(False)  # a manager that does not read must not hold up who looks after recordings
                out.sendto(text.encode(), self._address)
        except OSError:
            pass

    def reloading(self) -> None:
        """Tell it that the config is read anew, as it wants to be told since version 253."""
        self.tell(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)
