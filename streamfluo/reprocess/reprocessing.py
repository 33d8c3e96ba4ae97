"""All recordings over all workers: what became of each, as it is known, and a file that says so afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..core.errors import SessionError
from ..session.files import save_json
from ..session.lock import take
from .cluster import connected, each_done
from .one_recording import LEDGER, Outcome, Task, reprocess_one
from .recordings import Recording

FOUND = "outcomes.json"


def reprocess(
    config: tuple[str, str, tuple[str, ...]], wanted: Sequence[Recording], out: Path, cluster: str, workers: int
) -> Iterator[Outcome]:
    """Yield what became of each recording, in the order in which they end; at the end it stands in `out` as well.

    config: its name, text and changes. Raises SessionError while another reprocessing has the folder.
    """
    lock = take(out)
    try:
        tasks = [Task(config, recording, str(out.resolve())) for recording in wanted]
        outcomes: dict[int, Outcome] = {}
        with connected(cluster, min(workers, max(1, len(tasks)))) as client:
            for n, found in each_done(client, reprocess_one, tasks, [task.recording.name for task in tasks]):
                outcomes[n] = (
                    found if isinstance(found, Outcome) else Outcome(*wanted[n], "failed", _spelled(found))
                )  # fmt: skip
                yield outcomes[n]
        try:
            save_json(out / LEDGER / FOUND, [outcomes[n]._asdict() for n in sorted(outcomes)])
        except OSError as error:
            raise SessionError(f"{out}: cannot write what became of the recordings: {error.strerror}") from None
    finally:
        lock.release()


def _spelled(error: Exception) -> str:
    """Why nothing came of it: of a worker that was ended again and again Dask says little a person can use."""
    if type(error).__name__ == "KilledWorker":
        return "its worker was ended four times, as by kill -9 or for want of memory"
    return f"{type(error).__name__}: {error}"
