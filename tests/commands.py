"""`streamfluo` commands within the test's own process, where only their words and their exit code matter."""

import contextlib
import io
import logging
import sys
from types import SimpleNamespace
from unittest.mock import patch

from typer.testing import CliRunner

from streamfluo import StreamfluoError
from streamfluo.cli.cli import app, main


def command(*words, cwd):
    """Run one command in folder `cwd`; returns its `returncode`, `stdout` and `stderr`, as `subprocess.run` does.

    A process of its own takes a second to import the program; what needs signals, a pipe or another encoding pays it.
    """
    out, err = io.StringIO(), io.StringIO()
    words = ["streamfluo", *map(str, words)]
    handlers = logging.root.handlers[:]
    with (
        contextlib.chdir(cwd),
        patch.object(sys, "argv", words),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
            code = 0
        except SystemExit as told:
            code = told.code or 0
        finally:
            logging.root.handlers[:] = handlers
    return SimpleNamespace(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())


def printed(*words):
    """Run one command and return what it printed. Raises what `main` turns into one line."""
    done = CliRunner().invoke(app, [*map(str, words)])
    if isinstance(done.exception, StreamfluoError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output
