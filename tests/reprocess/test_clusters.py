"""Clusters: a scheduler and workers in processes of their own, over tcp and TLS; one that vanishes; SLURM's script."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile

from streamfluo import __version__, open_session
from streamfluo.reprocess import cluster
from streamfluo.reprocess.cluster import ClusterError, Workers, connected
from streamfluo.reprocess.one_recording import Task, reprocess_one
from streamfluo.reprocess.recordings import recordings
from streamfluo.reprocess.reprocessing import Cluster, reprocess
from streamfluo.sweep.grid import axes_of, points_of, tasks_of

distributed = pytest.importorskip("distributed")
dask = pytest.importorskip("dask")
CONFIG = '[record]\ncheckpoint_s = 0.02\n[[step]]\nkind = "moments"\n'
STATED = ("moments.toml", CONFIG, ())
START_S = 60


@pytest.fixture
def movies(tmp_path):
    rng = np.random.default_rng(12)
    for n in range(3):
        tifffile.imwrite(tmp_path / f"day{n}.tif", rng.poisson(50, (60 + n, 20, 24)).astype(np.uint16))
    return tmp_path


@contextmanager
def running(*command, said="", env=None):
    """A process of Dask's, up once it `said` so; it is ended behind."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, **(env or {})},
    )  # fmt: skip
    try:
        for line in process.stdout:
            if said in line:
                break
        yield process
    finally:
        process.kill()
        process.stdout.close()
        process.wait(START_S)


@contextmanager
def cluster_of(folder, protocol="tcp", options=(), env=None, worker_options=(), workers=1):
    """A scheduler, with workers that look for it, all in processes of their own; yields it and its address."""
    found = folder / f"scheduler-{protocol}.json"
    of = ["--scheduler-file", str(found), *options]
    scheduler = ("distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard", "--host", f"{protocol}://127.0.0.1")
    worker = ("distributed.cli.dask_worker", "--nthreads", "1", "--no-dashboard", "--nworkers", str(workers))
    with running(*scheduler, *of, said="Scheduler at", env=env) as head:
        deadline = time.monotonic() + START_S
        while not found.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        with running(*worker, *of, *worker_options, "--local-directory", str(folder / "dask"), said="Registered to",
                     env=env):  # fmt: skip
            yield head, json.loads(found.read_text())["address"]


def tasks(stated, wanted, out):
    return [Task(stated, recording, str(out.resolve())) for recording in wanted]


def done(outcomes):
    return {outcome.name: (outcome.became, outcome.frames) for outcome in outcomes}


def test_workers_in_other_processes_are_reached_over_tcp(movies):
    with cluster_of(movies) as (_, address):
        assert address.startswith("tcp://")
        wanted = recordings([f"{movies}/day*.tif"])
        assert done(reprocess(tasks(STATED, wanted, movies / "out"), movies / "out", Cluster(address))) == {
            "day0": ("done", 60), "day1": ("done", 61), "day2": ("done", 62)
        }  # fmt: skip
    mean = tifffile.imread(movies / "day1.tif").mean(0)
    np.testing.assert_allclose(open_session(movies / "out" / "day1").snapshot("moments")["mean"], mean, rtol=1e-12)


def certificates(folder):
    """A certificate that signs itself, and its key, as files."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not there to make certificates")
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    made = ("openssl", "req", "-x509", *curve, "-subj", "/CN=streamfluo", "-keyout", key, "-out", cert)
    subprocess.run(made, check=True, capture_output=True)
    return cert, key


def tls_config(cert, key):
    """What Dask's configuration says of TLS."""
    files = {"ca-file": cert, "client.cert": cert, "client.key": key}
    named = {f"distributed.comm.tls.{name}": value for name, value in files.items()}
    return named | {"distributed.comm.require-encryption": True}


@pytest.mark.slow
def test_workers_are_reached_over_tls_as_the_configuration_of_dask_has_it(movies):
    dask = pytest.importorskip("dask")
    cert, key = certificates(movies)
    options = ("--tls-ca-file", cert, "--tls-cert", cert, "--tls-key", key)
    with cluster_of(movies, "tls", options) as (_, address):
        assert address.startswith("tls://")
        with dask.config.set(tls_config(cert, key)):
            wanted = recordings([f"{movies}/day0.tif"])
            assert done(reprocess(tasks(STATED, wanted, movies / "out"), movies / "out", Cluster(address))) == {
                "day0": ("done", 60)
            }
        (movies / "else").mkdir()
        other_cert, other_key = certificates(movies / "else")
        stranger = dask.config.set(tls_config(other_cert, other_key))
        refused = pytest.raises(ClusterError, match="no scheduler answers")
        with pytest.MonkeyPatch.context() as patch, stranger, refused:
            patch.setattr(cluster, "WAIT_S", 3.0)
            list(reprocess(tasks(STATED, wanted, movies / "other"), movies / "other", Cluster(address)))


@pytest.mark.slow
def test_a_cluster_that_vanishes_is_one_line_nothing_half_is_called_done_and_the_next_run_goes_on(movies):
    frames = np.random.default_rng(5).poisson(50, (300, 64, 64)).astype(np.uint16)
    tifffile.imwrite(movies / "long.tif", np.tile(frames, (40, 1, 1)))
    wanted, out = recordings([f"{movies}/day0.tif", f"{movies}/long.tif"]), movies / "out"
    with cluster_of(movies) as (head, address):
        found = reprocess(tasks(STATED, wanted, out), out, Cluster(address))
        assert next(found).name == "day0"
        while not (out / "long" / "session.json").exists():
            time.sleep(0.01)
        head.send_signal(signal.SIGKILL)
        with pytest.raises(ClusterError, match="the cluster is gone") as gone:
            next(found)
        assert "\n" not in str(gone.value)
    told = json.loads((out / "reprocess" / "outcomes.json").read_text())
    assert [(one["name"], one["became"]) for one in told] == [("day0", "done")]
    assert open_session(out / "long").state != "finished"
    again = done(reprocess(tasks(STATED, wanted, out), out, Cluster("local", 1)))
    assert again == {"day0": ("there", 60), "long": ("done", 12000)}


def test_no_task_is_taken_for_that_of_another_program_on_the_same_cluster(monkeypatch):
    keys = []

    class Done:
        def __init__(self, found):
            self.result = lambda: found

    class Client:
        def submit(self, work, task, key, **_):
            keys.append(key)
            return Done(work(task))

    monkeypatch.setattr("distributed.as_completed", list)
    for _ in range(2):
        assert list(Workers(Client()).each_done(len, ["ab", "abc"], ["day0", "day1"])) == [(0, 2), (1, 3)]
    assert len(set(keys)) == 4
    assert [key.partition("-")[0] for key in keys] == ["day0", "day1"] * 2


@pytest.mark.slow
def test_a_sweep_on_two_workers_of_a_cluster_gives_the_sessions_that_it_gives_here(movies):
    stated = ("binned.toml", '[[step]]\nkind = "bin"\n[[step]]\nkind = "moments"\n', ())
    points = points_of(axes_of(["bin.bin_px=1,2"]), recordings([f"{movies}/day*.tif"]), 9)
    with cluster_of(movies, workers=2) as (_, address):
        there = tasks_of(points, stated, str(movies / "out"))
        outcomes = done(reprocess(there, movies / "out", Cluster(address)))
    assert outcomes.keys() == {point.name for point in points}
    assert {became for became, _ in outcomes.values()} == {"done"}
    (movies / "here").mkdir()
    for task in tasks_of(points, stated, str(movies / "here")):
        name = task.recording.name
        assert reprocess_one(task).became == "done"
        found, expected = (open_session(movies / of / name).snapshot("moments") for of in ("out", "here"))
        height_px = open_session(movies / "here" / name).spec.shape[0]
        assert found["mean"].shape[0] == height_px // int(name[-1])  # it is the value that the name says
        for array, values in expected.items():
            np.testing.assert_array_equal(found[array], values, err_msg=array)


@pytest.mark.slow
def test_workers_of_another_version_are_refused(movies):
    (movies / "sitecustomize.py").write_text("import streamfluo\nstreamfluo.__version__ = '0.0.7'\n")
    path = os.pathsep.join([str(movies), *filter(None, [os.environ.get("PYTHONPATH")])])
    with cluster_of(movies, env={"PYTHONPATH": path}) as (_, address):
        said = rf"the worker tcp://\S+ has streamfluo 0\.0\.7; here it is {__version__}: install the same"
        with pytest.raises(ClusterError, match=said), connected(address, 1):
            pass


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_worker_out_of_memory_is_made_up_for_four_times_and_then_given_up_with_the_reason(movies):
    from streamfluo.reprocess.reprocessing import _spelled

    def eats_memory(folder):  # in here, as workers cannot import tests
        with open(f"{folder}/began", "a") as file:
            file.write("x")
        held = []
        while True:
            held.append(np.ones(4 << 20))
            time.sleep(0.02)

    small = cluster_of(movies, worker_options=("--memory-limit", "400MiB"))
    with small as (_, address), connected(address, 1) as workers:
        ((_, found),) = workers.each_done(eats_memory, [str(movies)], ["eats"])
    assert _spelled(found) == "its worker was ended four times, as by kill -9 or for want of memory"
    assert (movies / "began").read_text() == "xxxx"


def documented(beginning):
    """A block of the page on reprocessing, by the line that it begins with."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "reprocess.md").read_text()
    return next(block for block in page.split("```")[1::2] if block.partition("\n")[2].startswith(beginning))


def test_the_documented_recipe_for_slurm_makes_the_script_that_is_documented():
    jobqueue = pytest.importorskip("dask_jobqueue")
    import dask
    import yaml

    recipe = yaml.safe_load(documented("jobqueue:").partition("\n")[2])
    expected = [line for line in documented("#SBATCH").splitlines() if line.startswith("#SBATCH")]
    stated = dask.config.set({f"jobqueue.slurm.{name}": value for name, value in recipe["jobqueue"]["slurm"].items()})
    with stated, jobqueue.SLURMCluster(scheduler_options={"dashboard": False, "port": 0}) as made:
        script = made.job_script().splitlines()
    assert [line for line in script if line.startswith("#SBATCH")] == expected
    assert "distributed.cli.dask_worker" in script[-1]
    assert "--nthreads 1 " in script[-1]


def test_workers_of_this_machine_are_begun_without_what_costs_them_their_cores(monkeypatch):
    seen = {}

    class Noted:
        def __init__(self, **options):
            seen.update(environ=dask.config.get("distributed.nanny.pre-spawn-environ"), **options)
            seen["profile"] = dask.config.get("distributed.worker.profile.enabled")

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(distributed, "LocalCluster", Noted)
    before = dask.config.get("distributed.nanny.pre-spawn-environ")
    with cluster._made("local", 2):
        pass
    assert (seen["n_workers"], seen["profile"]) == (2, False)
    assert seen["environ"] == {name: 1 for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    assert dask.config.get("distributed.nanny.pre-spawn-environ") == before  # of whoever else has Dask in this program
