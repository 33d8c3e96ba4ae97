"""All recordings over all workers: what became of each, as it is known, and a file that says so afterwards."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from ..core.errors import SessionError, SourceError, StreamfluoError
from ..session.files import save_json
from ..session.lock import take
from .cluster import ClusterError, Workers, connected
from .collections import LEDGER
from .in_parts import PartTask, learn_first, merged, parts_of, process_part
from .one_recording import Outcome, Task, reprocess_one, there, why

FOUND = "outcomes.json"
PARTS = "-parts-"  # in the name of the hidden folder of a recording's parts, until they are one session
Out = TypeVar("Out")


class Cluster(NamedTuple):
    """Where the work is done: the cluster's name, how many workers of it, into how many parts a recording is cut, and
    of how many frames steps learn first that do not merge."""

    name: str = "local"
    workers: int = 1
    parts: int = 1
    sample: int | None = None


def reprocess(tasks: Sequence[Task], out: Path, on: Cluster) -> Iterator[Outcome]:
    """Yield what became of each task, in the order in which they end; at the end it stands in `out` as well.

    Tasks of one recording may differ in their changes. Raises SessionError while another reprocessing has the folder,
    ClusterError without workers.
    """
    lock = take(out)
    try:
        for left in out.glob(f".*{PARTS}*"):  # by a program that was ended: nobody else has the folder
            shutil.rmtree(left, ignore_errors=True)
        outcomes: dict[str, Outcome] = {}
        try:
            with connected(on.name, on.workers) as workers:
                for outcome in _in_parts(workers, tasks, on) if on.parts > 1 else _side_by_side(workers, tasks):
                    outcomes[outcome.name] = outcome
                    yield outcome
        finally:  # also of those that ended before Ctrl-C, or before the cluster went away
            _tell(out, [outcomes[t.recording.name] for t in tasks if t.recording.name in outcomes])
    finally:
        lock.release()


def _tell(out: Path, outcomes: Sequence[Outcome]) -> None:
    try:
        save_json(out / LEDGER / FOUND, [outcome._asdict() for outcome in outcomes])
    except OSError as error:
        raise SessionError(f"{out}: cannot write what became of the recordings: {error.strerror}") from None


def _side_by_side(workers: Workers, tasks: Sequence[Task]) -> Iterator[Outcome]:
    for n, found in workers.each_done(reprocess_one, tasks, [task.recording.name for task in tasks]):
        yield Outcome(*tasks[n].recording, "failed", _spelled(found)) if isinstance(found, Exception) else found


def _in_parts(workers: Workers, tasks: Sequence[Task], on: Cluster) -> Iterator[Outcome]:
    """One recording after the other, each over all workers."""
    for task in tasks:
        began = time.monotonic()
        prefix = f".{task.recording.name}{PARTS}"
        # at Ctrl-C workers still write into it: what is left is swept by the next reprocessing
        with tempfile.TemporaryDirectory(prefix=prefix, dir=task.out, ignore_cleanup_errors=True) as folder:
            try:
                outcome = (
                    _of_parts(workers, parts) if (parts := parts_of(task, on.parts, folder, on.sample)) else there(task)
                )
            except ClusterError:  # of no other recording anything would come either
                raise
            except (StreamfluoError, OSError) as error:
                outcome = Outcome(*task.recording, "failed", why(error))
        yield outcome._replace(seconds=time.monotonic() - began)


def _of_parts(workers: Workers, parts: Sequence[PartTask]) -> Outcome:
    name, learned = parts[0].task.recording.name, None
    if parts[0].division.way == "sampled":
        learned = _whole(next(workers.each_done(learn_first, parts[:1], [f"{name}-sample"]))[1])
    found = dict(workers.each_done(process_part, parts, [f"{name}-part"] * len(parts)))
    return merged([(part, _whole(found[n])) for n, part in enumerate(parts)], learned)


def _whole(found: Out | Exception) -> Out:
    if isinstance(found, Exception):
        raise SourceError(_spelled(found))
    return found


def _spelled(error: Exception) -> str:
    """Why nothing came of it: of a worker that was ended again and again Dask says little a person can use."""
    if type(error).__name__ == "KilledWorker":
        return "its worker was ended four times, as by kill -9 or for want of memory"
    return f"{type(error).__name__}: {error}"
