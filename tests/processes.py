"""`streamfluo` commands in processes of their own, forked from one that has imported the program.

A new interpreter takes 1 to 2 s to import it. Where a system cannot fork, each process imports it itself.
"""

import multiprocessing
import os
import subprocess
import sys
from threading import Thread
from types import SimpleNamespace

from streamfluo.cli.cli import COMMANDS

FORKS = "forkserver" in multiprocessing.get_all_start_methods()
context = multiprocessing.get_context("forkserver" if FORKS else "spawn")
if FORKS:  # what commands import late as well; a library that is absent is passed over
    late = ["streamfluo.engine.engine", "streamfluo.pixels", "streamfluo.sources.tiff", "streamfluo.network.client"]
    libraries = ["numba.np.linalg", "numba.np.npyimpl", "numba.typed", "scipy.linalg", "scipy.special", "scipy.ndimage",
                 "scipy.sparse", "pydantic"]  # fmt: skip
    commands = [f"streamfluo.cli.{module}" for module in {module for module, _ in COMMANDS.values()}]
    context.set_forkserver_preload([*sorted(commands), *late, *libraries])


class Process:
    """One command in folder `cwd`, with what `subprocess.Popen` offers; both of its pipes are read as text."""

    def __init__(self, *words, cwd, env=None):
        (self._out, out), (self._err, err) = context.Pipe(duplex=False), context.Pipe(duplex=False)
        self._process = context.Process(
            target=_run, args=(list(map(str, words)), str(cwd), dict(os.environ if env is None else env), out, err)
        )
        self._process.start()
        out.close()
        err.close()
        self.stdout, self.stderr = (_file(end.fileno(), "r") for end in (self._out, self._err))
        self.pid = self._process.pid

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self._process.exitcode

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("streamfluo", timeout)
        return self._process.exitcode

    def communicate(self, timeout=None):
        """What it still wrote to its two pipes, once it has ended."""
        said = {}
        readers = [
            Thread(target=lambda f=f: said.update({f: f.read()}), daemon=True) for f in (self.stdout, self.stderr)
        ]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader in readers:
            reader.join()
        return said[self.stdout], said[self.stderr]

    def send_signal(self, number):
        os.kill(self.pid, number)

    def terminate(self):
        self._process.terminate()

    def kill(self):
        self._process.kill()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wait()


def called(*words, cwd, env=None, timeout=100):
    """Run one command to its end; returns its `returncode`, `stdout` and `stderr`, as `subprocess.run` does."""
    process = Process(*words, cwd=cwd, env=env)
    try:
        out, err = process.communicate(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return SimpleNamespace(returncode=process.returncode, stdout=out, stderr=err)


def _run(words, cwd, env, out, err):
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    for number, pipe in ((1, out), (2, err)):
        os.dup2(pipe.fileno(), number)
        pipe.close()
    sys.stdout, sys.stderr = _file(1, "w"), _file(2, "w")
    sys.argv = ["streamfluo", *words]
    from streamfluo.cli.cli import main

    main()


def _file(number, mode):
    return open(number, mode, encoding="utf-8", closefd=False)
