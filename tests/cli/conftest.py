"""What tests of commands share."""

import pytest
from processes import Process


@pytest.fixture
def started(folder):
    """Start a command in the background, in the test's `folder`; returns it with the endpoint it says it serves at."""
    processes = []

    def start(*words):
        process = Process(*words, cwd=folder)
        processes.append(process)
        while " at tcp" not in (line := process.stdout.readline()):
            assert line, process.stderr.read()
        return process, line.rsplit(" at ", 1)[1].strip()

    yield start
    for process in processes:
        process.kill()
        process.communicate()
