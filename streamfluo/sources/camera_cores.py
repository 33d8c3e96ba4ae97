"""Micro-Manager's cores: how one is made, and which run in this program, so that actions take a camera's own."""

from __future__ import annotations

import logging
import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..core.errors import SourceError

log = logging.getLogger("streamfluo")


class SharedCore:
    """A core and the configuration that it has loaded: two cores cannot have the same devices."""

    def __init__(self, core: Any, configuration: str) -> None:
        self.core, self.configuration = core, _resolved(configuration)
        self.users = 1
        self._turns: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._busy = 0

    @contextmanager
    def turn(self, name: str) -> Iterator[Any]:
        """Give the core to one thread at a time that changes what is called so; others of other names go on."""
        with self._turns[name]:
            self._busy += 1
            try:
                yield self.core
            finally:
                self._busy -= 1

    def reset(self) -> None:
        """Unload its devices, unless one of them hangs in a call: that would take the program with it."""
        if self._busy:
            log.warning("a device of Micro-Manager is still busy with an action; it is left as it is")
        else:
            self.core.reset()


_running: list[SharedCore] = []
_turn = threading.Lock()


def share(core: SharedCore) -> None:
    """Let actions of this program take a core."""
    with _turn:
        _running.append(core)


def give_back(core: SharedCore) -> None:
    """Note that one who uses a core needs it no more; without any its devices are unloaded."""
    with _turn:
        core.users -= 1
        over = core.users <= 0
        if over and core in _running:
            _running.remove(core)
    if over:
        core.reset()


def take_core(uri: str, device: str, configuration: str | None) -> SharedCore:
    """Return the core that runs with a configuration, else a new one; without one that of the camera that runs here.

    Raises SourceError where none runs, or several of them have such a device.
    """
    with _turn:
        if configuration is None:
            found = [core for core in _running if device in core.core.getLoadedDevices()] or _running
        else:
            found = [core for core in _running if core.configuration == _resolved(configuration)]
        if len(found) == 1:
            found[0].users += 1
            return found[0]
        if configuration is None:
            what = "several cores have it" if found else "no camera of mm: runs in this program"
            raise SourceError(f"{uri}: {what}; say which configuration, ?config=/path/to/rig.cfg")
        core = plain_core(uri)
        load_configuration(core, uri, configuration)
        shared = SharedCore(core, configuration)
        _running.append(shared)
        return shared


def plain_core(uri: str) -> Any:
    """Return a core without callbacks: that of pymmcore-plus adds a thread for them, which aborted the program now and
    then when it outlived Python."""
    folder = adapters(uri)
    import pymmcore

    core = pymmcore.CMMCore()
    core.setDeviceAdapterSearchPaths([folder])
    return core


def core_plus(uri: str) -> Any:
    """Return the core of pymmcore-plus, with its engine for sequences."""
    folder = adapters(uri)
    os.environ.setdefault("PYMM_SIGNALS_BACKEND", "psygnal")  # beside Qt it would take Qt's
    from pymmcore_plus import CMMCorePlus

    return CMMCorePlus(adapter_paths=[folder])


def drop_callbacks(core: Any) -> None:
    """End the callbacks of a core of pymmcore-plus, whose thread must not outlive Python."""
    import pymmcore

    pymmcore.CMMCore.registerCallback(core, None)  # its own method is closed to callers


def load_configuration(core: Any, uri: str, path: str) -> None:
    """Load a configuration file. Raises SourceError."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise SourceError(f"{uri}: no such configuration file {file}; check the path, or use mm:demo")
    try:
        core.loadSystemConfiguration(str(file))
    except (RuntimeError, OSError, ValueError) as error:
        raise SourceError(f"{uri}: {' '.join(str(error).split())}") from None


def adapters(uri: str) -> str:
    """Return the folder of device adapters that pymmcore-plus finds. Raises SourceError without it, or without any."""
    root_level = logging.getLogger().level
    os.environ.setdefault("PYMM_LOG_LEVEL", "CRITICAL")
    os.environ.setdefault("PYMM_LOG_FILE", os.devnull)  # 0.18 reads "0" as its default file
    try:
        import pymmcore_plus
    except ImportError:
        raise SourceError(f'{uri}: needs pymmcore-plus; install it with pip install "streamfluo[camera]"') from None
    finally:
        logging.getLogger().setLevel(root_level)  # its import sets the program's to DEBUG
    logging.getLogger("pymmcore-plus").propagate = False  # it logs every search for adapters
    folder = pymmcore_plus.find_micromanager()
    if folder is None:
        raise SourceError(f'{uri}: no device adapters found; install them with pip install "streamfluo[camera]"')
    return str(folder)


def _resolved(configuration: str) -> str:
    return configuration if configuration == "demo" else str(Path(configuration).expanduser().resolve())
