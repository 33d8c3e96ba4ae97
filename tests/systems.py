"""Marks for tests that need what only some systems have."""

import os
import sys

import pytest
import zmq

needs_signals = pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT or SIGTERM to a process")
needs_limits = pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of a process's files")
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
needs_ipc = pytest.mark.skipif(not zmq.has("ipc"), reason="libzmq has no ipc here")
KILLED = 1 if os.name == "nt" else -9  # what a process ends with that was killed
