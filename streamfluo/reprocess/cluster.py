"""The workers of a reprocessing: processes of this machine, of a running Dask cluster, or jobs of a SLURM one."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from .. import __version__
from ..core.errors import ConfigError, StreamfluoError

if TYPE_CHECKING:
    from distributed import Client

LOCAL, SLURM = "local", "slurm"
WAIT_S = 60.0
RETRIES = 2  # of what failed for a reason that may pass; a worker that is killed counts apart, four times

# The cores of this machine are for frames. Dask's housekeeping takes 85 ms of the processor a second beside two
# workers, so 10: its ticks each 20 ms, a profiler, looks at memory each 100 ms. The MALLOC_TRIM_THRESHOLD_ that it sets
# has every array mapped anew, for 28 % more of the processor with `extract`, 40 % with `sofi`: of what it sets for
# workers the threads of libraries alone are kept.
_OF_THIS_MACHINE = {
    "distributed.nanny.pre-spawn-environ": dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), 1
    ),
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.worker.memory.monitor-interval": "500ms",
}

In = TypeVar("In")
Out = TypeVar("Out")


class ClusterError(StreamfluoError):
    """The cluster cannot be used, or is gone."""


def require_dask() -> None:
    """Raise ConfigError where Dask is not installed: before anything that takes its time."""
    if find_spec("distributed") is None:
        raise ConfigError("reprocess: Dask is not installed: pip install 'streamfluo[cluster]'")


@contextmanager
def connected(cluster: str, workers: int) -> Iterator[Workers]:
    """Yield the workers of `local` processes, of the scheduler at tcp://… or tls://…, or of `slurm` jobs.

    Raises ConfigError where a library is missing or another cluster is named, ClusterError for one that does not
    answer, and for workers that have another version.
    """
    require_dask()
    from distributed import Client

    for name in ("distributed", "distributed.client"):  # it says each worker's coming and going
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with _made(cluster, workers) as address:
        try:
            client = Client(address, timeout=WAIT_S)
        except (OSError, TimeoutError) as error:
            raise ClusterError(f"reprocess: {cluster}: no scheduler answers: {error}") from None
        with client:
            _require_workers(client, cluster)
            if cluster == LOCAL:  # Ctrl-C goes to all processes of a terminal: here alone it means something
                client.register_plugin(_deaf_to_interrupts())
            yield Workers(client)


class Workers:
    """What a client's workers do."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def each_done(
        self, work: Callable[[In], Out], tasks: Sequence[In], names: Sequence[str]
    ) -> Iterator[tuple[int, Out | Exception]]:
        """Yield the number of each task as it is done, and what `work` returned, or why there is nothing.

        Raises ClusterError once no scheduler answers any more.
        """
        from distributed import as_completed
        from distributed.client import FutureCancelledError

        run = uuid4().hex[:8]  # a scheduler takes two tasks of one key for one: another program's day0 for this one's
        futures = {
            self._client.submit(work, task, key=f"{name}-{n}-{run}", retries=RETRIES, pure=False): n
            for n, (task, name) in enumerate(zip(tasks, names, strict=True))
        }
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except FutureCancelledError:
                raise ClusterError(
                    "reprocess: the cluster is gone: its scheduler does not answer any more; run it again, what is "
                    "done is kept"
                ) from None
            except Exception as error:
                yield futures[future], error


@contextmanager
def _made(cluster: str, workers: int) -> Iterator[Any]:
    if cluster.startswith(("tcp://", "tls://")):
        yield cluster
        return
    if cluster == LOCAL:
        import dask
        from distributed import LocalCluster

        with (
            dask.config.set(_OF_THIS_MACHINE),
            LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, silence_logs=logging.CRITICAL,
                scheduler_kwargs={"dashboard": False}, worker_dashboard_address=None, dashboard_address="127.0.0.1:0",
            ) as local,
        ):  # fmt: skip
            yield local
    elif cluster == SLURM:
        try:
            from dask_jobqueue.slurm import SLURMCluster
        except ImportError:
            raise ConfigError("reprocess: pip install dask-jobqueue for --cluster slurm") from None
        with SLURMCluster() as jobs:  # as ~/.config/dask/jobqueue.yaml says
            jobs.scale(jobs=workers)
            yield jobs
    else:
        raise ConfigError(f"reprocess: --cluster is local, slurm, tcp://… or tls://…, found {cluster!r}")


def _require_workers(client: Client, cluster: str) -> None:
    try:
        client.wait_for_workers(1, timeout=WAIT_S)
        versions = client.run(version, on_error="return")
    except (OSError, TimeoutError) as error:
        raise ClusterError(f"reprocess: {cluster}: no worker within {WAIT_S:.0f} s: {error}") from None
    for worker, found in versions.items():
        if found != __version__:
            said = f"cannot run it: {found}" if isinstance(found, Exception) else f"has streamfluo {found}"
            raise ClusterError(f"reprocess: the worker {worker} {said}; here it is {__version__}: install the same")


def version() -> str:
    """Return the version of the program, where it runs."""
    return __version__


def _deaf_to_interrupts() -> Any:
    """What has a worker's process leave Ctrl-C to the program that began it, which ends its workers."""
    from distributed import WorkerPlugin

    class Deaf(WorkerPlugin):
        def setup(self, worker: Any) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    return Deaf()
